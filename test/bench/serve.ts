// The measures of the daemon: `serve` over a Unix socket, against as many bridges on stdin and stdout as it has connections,
// one process each, with the same configuration.
import { spawnSync } from 'node:child_process';
import { createKey, ISSUER } from './jwt.ts';
import { type Effort, inPairs, type Pairs } from './pairs.ts';
import { CLIENT, configured, frame, type Stub, type Subject, startStub, temporaryPath } from './program.ts';
import type { Figure, Target } from './table.ts';
import {
  type Connected,
  closedLoop,
  type Daemon,
  type Load,
  type Loop,
  saslLine,
  startBridge,
  startDaemon,
  startSocat,
  type Worker,
} from './workers.ts';

/** A server's pool: one, as many as a busy one has, and more than most have. */
const WORKERS = [1, 16, 64] as const;
const MOST = 64;
/** Of so many requests a pool answers one. */
const POOL_LESS = 5;

const JWT_HOST = 'jwt.localhost';

interface Setting {
  readonly config: Subject;
  readonly path: string;
  readonly dovecotPath: string;
  readonly user: (n: number) => string;
  readonly tokens: readonly string[];
}

/** One configuration for all: what is asked of whom depends on the virtual host. */
function setting(origin: string, { asks = false } = {}): Setting {
  const key = createKey('RS256');
  const path = temporaryPath('extauth.sock');
  const dovecotPath = temporaryPath('dovecot.sock');
  const user = (n: number): string => `user${n}`;
  const config = configured({
    user_exists: true,
    revoke_after_login: false,
    token_prefix: 'token:',
    // Who is asked is asked each time.
    ...(asks ? { cache: { token_ttl: 0 } } : {}),
    listen: [
      { path, protocol: 'extauth' },
      { path: dovecotPath, protocol: 'dovecot', host: JWT_HOST },
    ],
    hosts: {
      localhost: {
        ...CLIENT,
        token_endpoint: `${origin}/token`,
        validation_endpoint: `${origin}/userinfo`,
        validation: 'userinfo',
        resource_owner_password: true,
        credential: 'auto',
      },
      'introspection.localhost': {
        ...CLIENT,
        introspection_endpoint: `${origin}/introspect`,
        validation: 'introspection',
        username_field: 'username',
      },
      [JWT_HOST]: { ...CLIENT, issuer: ISSUER, jwks_file: key.jwksFile, validation: 'jwt' },
    },
  });
  const tokens = Array.from({ length: MOST }, (_, n) => key.accessToken(user(n)));
  return { config, path, dovecotPath, user, tokens };
}

/** Nobody is asked: any address will do. */
const NOWHERE = 'http://127.0.0.1:9';

const isuserRequests = ({ user }: Setting): Buffer[] =>
  Array.from({ length: MOST }, (_, n) => frame(`isuser:${user(n)}:localhost`));
const jwtRequests = ({ tokens, user }: Setting): Buffer[] =>
  tokens.map((token, n) => frame(`auth:${user(n)}:${JWT_HOST}:${token}`));

interface Duty {
  readonly name: string;
  readonly requests: readonly Buffer[];
  /** Logins in a run of full size. */
  readonly count: number;
  readonly exchanges: number;
  /** What one connection is held to, where the daemon's way through a socket is most of the work. */
  readonly alone?: Target;
}

const answeredHere = (made: Setting): readonly Duty[] => [
  {
    name: 'isuser',
    requests: isuserRequests(made),
    count: 8000,
    exchanges: 0,
    alone: { better: 'higher', must: 0.65, aim: 0.85 },
  },
  {
    name: 'JWT, remembered',
    requests: jwtRequests(made),
    count: 6000,
    exchanges: 0,
    alone: { better: 'higher', must: 0.65, aim: 0.85 },
  },
];

/** More than log in at a time: of one user, one would wait for the other, or have its answer. */
const USERS = 10 * MOST;
const ofUsers = (request: (user: string) => string): Buffer[] =>
  Array.from({ length: USERS }, (_, n) => frame(request(`user${n}`)));

const asking: readonly Duty[] = [
  {
    name: 'password',
    requests: ofUsers((user) => `auth:${user}:localhost:secret`),
    count: 600,
    exchanges: 2,
  },
  {
    name: 'UserInfo',
    requests: ofUsers((user) => `auth:${user}:localhost:token:token-of-${user}`),
    count: 800,
    exchanges: 1,
  },
  {
    name: 'introspection',
    requests: ofUsers((user) => `auth:${user}:introspection.localhost:token:token-of-${user}`),
    count: 800,
    exchanges: 1,
  },
];

interface Rivals {
  readonly stub: Stub;
  readonly made: Setting;
  readonly connections: readonly Worker[];
  readonly bridges: readonly Worker[];
}

/** With a daemon and a pool that are started once: 64 processes take seconds. Who is not asked takes no time. */
async function withRivals<Result>(
  { asks }: { asks: boolean },
  work: (rivals: Rivals) => Promise<Result>,
): Promise<Result> {
  const stub = await startStub({ fault: 'everybody' });
  const made = setting(stub.origin, { asks });
  const daemon = await startDaemon(made.config, made.path);
  const bridges = Array.from({ length: MOST }, () => startBridge(made.config));
  const connections = await connectMany(daemon, MOST);
  const result = await work({ stub, made, connections, bridges });
  await Promise.all(bridges.map((bridge) => bridge.stop()));
  await daemon.stop();
  await stub.stop();
  return result;
}

function connectMany(daemon: Daemon, count: number): Promise<Connected[]> {
  return Promise.all(Array.from({ length: count }, () => daemon.connect()));
}

/** Voids the run when a login has asked the provider less or more often than it should. */
async function counted(stub: Stub, { name, exchanges }: Duty, workers: readonly Worker[], load: Load) {
  const before = await stub.asked();
  const loop = await closedLoop(workers, load);
  const asked = (await stub.asked()) - before;
  if (asked !== load.count * exchanges) {
    throw new Error(`${name}: the provider was asked ${asked} times in ${load.count} requests`);
  }
  return loop;
}

/** Logins a second and how long they take, with a provider that answers at once or that nobody asks. */
export async function serve(effort: Effort): Promise<Figure[]> {
  return [
    ...(await withRivals({ asks: false }, (rivals) => compare(effort, rivals, answeredHere(rivals.made)))),
    ...(await withRivals({ asks: true }, (rivals) => compare(effort, rivals, asking))),
  ];
}

async function compare(
  effort: Effort,
  { stub, connections, bridges }: Rivals,
  duties: readonly Duty[],
): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const duty of duties) {
    for (const number of WORKERS) {
      const { requests, alone } = duty;
      const load = { requests, count: Math.round(duty.count * effort.size) };
      // A pool on one CPU is so slow that it would take most of the time.
      const less = { requests, count: Math.round(load.count / (number === 1 ? 1 : POOL_LESS)) };
      const ours = connections.slice(0, number);
      const base = bridges.slice(0, number);
      // What was measured before this has warmed up most of it.
      for (const workers of [base, ours]) await closedLoop(workers, { requests, count: duty.count / 2 });
      const pairs = await inPairs(
        effort,
        () => counted(stub, duty, base, less),
        () => counted(stub, duty, ours, load),
      );
      const name = `serve, ${connectionsOf(number)}: ${duty.name} / ${bridgesOf(number)}`;
      figures.push(
        rateOf(name, pairs, number === 1 ? alone : undefined),
        { name: `${name}, p50`, unit: 'us', ...each(pairs, ({ median }) => median) },
        { name: `${name}, p99`, unit: 'us', ...each(pairs, ({ tail }) => tail) },
      );
    }
  }
  return figures;
}

function rateOf(name: string, pairs: Pairs<Loop>, target: Target | undefined): Figure {
  const figure = { name, unit: '/s', ...each(pairs, ({ rate }) => rate) };
  return target === undefined ? figure : { ...figure, target };
}

function each<Result>(
  { base, ours }: Pairs<Result>,
  value: (result: Result) => number,
): { base: number[]; ours: number[] } {
  return { base: base.map(value), ours: ours.map(value) };
}

const connectionsOf = (number: number): string => (number === 1 ? '1 connection' : `${number} connections`);
const bridgesOf = (number: number): string => (number === 1 ? 'a bridge' : `${number} bridges`);

const LATENCY = 50;
/** Logins of one worker in a run; alone it needs more of them, for a median. */
const roundsOf = (number: number): number => (number === 1 ? 5 : 3);

/** What is added to the time that a provider takes which holds every answer for 50 ms. */
export function serveLatency(effort: Effort): Promise<Figure[]> {
  return withRivals({ asks: true }, async ({ stub, connections, bridges }) => {
    const figures: Figure[] = [];
    for (const duty of asking) {
      const { requests, exchanges } = duty;
      // Every worker has what it takes: a connection to the provider, and code that is compiled.
      for (const workers of [bridges, connections]) await closedLoop(workers, { requests, count: 20 * MOST });
      await stub.hold(LATENCY);
      for (const number of WORKERS) {
        const load = {
          requests,
          count: number * roundsOf(number),
          // Else all of them would ask at once for ever, and wait for each other.
          spread: exchanges * LATENCY,
        };
        const added = async (workers: readonly Worker[]) => {
          await stub.held();
          const before = stub.cpu();
          const { flow, median, tail } = await counted(stub, duty, workers, load);
          const provider = (stub.cpu() - before) / load.count;
          const waited = exchanges * (await stub.held());
          const beyond = (time: number): number => (time - provider) / 1000 - waited;
          return { flow, median: beyond(median), tail: beyond(tail) };
        };
        const pairs = await inPairs(
          effort,
          () => added(bridges.slice(0, number)),
          () => added(connections.slice(0, number)),
        );
        const name = `serve, ${connectionsOf(number)}, provider at ${LATENCY} ms: ${duty.name} / ${bridgesOf(number)}`;
        const most = { target: { better: 'lower', must: 3, aim: 1.5 } } as const;
        figures.push(
          { name, unit: '/s', ...each(pairs, ({ flow }) => flow) },
          {
            name: `${name}, added, p50`,
            unit: 'ms',
            ...each(pairs, ({ median }) => median),
            judged: 'ours',
            ...(number === MOST ? most : {}),
          },
          { name: `${name}, added, p99`, unit: 'ms', ...each(pairs, ({ tail }) => tail), judged: 'ours' },
        );
      }
      await stub.hold(0);
    }
    return figures;
  });
}

/** Connections of a daemon that serves many machines' worth of workers. */
const MANY = 1000;
/** Bridges, or socats, of which one more is measured. */
const MORE = 4;
/** Requests after which a heap is as large as it gets by itself. */
const USED = 3000;

/** Pss, of which pages that processes share count once for all of them: what one more worker takes. */
export async function serveMemory(effort: Effort): Promise<Figure[]> {
  const made = setting(NOWHERE);
  const requests = isuserRequests(made);
  const use = (workers: readonly Worker[], times: number) =>
    closedLoop(workers, { requests, count: times * workers.length });

  /** KiB. The first one may have what the others share. */
  async function oneMore(
    start: () => ReturnType<typeof startBridge>,
  ): Promise<{ first: number; more: number }> {
    const workers = [start()];
    await use(workers, USED);
    const first = pss(workers);
    const others = Array.from({ length: MORE }, start);
    await use(others, USED);
    workers.push(...others);
    const more = (pss(workers) - first) / MORE;
    await Promise.all(workers.map((worker) => worker.stop()));
    return { first, more };
  }

  async function daemonMemory() {
    const daemon = await startDaemon(made.config, made.path);
    const connections = await connectMany(daemon, 1);
    await use(connections, USED);
    const alone = pss([daemon]);
    connections.push(...(await connectMany(daemon, MOST - 1)));
    await use(connections, 20);
    const most = pss([daemon]);
    connections.push(...(await connectMany(daemon, MANY - MOST)));
    const idle = pss([daemon]);
    await use(connections, 20);
    const many = pss([daemon]);
    for (const connection of connections) connection.close();
    const socat = hasSocat ? (await oneMore(() => startSocat(made.path))).more : Number.NaN;
    await daemon.stop();
    return {
      alone,
      most: (most - alone) / (MOST - 1),
      idle: (idle - most) / (MANY - MOST),
      many: (many - alone) / (MANY - 1),
      socat,
    };
  }

  const hasSocat = spawnSync('socat', ['-V'], { stdio: 'ignore' }).error === undefined;
  const pairs = await inPairs(effort, () => oneMore(() => startBridge(made.config)), daemonMemory);
  const bridge = pairs.base.map(({ more }) => more);
  type Daemons = Awaited<ReturnType<typeof daemonMemory>>;
  const worker = (name: string, of: (memory: Daemons) => number, target?: Target): Figure => ({
    name: `one more worker: ${name} / a bridge, Pss`,
    unit: 'KiB',
    ours: pairs.ours.map(of),
    base: bridge,
    judged: 'ours',
    ...(target === undefined ? {} : { target }),
  });
  return [
    {
      name: 'serve with 1 connection / a bridge, Pss',
      unit: 'MiB',
      ours: pairs.ours.map(({ alone }) => alone / 1024),
      base: pairs.base.map(({ first }) => first / 1024),
    },
    worker(`a connection to serve, ${MOST} of them`, ({ most }) => most),
    worker(`a connection to serve, ${MANY} of them, idle`, ({ idle }) => idle),
    worker(`a connection to serve, ${MANY} of them, used`, ({ many }) => many, {
      better: 'lower',
      must: 64,
      aim: 32,
    }),
    ...(hasSocat ? [worker('socat to serve', ({ many, socat }) => many + socat)] : []),
  ];
}

function pss(processes: readonly { memory(): { proportional: number } }[]): number {
  return processes.reduce((sum, { memory }) => sum + memory().proportional * 1024, 0);
}

/** The Dovecot protocol, one connection with many logins at a time, against extauth with a connection for each of them. */
export async function dovecot(effort: Effort): Promise<Figure[]> {
  const made = setting(NOWHERE);
  const daemon = await startDaemon(made.config, made.path);
  const figures: Figure[] = [];
  for (const mechanism of ['PLAIN', 'OAUTHBEARER'] as const) {
    const lines = made.tokens.map((token, n) =>
      saslLine(
        n,
        mechanism,
        mechanism === 'PLAIN' ? `\0${made.user(n)}\0${token}` : `n,,\x01auth=Bearer ${token}\x01\x01`,
      ),
    );
    for (const number of WORKERS) {
      const connections = await connectMany(daemon, number);
      const { workers, close } = await daemon.connectDovecot(made.dovecotPath, number);
      const run = (size: number) => ({
        extauth: () =>
          closedLoop(connections, { requests: jwtRequests(made), count: Math.round(4000 * size) }),
        dovecot: () => closedLoop(workers, { requests: lines, count: Math.round(4000 * size) }),
      });
      await run(1).extauth();
      await run(1).dovecot();
      const measured = run(effort.size);
      const pairs = await inPairs(effort, measured.extauth, measured.dovecot);
      const name = `serve, Dovecot protocol, ${mechanism}, ${number} at a time: JWT, remembered / extauth, ${connectionsOf(number)}`;
      figures.push(rateOf(name, pairs, undefined));
      close();
      for (const connection of connections) connection.close();
    }
  }
  await daemon.stop();
  return figures;
}
