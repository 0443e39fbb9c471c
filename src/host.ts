// The virtual hosts: which settings hold for a name, and the Authenticate function made of them. What speaks OAuth is
// loaded with the first login, or shortly after the start, whichever comes first.
import type { Judge } from './auth/authenticate.ts';
import type { HostSettings } from './config/host-settings.ts';
import type { Config } from './config/load.ts';
import { findHost } from './config/patterns.ts';
import { createRemembered } from './guard/remembered.ts';
import type { Directory, KeyAge } from './oauth/directory.ts';
import type { Exchange } from './oauth/http.ts';
import type { Provider } from './oauth/provider.ts';

export interface Host extends Judge {
  readonly settings: HostSettings;
  /** Loads what a login needs and fetches the providers' metadata and keys. Never throws. */
  warmUp(): Promise<void>;
  close(): void;
}

export interface HostOptions {
  readonly afterwards: (work: () => Promise<void>) => void;
  readonly observe?: (exchange: Exchange) => void;
  readonly step?: (name: string, result: string) => void;
  readonly warn?: (message: string) => void;
}

export interface Hosts {
  /** The virtual hosts and patterns that the configuration lists. */
  readonly names: readonly string[];
  /** The settings for a virtual host; `undefined` for one that is not listed. */
  find(name: string): Host | undefined;
  warmUp(): Promise<void>;
  /** How old the keys of each provider are; empty as long as nobody has needed any. */
  keyAges(): readonly KeyAge[];
  close(): void;
}

export function createHosts(config: Config, options: HostOptions): Hosts {
  let directory: Directory | undefined;
  const shared = once(async () => {
    const loaded = await load(options, () => forgetAll());
    directory = loaded.directory;
    return loaded;
  });
  const hosts = new Map(
    config.hosts.map((settings) => [settings.pattern, createHost(settings, options, shared)]),
  );
  const wildcards = [...hosts.keys()].filter((pattern) => pattern === '' || pattern.startsWith('*.'));

  function forgetAll(): void {
    for (const host of hosts.values()) host.forget();
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
    keyAges: () => directory?.keyAges() ?? [],
    close() {
      for (const host of hosts.values()) host.close();
      void shared.started()?.then(({ directory }) => directory.close());
    },
  };
}

/** Of more than these, each asks its provider when its first user comes. */
const WARM_HOSTS = 4;

/** What a login needs, and what all hosts have in common. */
interface Shared {
  readonly auth: typeof import('./auth/index.ts');
  readonly directory: Directory;
}

async function load({ observe }: HostOptions, onKeysChanged: () => void): Promise<Shared> {
  const auth = await import('./auth/index.ts');
  const now = (): number => performance.now();
  return { auth, directory: auth.createDirectory({ observe, now, onKeysChanged }) };
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
      started ??= start();
      return started;
    },
    { started: () => started },
  );
}

function createHost(
  settings: HostSettings,
  options: HostOptions,
  shared: Once<Shared>,
): Host & { forget(): void } {
  const remembered = createRemembered();
  const wallClock = Date.now;
  let judge: Judge | undefined;
  const ready = once(async () => {
    const { auth, directory } = await shared();
    const { observe, ...rest } = options;
    const [first, ...others] = settings.providers;
    const create = (provider: typeof first): Provider =>
      auth.createProvider({ settings: provider, directory, observe, wallClock });
    const providers = [create(first), ...others.map(create)] as const;
    judge = auth.createJudge({ settings, providers, wallClock, ...rest });
    return { providers, judge };
  });

  return {
    settings,
    forget: remembered.forget,
    atOnce(credentials) {
      // Nothing is loaded yet, so nothing is known.
      if (judge === undefined) return undefined;
      const now = wallClock();
      const known = remembered.find(credentials, now);
      if (known !== undefined) return known;
      const verdict = judge.atOnce(credentials);
      // Nothing is waited for between the signature and here, nor below: keys that change forget this one, too.
      if (verdict !== undefined) remembered.keep(credentials, verdict, now);
      return verdict;
    },
    async authenticate(credentials, signal) {
      const { judge } = await ready();
      const verdict = await judge.authenticate(credentials, signal);
      remembered.keep(credentials, verdict, wallClock());
      return verdict;
    },
    async warmUp() {
      await ready()
        .then(({ providers }) => Promise.all(providers.map((provider) => provider.warmUp())))
        .catch(() => {});
    },
    close() {
      void ready.started()?.then(({ providers }) => {
        for (const provider of providers) provider.close();
      });
    },
  };
}
