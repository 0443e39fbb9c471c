// What providers publish of themselves, metadata and keys, kept once for all the virtual hosts that use it: twenty hosts
// of one provider ask it once.
import type { ProviderSettings } from '../config/provider-settings.ts';
import { createHttpClient, type Exchange, type HttpClient } from './http.ts';
import { fetchKeySet } from './jwks.ts';
import { createKeySource, type KeySource, REFRESH_AFTER } from './key-set.ts';
import { createMetadataSource, type MetadataSource } from './metadata.ts';

export interface Published {
  readonly metadata: MetadataSource;
  /** The keys at `url`. */
  keys(url: string): KeySource;
}

export interface Directory {
  of(settings: ProviderSettings): Published;
  close(): void;
}

export interface DirectoryOptions {
  readonly observe?: ((exchange: Exchange) => void) | undefined;
  /** Milliseconds of a monotonic clock. */
  readonly now: () => number;
  /** Some provider's keys have changed: what was signed with the old ones may not hold any more. */
  readonly onKeysChanged?: () => void;
}

export function createDirectory({ observe, now, onKeysChanged = () => {} }: DirectoryOptions): Directory {
  const published = new Map<string, Published>();
  const sources = new Map<string, KeySource>();
  const clients: HttpClient[] = [];
  let refreshing: NodeJS.Timeout | undefined;

  function publish(settings: ProviderSettings, way: string): Published {
    const http = createHttpClient(settings.http, settings, { observe });
    clients.push(http);
    return {
      metadata: createMetadataSource(settings, http, now),
      keys(url) {
        const place = `${url} ${way}`;
        const known = sources.get(place);
        if (known !== undefined) return known;
        const source = createKeySource({ load: () => fetchKeySet(url, http), now, onChange: onKeysChanged });
        sources.set(place, source);
        // Also while nobody logs in: a key that was taken back must not be found still here in the morning.
        refreshing ??= setInterval(refresh, REFRESH_AFTER);
        refreshing.unref();
        return source;
      },
    };
  }

  function refresh(): void {
    for (const source of sources.values()) source.refresh();
  }

  return {
    of(settings) {
      const { issuer, discovery_url, trusted_endpoint_hosts, http, authorities } = settings;
      // The way there is part of it: what another certificate authority vouches for is another answer.
      const way = JSON.stringify([issuer, discovery_url, trusted_endpoint_hosts, http, authorities]);
      const found = published.get(way) ?? publish(settings, way);
      published.set(way, found);
      return found;
    },
    close() {
      clearInterval(refreshing);
      for (const client of clients) client.close();
    },
  };
}
