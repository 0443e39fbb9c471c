// A virtual host: the Authenticate function made of its settings, and who exists there.
import type { Judge } from './auth/authenticate.ts';
import type { HostSettings } from './config/host-settings.ts';
import type { CacheOptions } from './config/schema.ts';
import type { PauseChange } from './guard/gate.ts';
import type { Guards } from './guard/index.ts';
import { createRemembered } from './guard/remembered.ts';
import type { Directory } from './oauth/directory.ts';
import type { Exchange } from './oauth/http.ts';
import type { Provider } from './oauth/provider.ts';
import { type Once, once } from './once.ts';
import type { Kept } from './state/index.ts';
import type { Soon } from './state/state.ts';
import type { Exists, Room } from './users/exists.ts';
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

/** What a login needs, and what all hosts have in common. */
export interface Shared {
  readonly auth: typeof import('./auth/index.ts');
  readonly directory: Directory;
  readonly guards: Guards;
  readonly users: Users;
  /** For questions to directories. */
  readonly room: Room;
}

/** What the others of its process want of a virtual host. */
export interface OneOfHosts extends Host {
  /** What keys have said does not count any more. */
  forget(): void;
  /** Somebody has been forgotten: what was found out about users must be found out again. */
  lookAgain(): void;
}

export interface OneOfHostsOptions extends HostOptions {
  readonly cache: CacheOptions;
  /** Lets go of all verdicts in memory, of all virtual hosts. */
  readonly forgetAll: () => void;
}

export function createHost(
  settings: HostSettings,
  { cache, forgetAll, ...options }: OneOfHostsOptions,
  shared: Once<Shared>,
): OneOfHosts {
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
      directory = createExists({ lookup: ask, isKnown: common.users.isKnown, warn, now, room: common.room });
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
    lookAgain: () => directory?.lookAgain(),
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
      const { guards, users } = await shared();
      directory?.forget(localpart, name);
      try {
        await users.forget(name, localpart);
        await guards.forgetUser({ host: name, localpart });
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
