// The measures of what is remembered of logins: what an answer costs that is known already, to this process or to another,
// what an entry takes, and that there are never more of them than there may be.
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { startRedis } from '../e2e/support/redis.ts';
import { type Effort, figuresOf, inPairs, type PingPong, pingPong, type Targets, warmUp } from './pairs.ts';
import {
  bridge,
  echo,
  frame,
  ownCpu,
  type Program,
  type Stub,
  type Subject,
  start,
  startStub,
  temporaryPath,
} from './program.ts';
import { type Figure, quantile } from './table.ts';

const USERS = 100;
const CACHE = { password_ttl: '10m', token_ttl: '10m', negative_ttl: '10m' } as const;

/** Logins, what each must be answered with, and how often the provider is asked when it is asked once for each. */
interface Logins {
  readonly requests: readonly Buffer[];
  readonly answers: readonly number[];
  readonly exchanges: number;
}

type Kind = 'password' | 'token';

/** Of so many different users; every tenth has a secret that is wrong. */
function loginsOf(kind: Kind, count: number, { firstUser = 0, wrong = tenth } = {}): Logins {
  const logins = Array.from({ length: count }, (_, n) => ({
    user: `user${firstUser + n}`,
    isWrong: wrong(n),
  }));
  const secret = {
    password: (user: string, isWrong: boolean) => `${isWrong ? 'wrong' : 'right'}-password-of-${user}`,
    token: (user: string, isWrong: boolean) => `token:${isWrong ? 'wrong-' : ''}token-of-${user}`,
  }[kind];
  const wrongs = logins.filter(({ isWrong }) => isWrong).length;
  return {
    requests: logins.map(({ user, isWrong }) => frame(`auth:${user}:localhost:${secret(user, isWrong)}`)),
    answers: logins.map(({ isWrong }) => (isWrong ? 0 : 1)),
    // A password that is right is followed by UserInfo.
    exchanges: kind === 'password' ? 2 * count - wrongs : count,
  };
}

const tenth = (n: number): boolean => n % 10 === 9;
const all = (): boolean => true;
const none = (): boolean => false;

interface Store {
  readonly name: string;
  /** Options that lead to it: to the same as before, or to a new one. */
  readonly options: (fresh: boolean) => Readonly<Record<string, unknown>>;
  stop(): Promise<void>;
}

function memoryStore(): Store {
  return { name: 'memory', options: () => ({}), stop: async () => {} };
}

function lmdbStore(): Store {
  let folder: string;
  return {
    name: 'lmdb',
    options(fresh) {
      if (fresh) folder = temporaryPath('state');
      return { state: `lmdb:${folder}` };
    },
    stop: async () => {},
  };
}

/** A server of its own. With another key it is another store. */
async function redisStore(): Promise<Store> {
  const { port, stop } = await startRedis();
  let keyFile: string;
  return {
    name: 'redis',
    options(fresh) {
      if (fresh) {
        keyFile = temporaryPath('key');
        writeFileSync(keyFile, randomBytes(32).toString('base64'), { mode: 0o600 });
      }
      return { state: `redis://127.0.0.1:${port}`, state_key_file: keyFile };
    },
    stop,
  };
}

/** Voids the run when `work` makes the program ask the provider more or less often than it may. */
async function asking<Result>(stub: Stub, exchanges: number, work: () => Result): Promise<Result> {
  const before = await stub.asked();
  const result = work();
  const asked = (await stub.asked()) - before;
  if (asked !== exchanges) throw new Error(`the provider was asked ${asked} times, not ${exchanges}`);
  return result;
}

/** What the base, which says yes to everything, does with the same requests. */
async function echoes({ requests }: Logins, count: number, effort: Effort): Promise<PingPong> {
  const program = start(echo);
  pingPong(program, requests, { count: warmUp(count) });
  const result = pingPong(program, requests, { count: Math.round(count * effort.size) });
  await program.stop();
  return result;
}

const COUNT = 100_000;

/** The same logins again and again, each of which the provider was asked about once. */
export async function cached(effort: Effort): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const [store, targets] of [
    [
      memoryStore(),
      {
        rate: { better: 'higher', must: 0.5, aim: 0.7 },
        median: { better: 'lower', must: 2, aim: 1.5 },
        tail: { better: 'lower', must: 2.5, aim: 1.5 },
      },
    ],
    [lmdbStore(), { rate: { better: 'higher', must: 0.3, aim: 0.5 } }],
    [await redisStore(), {}],
  ] satisfies [Store, Targets][]) {
    for (const kind of ['password', 'token'] as const) {
      figures.push(...(await cachedIn(store, kind, effort, targets)));
    }
    await store.stop();
  }
  return figures;
}

async function cachedIn(store: Store, kind: Kind, effort: Effort, targets: Targets): Promise<Figure[]> {
  const stub = await startStub({ fault: 'everybody' });
  const logins = loginsOf(kind, USERS);
  const pairs = await inPairs(
    effort,
    () => echoes(logins, COUNT, effort),
    async () => {
      const program = start(bridge(stub.origin, { cache: CACHE, ...store.options(true) }));
      const { requests, answers, exchanges } = logins;
      const result = await asking(stub, exchanges, () => {
        pingPong(program, requests, { count: warmUp(COUNT), answers });
        return pingPong(program, requests, { count: Math.round(COUNT * effort.size), answers });
      });
      await program.stop();
      return result;
    },
  );
  await stub.stop();
  return figuresOf(`cached auth by ${kind}, state ${store.name} / echo`, pairs, targets);
}

/** Logins that a process answers once each, having learned them from another one. As many go before, to warm up. */
const LEARNED = 5000;
/** Milliseconds in which a process has written all that it has to write. */
const WRITTEN = 1000;

/** What another process was told. */
export async function cachedOther(effort: Effort): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const store of [lmdbStore(), await redisStore()]) {
    for (const kind of ['password', 'token'] as const) {
      figures.push(...(await cachedElsewhere(store, kind, effort)));
    }
    await store.stop();
  }
  return figures;
}

async function cachedElsewhere(store: Store, kind: Kind, effort: Effort): Promise<Figure[]> {
  const stub = await startStub({ fault: 'everybody' });
  const logins = loginsOf(kind, 2 * LEARNED);
  const { requests, answers, exchanges } = logins;
  const cache = { ...CACHE, max_entries: 2 * requests.length };
  const one = bridge(stub.origin, { cache, ...store.options(true) });
  const first = start(one);
  await asking(stub, exchanges, () => pingPong(first, requests, { count: requests.length, answers }));
  await sleep(WRITTEN);
  await first.stop();
  const pairs = await inPairs(
    effort,
    () => echoes(logins, 2 * LEARNED, { ...effort, size: 0.5 }),
    async () => {
      const other = start(one);
      const result = await asking(stub, 0, () => {
        pingPong(other, requests, { count: LEARNED, answers });
        return pingPong(other, requests, { count: LEARNED, from: LEARNED, answers });
      });
      await other.stop();
      return result;
    },
  );
  await stub.stop();
  return figuresOf(`auth by ${kind}, known to another process by ${store.name} / echo`, pairs, {});
}

const IN_FLIGHT = 64;

/** So many requests at a time, answered in order, against one at a time. */
export async function cachedPipelined(effort: Effort): Promise<Figure[]> {
  const stub = await startStub({ fault: 'everybody' });
  const logins = loginsOf('password', USERS);
  const { requests, answers, exchanges } = logins;
  // Not the same ones each time, but each as often as the others.
  const batches = Array.from({ length: USERS }, (_, n) => {
    const numbers = Array.from({ length: IN_FLIGHT }, (_, k) => (n + k) % USERS);
    return {
      together: Buffer.concat(numbers.map((number) => requests[number] as Buffer)),
      expected: numbers.map((number) => answers[number]).join(),
    };
  });
  const count = Math.round(COUNT / IN_FLIGHT);
  const run = (program: Program, rounds: number): { rate: number; median: number } => {
    const times = new Float64Array(rounds);
    const driver = ownCpu();
    const begin = performance.now();
    let last = begin;
    for (let n = 0; n < rounds; n++) {
      const { together, expected } = batches[n % batches.length] as (typeof batches)[number];
      const answered = program.askTogether(together, IN_FLIGHT).join();
      if (answered !== expected) throw new Error(`${IN_FLIGHT} requests were answered ${answered}`);
      const now = performance.now();
      times[n] = now - last;
      last = now;
    }
    const microseconds = (last - begin) * 1000 - (ownCpu() - driver);
    return { rate: (1e6 * rounds * IN_FLIGHT) / microseconds, median: quantile(times, 0.5) * 1000 };
  };
  const pairs = await inPairs(
    effort,
    () => echoes(logins, COUNT, effort),
    async () => {
      const program = start(bridge(stub.origin, { cache: CACHE }));
      const result = await asking(stub, exchanges, () => {
        run(program, warmUp(count));
        return run(program, Math.round(count * effort.size));
      });
      await program.stop();
      return result;
    },
  );
  await stub.stop();
  return [
    {
      name: `cached auth by password, ${IN_FLIGHT} in flight / echo, one at a time`,
      unit: '/s',
      ours: pairs.ours.map(({ rate }) => rate),
      base: pairs.base.map(({ rate }) => rate),
      target: { better: 'higher', must: 1, aim: 2 },
    },
    {
      name: `cached auth by password, time for ${IN_FLIGHT} / echo, for one`,
      unit: 'us',
      ours: pairs.ours.map(({ median }) => median),
      base: pairs.base.map(({ median }) => median),
    },
  ];
}

/** Milliseconds between two requests of a server with few logins. */
const IDLE = 20;

/** A request now and then: nothing is in the processor's caches, and little has been compiled. */
export async function cachedIdle(effort: Effort): Promise<Figure[]> {
  const stub = await startStub({ fault: 'everybody' });
  const { requests, answers, exchanges } = loginsOf('password', USERS);
  const count = Math.round(300 * effort.size);
  const run = async (program: Program, expected: readonly number[]): Promise<number> => {
    const times = new Float64Array(count);
    for (let n = 0; n < count; n++) {
      await sleep(IDLE);
      const asked = performance.now();
      const answer = program.ask(requests[n % USERS] as Buffer);
      times[n] = performance.now() - asked;
      if (answer !== (expected[n % USERS] ?? 1)) throw new Error(`request ${n} was answered ${answer}`);
    }
    await program.stop();
    return quantile(times, 0.5) * 1000;
  };
  const results = await inPairs(
    effort,
    async () => {
      const program = start(echo);
      pingPong(program, requests, { count: USERS });
      return run(program, []);
    },
    async () => {
      const program = start(bridge(stub.origin, { cache: CACHE }));
      await asking(stub, exchanges, () => pingPong(program, requests, { count: USERS, answers }));
      return run(program, answers);
    },
  );
  await stub.stop();
  return [
    {
      name: `cached auth by password, one every ${IDLE} ms, p50 / echo`,
      unit: 'us',
      ...results,
      target: { better: 'lower', must: 2.5, aim: 1.5 },
    },
  ];
}

/** What `entries.ts` prints. */
export interface Entries {
  /** Bytes for each entry: of the heap, and of the process. */
  readonly accepted: number;
  readonly refused: number;
  /** Of a user with one wrong password, in the state that counts them. */
  readonly counted: number;
  /** MiB that are reachable after a tenth and after all users with a wrong password each, with room for 10,000. */
  readonly growth: { readonly tenth: number; readonly all: number };
}

/** Bytes for an entry, by what is kept in a process without anything else; and a million strangers. How large such a process gets is V8's choice. */
export async function cacheMemory(effort: Effort): Promise<Figure[]> {
  const script = fileURLToPath(new URL('entries.ts', import.meta.url));
  const strangers = Math.round(1_000_000 * effort.size);
  const { ours } = await inPairs(
    effort,
    async () => 0,
    async () => {
      const printed = execFileSync(process.execPath, [
        '--expose-gc',
        '--import',
        'tsx',
        script,
        String(strangers),
      ]);
      return JSON.parse(printed.toString()) as Entries;
    },
  );
  const bytes = (name: string, of: (entries: Entries) => number): Figure => ({
    name: `memory of ${name}`,
    unit: 'B',
    ours: ours.map(of),
    base: ours.map(() => 250),
    judged: 'ours',
  });
  const target = { better: 'lower', must: 400, aim: 250 } as const;
  return [
    { ...bytes('an accepted login', ({ accepted }) => accepted), target },
    { ...bytes('a refused login', ({ refused }) => refused), target },
    bytes('a user with a wrong password', ({ counted }) => counted),
    {
      name: `heap after ${strangers.toLocaleString('en')} wrong passwords / after a tenth of them`,
      unit: 'MiB',
      ours: ours.map(({ growth }) => growth.all),
      base: ours.map(({ growth }) => growth.tenth),
      target: { better: 'lower', must: 1.05 },
    },
  ];
}

/** Logins after which memory is what it will be, and two more looks at it. */
const FULL = 20_000;
const FIFTY = 50_000;
const HUNDRED = 100_000;
const REPEATED = 60_000;
/** Each run takes a minute, and memory is less noisy than time. */
const FEW_PAIRS = 3;

/** The program's memory: with the same users, with ever new ones, with ever new wrong passwords. */
export async function cacheGrowth(effort: Effort): Promise<Figure[]> {
  const stub = await startStub({ fault: 'everybody' });
  const known = loginsOf('password', USERS);
  const fresh = loginsOf('password', FULL, { firstUser: USERS, wrong: none });
  const strangers = loginsOf('password', HUNDRED, { firstUser: USERS, wrong: all });
  const subject = bridge(stub.origin, { cache: CACHE });

  /** MiB after each of the numbers of logins. */
  async function after(of: Subject, { requests, answers, exchanges }: Logins, counts: readonly number[]) {
    const program = start(of);
    const expected = of === echo ? [] : answers;
    const sizes: number[] = [];
    const work = (): void => {
      let from = 0;
      for (const count of counts) {
        pingPong(program, requests, { count: count - from, from, answers: expected });
        from = count;
        sizes.push(program.memory().resident);
      }
    };
    if (of === echo) work();
    else await asking(stub, exchanges, work);
    await program.stop();
    return sizes as [number, ...number[]];
  }

  const { base, ours } = await inPairs(
    { ...effort, pairs: Math.min(FEW_PAIRS, effort.pairs) },
    async () => ({
      echo: (await after(echo, known, [REPEATED]))[0],
      repeated: (await after(subject, known, [REPEATED]))[0],
    }),
    async () => ({
      fresh: (await after(subject, fresh, [FULL]))[0],
      strangers: await after(subject, strangers, [FULL, FIFTY, HUNDRED]),
    }),
  );
  await stub.stop();
  const repeated = base.map((each) => each.repeated);
  const early = ours.map(({ strangers }) => strangers[0]);
  const shown = (count: number): string => count.toLocaleString('en');
  return [
    {
      name: `RSS after ${shown(REPEATED)} cached logins / echo`,
      unit: 'MiB',
      ours: repeated,
      base: base.map((each) => each.echo),
      target: { better: 'lower', must: 1.4, aim: 1.2 },
    },
    {
      name: `RSS after ${shown(FULL)} new users / ${shown(REPEATED)} cached logins`,
      unit: 'MiB',
      ours: ours.map((each) => each.fresh),
      base: repeated,
      target: { better: 'lower', must: 1.3, aim: 1.15 },
    },
    {
      name: `RSS after ${shown(FULL)} wrong passwords / ${shown(REPEATED)} cached logins`,
      unit: 'MiB',
      ours: early,
      base: repeated,
      target: { better: 'lower', must: 1.1, aim: 1.05 },
    },
    ...[FIFTY, HUNDRED].map(
      (count, n): Figure => ({
        name: `RSS after ${shown(count)} wrong passwords / ${shown(FULL)}`,
        unit: 'MiB',
        ours: ours.map(({ strangers }) => strangers[n + 1] as number),
        base: early,
        target: { better: 'lower', must: 1.05 },
      }),
    ),
  ];
}
