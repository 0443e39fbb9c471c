// The virtual hosts: which settings hold for a name, and what they have in common. What speaks OAuth is loaded with the
// first login, or shortly after the start, whichever comes first.
import type { Config } from './config/load.ts';
import { findHost } from './config/patterns.ts';
import type { ProcessOptions } from './config/schema.ts';
import { createHost, type Host, type HostOptions, type Shared } from './host.ts';
import type { KeyAge } from './oauth/directory.ts';
import { once } from './once.ts';
import type { Kept } from './state/index.ts';

export interface Hosts {
  /** The virtual hosts and patterns that the configuration lists. */
  readonly names: readonly string[];
  /** The settings for a virtual host; `undefined` for one that is not listed. */
  find(name: string): Host | undefined;
  warmUp(): Promise<void>;
  /** How old the keys of each provider are; empty as long as nobody has needed any. */
  keyAges(): readonly KeyAge[];
  /** The endpoints that have been asked, and whether they are left alone now. */
  endpoints(): readonly { readonly endpoint: string; readonly paused: boolean }[];
  close(): void;
}

export function createHosts(config: Config, options: HostOptions): Hosts {
  let loaded: Shared | undefined;
  const shared = once(async () => {
    loaded = await load(config.process, options, { forgetAll, lookAgain });
    return loaded;
  });
  const hosts = new Map(
    config.hosts.map((settings) => [
      settings.pattern,
      createHost(settings, { ...options, cache: config.process.cache, forgetAll }, shared),
    ]),
  );
  const wildcards = [...hosts.keys()].filter((pattern) => pattern === '' || pattern.startsWith('*.'));

  function forgetAll(): void {
    for (const host of hosts.values()) host.forget();
    loaded?.guards.forget();
  }

  function lookAgain(): void {
    for (const host of hosts.values()) host.lookAgain();
  }

  return {
    names: [...hosts.keys()],
    find(name) {
      const listed = hosts.get(name);
      if (listed !== undefined) return listed;
      const pattern = findHost(wildcards, name);
      return pattern === undefined ? undefined : hosts.get(pattern);
    },
    async warmUp() {
      await shared().catch(() => {});
      // A worker of ejabberd's is asked about one host only, and there is a pool of them for each.
      if (hosts.size <= WARM_HOSTS) for (const host of hosts.values()) await host.warmUp();
    },
    keyAges: () => loaded?.directory.keyAges() ?? [],
    endpoints: () => loaded?.guards.gate.endpoints() ?? [],
    close() {
      for (const host of hosts.values()) host.close();
      shared.started()?.then(
        ({ directory, guards }) => {
          directory.close();
          guards.close();
        },
        () => {},
      );
    },
  };
}

/** Questions to directories at a time, of all virtual hosts. */
const MOST_LOOKUPS = 16;

/** Of more than these, each asks its provider when its first user comes. */
const WARM_HOSTS = 4;

async function load(
  { cache, limits, deadline }: ProcessOptions,
  { observe, onPause, step, state = () => inThisProcess(cache.max_entries) }: HostOptions,
  { forgetAll, lookAgain }: { readonly forgetAll: () => void; readonly lookAgain: () => void },
): Promise<Shared> {
  const [auth, { createGuards }, { createUsers }, kept] = await Promise.all([
    import('./auth/index.ts'),
    import('./guard/index.ts'),
    import('./users/users.ts'),
    state(),
  ]);
  const now = (): number => performance.now();
  await kept.started;
  const users = createUsers({ state: kept.state, wallClock: Date.now });
  function onForgotten(): void {
    forgetAll();
    lookAgain();
    users.lookAgain();
    kept.state.unlearn?.();
  }
  const common = { cache, limits, deadline, ...kept, now, wallClock: Date.now };
  return {
    auth,
    directory: auth.createDirectory({ observe, now, onKeysChanged: forgetAll }),
    guards: createGuards({ ...common, onPause, onForgotten, step }),
    users,
    // At least half of the way to the provider is for logins.
    room: { taken: 0, size: Math.max(1, Math.min(MOST_LOOKUPS, limits.provider_concurrency >> 1)) },
  };
}

async function inThisProcess(maxEntries: number): Promise<Kept> {
  const { createKept } = await import('./state/index.ts');
  return createKept({ store: 'memory' }, { maxEntries, onChange() {} });
}
