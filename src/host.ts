// The virtual hosts: which settings hold for a name, and the Authenticate function made of them. What speaks OAuth is
// loaded with the first login, or shortly after the start, whichever comes first.
import type { HostSettings } from './config/host-settings.ts';
import type { Config } from './config/load.ts';
import type { Exchange } from './oauth/http.ts';
import type { Provider } from './oauth/provider.ts';
import type { Authenticate } from './verdict.ts';

export interface Host {
  readonly settings: HostSettings;
  /** Without the deadline. Rejects with a ProviderError when nobody can say yes or no. */
  readonly authenticate: Authenticate;
  /** Loads what a login needs and fetches the provider's metadata. Never throws. */
  warmUp(): Promise<void>;
  close(): void;
}

export interface HostOptions {
  readonly afterwards: (work: () => Promise<void>) => void;
  readonly observe?: (exchange: Exchange) => void;
  readonly step?: (name: string, result: string) => void;
}

export interface Hosts {
  /** The virtual hosts and patterns that the configuration lists. */
  readonly names: readonly string[];
  /** The settings for a virtual host; `undefined` for one that is not listed. */
  find(name: string): Host | undefined;
  warmUp(): Promise<void>;
  close(): void;
}

export function createHosts(config: Config, options: HostOptions): Hosts {
  const hosts = new Map(config.hosts.map((settings) => [settings.pattern, createHost(settings, options)]));
  // The longest pattern is the most precise one.
  const patterns = [...hosts.keys()]
    .filter((pattern) => pattern.startsWith('*.'))
    .sort((a, b) => b.length - a.length);

  return {
    names: [...hosts.keys()],
    // Without `hosts` in the configuration there is one entry, '', for every name.
    find: (name) =>
      hosts.get(name) ?? hosts.get(patterns.find((pattern) => name.endsWith(pattern.slice(1))) ?? ''),
    async warmUp() {
      for (const host of hosts.values()) await host.warmUp();
    },
    close() {
      for (const host of hosts.values()) host.close();
    },
  };
}

export function createHost(settings: HostSettings, options: HostOptions): Host {
  let loaded: Promise<{ provider: Provider; authenticate: Authenticate }> | undefined;

  async function load(): Promise<{ provider: Provider; authenticate: Authenticate }> {
    const { createAuthenticate, createProvider } = await import('./auth/index.ts');
    const { observe, ...rest } = options;
    const now = (): number => performance.now();
    const provider = createProvider({ settings, now, ...(observe === undefined ? {} : { observe }) });
    return {
      provider,
      authenticate: createAuthenticate({ settings, provider, wallClock: Date.now, ...rest }),
    };
  }

  return {
    settings,
    async authenticate(credentials, signal) {
      loaded ??= load();
      const { authenticate } = await loaded;
      return authenticate(credentials, signal);
    },
    async warmUp() {
      loaded ??= load();
      await loaded.then(({ provider }) => provider.warmUp()).catch(() => {});
    },
    close() {
      void loaded?.then(({ provider }) => provider.close());
    },
  };
}
