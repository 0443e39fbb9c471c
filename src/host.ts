// The virtual hosts: which settings hold for a name, and the Authenticate function made of them. What speaks OAuth is
// loaded with the first login, or shortly after the start, whichever comes first.
import type { Judge } from './auth/authenticate.ts';
import type { HostSettings } from './config/host-settings.ts';
import type { Config } from './config/load.ts';
import { findHost } from './config/patterns.ts';
import type { CacheOptions, ProcessOptions } from './config/schema.ts';
import type { PauseChange } from './guard/gate.ts';
import type { Guards } from './guard/index.ts';
import { createRemembered } from './guard/remembered.ts';
import type { Directory, KeyAge } from './oauth/directory.ts';
import type { Exchange } from './oauth/http.ts';
import type { Provider } from './oauth/provider.ts';
import type { Kept } from './state/index.ts';
import type { Soon } from './state/state.ts';
import type { Exists } from './users/exists.ts';
import { withUsers } from './users/judge.ts';
import type { Users } from './users/users.ts';

export interface Host extends Judge {
  readonly settings: HostSettings;
  /**
   * Whether there is a user of this name at `name`, as `user_exists` finds it out, before `deadlineAt` (monotonic
   * milliseconds). Never throws or rejects: true where nobody can say.
   */
  exists(localpart: string, name: string, deadlineAt: number): Soon<boolean>;
  /** Leaves nothing of the user. Rejects when that cannot be done. */
  forgetUser(localpart: string, name: string): Promise<void>;
  /** Loads what a login needs and fetches the providers' metadata and keys. Never throws. */
  warmUp(): Promise<void>;
  close(): void;
}

export interface HostOptions {
  readonly afterwards: (work: () => Promise<void>) => void;
  readonly observe?: (exchange: Exchange) => void;
  readonly step?: (name: string, result: string) => void;
  readonly warn?: (message: string) => void;
  /** An endpoint is not asked any more, or is again. */
  readonly onPause?: (change: PauseChange) => void;
  /** What is kept beyond a login, and by whom: in this process alone by default. */
  readonly state?: () => Promise<Kept>;
}

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
    loaded = await load(config.process, options, () => forgetAll());
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

/** Of more than these, each asks its provider when its first user comes. */
const WARM_HOSTS = 4;

/** What a login needs, and what all hosts have in common. */
interface Shared {
  readonly auth: typeof import('./auth/index.ts');
  readonly directory: Directory;
  readonly guards: Guards;
  readonly users: Users;
}

async function load(
  { cache, limits, deadline }: ProcessOptions,
  { observe, onPause, step, state = () => inThisProcess(cache.max_entries) }: HostOptions,
  forgetAll: () => void,
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
    users.lookAgain();
    kept.state.unlearn?.();
  }
  const common = { cache, limits, deadline, ...kept, now, wallClock: Date.now };
  return {
    auth,
    directory: auth.createDirectory({ observe, now, onKeysChanged: forgetAll }),
    guards: createGuards({ ...common, onPause, onForgotten, step }),
    users,
  };
}

async function inThisProcess(maxEntries: number): Promise<Kept> {
  const { createKept } = await import('./state/index.ts');
  return createKept({ store: 'memory' }, { maxEntries, onChange() {} });
}

interface Once<Value> {
  (): Promise<Value>;
  /** Without starting it. */
  started(): Promise<Value> | undefined;
}

function once<Value>(start: () => Promise<Value>): Once<Value> {
  let started: Promise<Value> | undefined;
  return Object.assign(
    () => {
      // What could not be loaded now (no descriptor is free) is tried again by the next.
      started ??= start().catch((error: unknown) => {
        started = undefined;
        throw error;
      });
      return started;
    },
    { started: () => started },
  );
}

function createHost(
  settings: HostSettings,
  {
    cache,
    forgetAll,
    ...options
  }: HostOptions & { readonly cache: CacheOptions; readonly forgetAll: () => void },
  shared: Once<Shared>,
): Host & { forget(): void } {
  const remembered = createRemembered({ keepFor: cache.token_ttl, maxEntries: cache.max_entries });
  const wallClock = Date.now;
  const now = (): number => performance.now();
  const pins = settings.pin_subject;
  const { user_exists, lookup } = settings;
  const keepsUsers = pins || typeof user_exists === 'string';
  let judge: Judge | undefined;
  let users: Users | undefined;
  let directory: Exists | undefined;
  const ready = once(async () => {
    const { auth, guards, ...common } = await shared();
    const { observe, afterwards, step, warn = () => {} } = options;
    const [first, ...others] = settings.providers;
    const create = (provider: typeof first): Provider =>
      auth.createProvider({
        settings: provider,
        directory: common.directory,
        observe,
        guard: guards.gate.guard,
        wallClock,
      });
    const providers = [create(first), ...others.map(create)] as const;
    const inner = auth.createJudge({ settings, providers, wallClock, afterwards, step, warn });
    if (lookup !== undefined) {
      const { createExists, createLookup } = await import('./users/index.ts');
      const ask = createLookup({ settings: lookup, provider: providers[0], rules: first, now });
      directory = createExists({ lookup: ask, isKnown: common.users.isKnown, warn, now });
    }
    const watched = keepsUsers
      ? withUsers(inner, { users: common.users, pins, warn, onAdmitted: directory?.seen })
      : inner;
    users = common.users;
    judge = guards.guard(watched, settings, remembered);
    return { providers, judge };
  });

  function existsNow(localpart: string, name: string, deadlineAt: number): Soon<boolean> {
    return directory?.ask(localpart, name, deadlineAt) ?? users?.isKnown(name, localpart) ?? true;
  }

  return {
    settings,
    forget: remembered.forget,
    exists(localpart, name, deadlineAt) {
      if (typeof user_exists === 'boolean') return user_exists;
      if (users === undefined) {
        return ready().then(
          () => existsNow(localpart, name, deadlineAt),
          () => true,
        );
      }
      return existsNow(localpart, name, deadlineAt);
    },
    async forgetUser(localpart, name) {
      const { auth, guards, users } = await shared();
      directory?.forget(localpart, name);
      const account = auth.accountAt(settings.providers[0], localpart, name);
      try {
        await users.forget(name, localpart);
        await guards.forgetUser({ host: name, localpart }, account);
      } catch (error) {
        options.warn?.(
          'a user who was removed is still in the store, which is away: extauth-oauth users forget removes him there',
        );
        throw error;
      } finally {
        forgetAll();
      }
    },
    // As long as nothing is loaded, nothing is known.
    accountOf: (credentials) => judge?.accountOf(credentials),
    atOnce: (credentials) => judge?.atOnce(credentials),
    async authenticate(credentials, signal) {
      const { judge } = await ready();
      return judge.authenticate(credentials, signal);
    },
    async warmUp() {
      await ready()
        .then(({ providers }) => Promise.all(providers.map((provider) => provider.warmUp())))
        .catch(() => {});
    },
    close() {
      ready.started()?.then(
        ({ providers }) => {
          for (const provider of providers) provider.close();
        },
        () => {},
      );
    },
  };
}
