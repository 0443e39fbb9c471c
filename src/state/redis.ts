// State in Redis or Valkey, for several machines: one server, a master that Sentinels know, or a cluster. Whoever asks
// waits for a fraction of a second at most; the connection comes back by itself.
import type { Cluster, Redis, RedisOptions } from 'ioredis';
import type { Secret } from '../verdict.ts';
import type { RedisAddress } from './address.ts';
import { codeOf, redisError } from './redis-errors.ts';
import type { State } from './state.ts';

export interface RedisStateOptions {
  readonly address: RedisAddress;
  /** The HMAC key of all who share this store. */
  readonly key: Buffer;
  /** What `password_file` holds; the address has its own otherwise. */
  readonly password?: Secret | undefined;
  /** What `sentinel_password_file` holds. */
  readonly sentinelPassword?: Secret | undefined;
  /** What `ca_file` holds: PEM. */
  readonly ca?: string | undefined;
}

/** Before every name: others may use the same Redis. */
const prefix = 'extauth-oauth:';

// Milliseconds. A login waits for several of these one after another, and has seconds in all.
const commandTimeout = 200;
/** For what a cluster makes of one command, redirections and all. */
const operationTimeout = 250;
/** A connection that is silent for so long, asked, is given up: so the queue of what it owes stays short. */
const socketTimeout = 1000;
const connectTimeout = 1500;
/** To find a master through Sentinels, or the nodes of a cluster. */
const openTimeout = 4000;
/** Between FIN and giving up on a server that does not answer. */
const disconnectTimeout = 50;
const keepAlive = 30_000;
const longestPause = 2000;
/** What a ping writes, where nothing may be written but on a master, goes at once. */
const pingLifetime = 1;

/** Names per SCAN, 2 ms of the server's time, and values per round trip: and every round trip has its deadline. */
const scanCount = 5000;
const valuesAtOnce = 32;
/** What was there and then was not: that it happens again means that lifetimes are as short as a round trip. */
const putAttempts = 5;

/** Rejects when it is not there. */
export async function openRedisState(options: RedisStateOptions): Promise<State> {
  const { address, key } = options;
  const client = await createClient(options);
  const place = address.hosts.map(({ host, port }) => `${host}:${port}`).join(',');

  /** Why there is no connection: the operations only see that there is none. */
  let lastCode: string | undefined;
  const note = (error: unknown) => {
    lastCode = codeOf(error) ?? lastCode;
  };
  client.on('error', note);
  client.on('node error', note);
  client.on('ready', () => {
    lastCode = undefined;
  });

  /** No error of the library leaves this module: see redis-errors.ts. */
  async function within<Value>(milliseconds: number, work: () => Promise<Value>): Promise<Value> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error('Command timed out')), milliseconds);
    });
    try {
      return await Promise.race([work(), late]);
    } catch (error) {
      throw redisError(place, codeOf(error) ?? lastCode);
    } finally {
      clearTimeout(timer);
    }
  }
  const ask = <Value>(work: () => Promise<Value>) => within(operationTimeout, work);

  async function putIfAbsent(name: string, value: string, lifetime: number): Promise<string | undefined> {
    for (let attempt = 0; attempt < putAttempts; attempt++) {
      const put = await client.call('set', prefix + name, value, 'NX', ...expiry(lifetime));
      if (put !== null) return undefined;
      const found = await client.get(prefix + name);
      if (found !== null) return found;
    }
    throw new Error('neither put nor found');
  }

  /** In a transaction time stands still: nothing that was there for SET has lived its time at INCRBY. */
  async function increment(name: string, by: number, lifetime: number): Promise<number> {
    const answers = await client
      .multi()
      .call('set', prefix + name, '0', 'NX', ...expiry(lifetime))
      .incrby(prefix + name, by)
      .exec();
    for (const [error] of answers ?? []) if (error !== null) throw error;
    return Number(answers?.[1]?.[1]);
  }

  async function* namesOn(node: Redis, pattern: string): AsyncGenerator<string[]> {
    for (let cursor = '0'; ; ) {
      const [next, names] = await ask(() => node.scan(cursor, 'MATCH', pattern, 'COUNT', scanCount));
      yield names;
      if (next === '0') return;
      cursor = next;
    }
  }

  async function list(beginning: string): Promise<ReadonlyMap<string, string>> {
    const pattern = `${(prefix + beginning).replace(/[*?[\]\\]/g, '\\$&')}*`;
    const found = new Map<string, string>();
    for (const node of await ask(() => mastersOf(client))) {
      for await (const names of namesOn(node, pattern)) {
        for (let start = 0; start < names.length; start += valuesAtOnce) {
          const some = names.slice(start, start + valuesAtOnce);
          const values = await ask(() => Promise.all(some.map((name) => client.get(name))));
          for (const [index, name] of some.entries()) {
            const value = values[index];
            // The empty name is that of pings.
            if (typeof value === 'string' && name !== prefix) found.set(name.slice(prefix.length), value);
          }
        }
      }
    }
    return found;
  }

  /** A master writes; a replica reads only, and one that has lost its master may not even do that. */
  async function ping(): Promise<void> {
    await ask(() => client.set(prefix, '', 'PX', pingLifetime));
  }

  try {
    await within(openTimeout, () => client.connect());
    // The library goes on in database 0 when this one is refused.
    if (address.db !== 0) await ask(() => client.select(address.db));
    await ping();
  } catch (error) {
    client.disconnect();
    throw lastCode === undefined ? error : redisError(place, lastCode);
  }

  return {
    key,
    get: (name) => ask(async () => (await client.get(prefix + name)) ?? undefined),
    set: (name, value, lifetime) =>
      ask(async () => {
        await client.call('set', prefix + name, value, ...expiry(lifetime));
      }),
    putIfAbsent: (name, value, lifetime) => ask(() => putIfAbsent(name, value, lifetime)),
    increment: (name, by, lifetime) => ask(() => increment(name, by, lifetime)),
    delete: (name) =>
      ask(async () => {
        await client.del(prefix + name);
      }),
    list,
    ping,
    close: () => client.disconnect(),
  };
}

/** Does not connect yet. */
async function createClient(options: RedisStateOptions): Promise<Redis | Cluster> {
  const { hosts, user, tls, db, sentinel, cluster, password = options.password } = options.address;
  const secure = tls ? { ...(options.ca !== undefined && { ca: options.ca }) } : undefined;
  const common = {
    // RESP2: a user needs neither HELLO nor anything that RESP3 has more.
    protocol: 2,
    // The name makes a server without a password take one, as before Redis 6.
    ...(password !== undefined && { username: user ?? 'default', password: password.reveal() }),
    ...(secure !== undefined && { tls: secure }),
    connectionName: 'extauth-oauth',
    disableClientInfo: true,
    commandTimeout,
    socketTimeout,
    connectTimeout,
    disconnectTimeout,
    keepAlive,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
  } satisfies RedisOptions;
  // Few have a Redis: the library is loaded by who does.
  const { Cluster, Redis } = await import('ioredis');

  if (cluster)
    return new Cluster([...hosts], {
      lazyConnect: true,
      enableOfflineQueue: false,
      // CLUSTERDOWN says the same, command by command.
      enableReadyCheck: false,
      clusterRetryStrategy: pause,
      // All within `operationTimeout`.
      maxRedirections: 5,
      retryDelayOnFailover: 50,
      retryDelayOnClusterDown: 50,
      retryDelayOnTryAgain: 50,
      // Certificates are for names: they are looked up by who connects.
      dnsLookup: (address, callback) => callback(null, address),
      redisOptions: { ...common, enableReadyCheck: false },
    });

  const single = {
    ...common,
    db,
    lazyConnect: true,
    enableOfflineQueue: false,
    retryStrategy: pause,
    // The master of yesterday: its name, or the Sentinels, may know another one by now.
    reconnectOnError: (error) => error.message.startsWith('READONLY'),
  } satisfies RedisOptions;
  const [first] = hosts;
  if (sentinel === undefined) return new Redis({ ...single, ...first, enableReadyCheck: false });
  return new Redis({
    ...single,
    sentinels: [...hosts],
    name: sentinel,
    // Asks for the role too: a Sentinel may not know yet that the master is one no longer.
    enableReadyCheck: true,
    sentinelRetryStrategy: pause,
    sentinelCommandTimeout: socketTimeout,
    ...(options.sentinelPassword !== undefined && { sentinelPassword: options.sentinelPassword.reveal() }),
    ...(secure !== undefined && { enableTLSForSentinelMode: true, sentinelTLS: secure }),
  });
}

/** All of them: what a node has that is away may not be missing from a list without a word. */
async function mastersOf(client: Redis | Cluster): Promise<Redis[]> {
  if (!('nodes' in client)) return [client];
  const ranges = await client.cluster('SLOTS');
  const masters = new Set(ranges.map(([, , master]) => master?.slice(0, 2).join()));
  const nodes = client.nodes('master');
  if (nodes.length === 0 || nodes.length < masters.size) throw new Error('a node is not connected');
  return nodes;
}

/** Before the next attempt to connect: longer and longer, and not the same for all workers. */
function pause(times: number): number {
  return Math.min(longestPause, 50 * 2 ** times) * (0.5 + Math.random() / 2);
}

function expiry(lifetime: number): string[] {
  return lifetime === Number.POSITIVE_INFINITY ? [] : ['PX', String(Math.max(1, Math.ceil(lifetime)))];
}
