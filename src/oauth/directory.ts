// What providers publish of themselves, metadata and keys, kept once for all the virtual hosts that use it: twenty hosts
// of one provider ask it once.
import type { ProviderSettings } from '../config/provider-settings.ts';
import { createHttpClient, type Exchange, type HttpClient } from './http.ts';
import { fetchKeySet } from './jwks.ts';
import { createKeySource, fixedKeySource, type KeySource, REFRESH_AFTER } from './key-set.ts';
import { createMetadataSource, type Metadata, type MetadataSource } from './metadata.ts';

export interface Published {
  readonly name: string;
  /** `undefined` where the settings name nothing that has metadata. */
  readonly metadata: MetadataSource | undefined;
  /** The keys as far as it is known where they are: from a file, at `jwks_uri`, or where the metadata says. Never waits. */
  keys(): KeySource | undefined;
}

export interface Directory {
  of(settings: ProviderSettings): Published;
  /** How old the keys of each provider are. */
  keyAges(): readonly KeyAge[];
  close(): void;
}

export interface KeyAge {
  /** The issuer, or what is known of it. */
  readonly issuer: string;
  readonly milliseconds: number;
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
  const clients: HttpClient[] = [];
  let refreshing: NodeJS.Timeout | undefined;

  function publish(settings: ProviderSettings): Published {
    if (settings.keys !== undefined) {
      const fixed = fixedKeySource(settings.keys);
      return { name: nameOf(settings), metadata: metadataOf(settings), keys: () => fixed };
    }
    const http = connect(settings);
    const metadata = metadataOf(settings, http);
    let place: string | undefined;
    let source: KeySource | undefined;
    let read: Metadata | undefined;

    function sourceAt(url: string | undefined): KeySource | undefined {
      if (url === place) return source;
      // What the old place said counts no more: it may be somebody else's by now.
      if (place !== undefined) onKeysChanged();
      place = url;
      source =
        url === undefined
          ? undefined
          : createKeySource({ load: () => fetchKeySet(url, http), now, onChange: onKeysChanged });
      return source;
    }

    return {
      name: nameOf(settings),
      metadata,
      keys() {
        if (settings.jwks_uri !== undefined) return sourceAt(settings.jwks_uri);
        const newest = metadata?.now();
        if (newest !== undefined && newest !== read) {
          let url: string | undefined;
          try {
            url = newest.endpoint('jwks_uri');
          } catch (error) {
            sourceAt(undefined);
            throw error;
          }
          read = newest;
          return sourceAt(url);
        }
        return source;
      },
    };
  }

  function connect(settings: ProviderSettings): HttpClient {
    const http = createHttpClient(settings.http, settings, { observe });
    clients.push(http);
    return http;
  }

  function metadataOf(settings: ProviderSettings, http = connect(settings)): MetadataSource | undefined {
    const named = settings.issuer ?? settings.discovery_url;
    return named === undefined ? undefined : createMetadataSource(settings, http, now);
  }

  function sources(): { name: string; source: KeySource }[] {
    return [...published.values()].flatMap(({ name, keys }) => {
      try {
        const source = keys();
        return source === undefined ? [] : [{ name, source }];
      } catch {
        // The metadata names an address that is not trusted; who logs in will see it.
        return [];
      }
    });
  }

  /** Also while nobody logs in: a key that was taken back must not be found still here in the morning. */
  function refresh(): void {
    for (const { source } of sources()) source.refresh();
  }

  return {
    of(settings) {
      const { issuer, discovery_url, jwks_uri, keys, trusted_endpoint_hosts, http, authorities } = settings;
      // The way there is part of it: what another certificate authority vouches for is another answer.
      const way = JSON.stringify([
        ...[issuer, discovery_url, jwks_uri, keys?.text],
        ...[trusted_endpoint_hosts, http, authorities],
      ]);
      const found = published.get(way) ?? publish(settings);
      published.set(way, found);
      // Each source knows itself when it is old.
      refreshing ??= setInterval(refresh, REFRESH_AFTER / 5);
      refreshing.unref();
      return found;
    },
    keyAges: () =>
      sources().flatMap(({ name, source }) => {
        const age = source.age();
        return age === undefined ? [] : [{ issuer: name, milliseconds: age }];
      }),
    close() {
      clearInterval(refreshing);
      for (const client of clients) client.close();
    },
  };
}

function nameOf({ issuer, discovery_url, jwks_uri }: ProviderSettings): string {
  return issuer ?? discovery_url ?? jwks_uri ?? 'unknown';
}
