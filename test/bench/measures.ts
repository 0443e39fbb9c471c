// The measures. Each one runs pairs, the base right before the bridge, and returns its figures.
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { cached, cachedIdle, cachedOther, cachedPipelined, cacheGrowth, cacheMemory } from './cached.ts';
import { known } from './known.ts';
import {
  addedToLatency,
  type Effort,
  firstAnswer,
  inPairs,
  type Measure,
  memoryAfter,
  pingPongs,
} from './pairs.ts';
import { bridge, echo, frame, proto, start, startStub, temporaryPath, wrapper } from './program.ts';
import { dovecot, serve, serveLatency, serveMemory } from './serve.ts';
import type { Figure } from './table.ts';
import { introspection, jwt, jwtCold, jwtMemory, jwtOutside, passwordIdToken } from './tokens.ts';

/** In the order in which they run. */
export const measures: Readonly<Record<string, Measure>> = {
  cold,
  'jwt-cold': jwtCold,
  isuser,
  known,
  jwt,
  'jwt-outside': jwtOutside,
  password,
  'password-id-token': passwordIdToken,
  userinfo,
  introspection,
  latency,
  cached,
  'cached-other': cachedOther,
  'cached-pipelined': cachedPipelined,
  'cached-idle': cachedIdle,
  'cache-memory': cacheMemory,
  'cache-growth': cacheGrowth,
  memory,
  'jwt-memory': jwtMemory,
  faults,
  serve,
  'serve-latency': serveLatency,
  'serve-memory': serveMemory,
  dovecot,
  wrapper: prosodyWrapper,
};

const PASSWORD = frame('auth:alice:localhost:secret');
const TOKEN = frame('auth:alice:localhost:token:dG9rZW4tb2YtYWxpY2U');
const ISUSER = Array.from({ length: 100 }, (_, n) => frame(`isuser:user${n}:localhost`));

/** Nobody is asked: any address will do. */
const NOWHERE = 'http://127.0.0.1:9';

/** From spawn to the first answer, with the request in the pipe at the start. */
async function cold(effort: Effort): Promise<Figure[]> {
  const stub = await startStub();
  const isuserRequest = ISUSER[0] as Buffer;
  const offline = await inPairs(
    effort,
    () => firstAnswer(echo, isuserRequest),
    () => firstAnswer(bridge(NOWHERE), isuserRequest),
  );
  const login = await inPairs(
    effort,
    () => firstAnswer(echo, PASSWORD),
    () => firstAnswer(bridge(stub.origin), PASSWORD),
  );
  await stub.stop();
  return [
    {
      name: 'cold start to an answer that needs no provider / bare Node',
      unit: 'ms',
      ...offline,
      target: { better: 'lower', must: 1.6, aim: 1.15 },
    },
    {
      name: 'cold start to the first login / bare Node',
      unit: 'ms',
      ...login,
      target: { better: 'lower', must: 2.0, aim: 1.3 },
    },
  ];
}

function isuser(effort: Effort): Promise<Figure[]> {
  return pingPongs(
    'isuser',
    effort,
    { base: echo, ours: bridge(NOWHERE), requests: ISUSER, count: 100_000 },
    { rate: { better: 'higher', must: 0.6, aim: 0.8 } },
  );
}

async function password(effort: Effort): Promise<Figure[]> {
  const stub = await startStub();
  const { origin } = stub;
  const figures = await pingPongs(
    'auth by password',
    effort,
    {
      base: proto('password', origin),
      ours: bridge(origin),
      requests: [PASSWORD],
      count: 8000,
      provider: { stub, exchanges: 2 },
    },
    // The second one: PERFORMANCE target 9, its own work, without the driver's and the provider's.
    { rate: { better: 'higher', must: 0.65, aim: 0.85 }, cpu: { better: 'lower', must: 1.5, aim: 1.2 } },
  );
  await stub.stop();
  return figures;
}

async function userinfo(effort: Effort): Promise<Figure[]> {
  const stub = await startStub();
  const { origin } = stub;
  const figures = await pingPongs(
    'auth by token (UserInfo)',
    effort,
    {
      base: proto('userinfo', origin),
      ours: bridge(origin),
      requests: [TOKEN],
      count: 8000,
      provider: { stub, exchanges: 1 },
    },
    { rate: { better: 'higher', must: 0.65, aim: 0.85 } },
  );
  await stub.stop();
  return figures;
}

async function latency(effort: Effort): Promise<Figure[]> {
  const stub = await startStub();
  const { origin } = stub;
  const figures = [
    await addedToLatency(effort, stub, {
      name: 'password (2 exchanges)',
      base: proto('password', origin),
      ours: bridge(origin),
      request: PASSWORD,
      exchanges: 2,
    }),
    await addedToLatency(effort, stub, {
      name: 'token (UserInfo, 1 exchange)',
      base: proto('userinfo', origin),
      ours: bridge(origin),
      request: TOKEN,
      exchanges: 1,
    }),
  ];
  await stub.stop();
  return figures;
}

/** After 10,000 requests: with nothing but answers of our own, and with a provider asked each time. */
async function memory(effort: Effort): Promise<Figure[]> {
  const { origin, stop } = await startStub();
  const figures = [
    ...(await memoryAfter(effort, { name: 'isuser', base: echo, ours: bridge(NOWHERE), requests: ISUSER })),
    ...(await memoryAfter(effort, {
      name: 'logins by password',
      base: echo,
      ours: bridge(origin),
      requests: [PASSWORD],
    })),
  ];
  await stop();
  return figures;
}

/** Milliseconds; short, so that a run is. */
const DEADLINE = 1000;
const GIVE_UP = 5 * DEADLINE;

/** Every way for a provider to misbehave: the answer is no, in time, and costs no memory to speak of. */
async function faults(effort: Effort): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const [fault, meaning] of [
    ['hang', 'hangs'],
    ['reset', 'resets the connection'],
    ['drip', 'drips'],
    ['flood', 'sends 64 MiB'],
  ] as const) {
    const { origin, stop } = await startStub({ fault });
    const { base, ours } = await inPairs(
      effort,
      async () => {
        const program = start(echo);
        for (const request of [PASSWORD, TOKEN, PASSWORD, TOKEN]) program.ask(request);
        const { peak } = program.memory();
        await program.stop();
        return { peak, slowest: DEADLINE };
      },
      async () => {
        const program = start(bridge(origin, { deadline: `${DEADLINE}ms` }));
        program.ask(ISUSER[0] as Buffer);
        let slowest = 0;
        for (const request of [PASSWORD, TOKEN, PASSWORD, TOKEN]) {
          const asked = performance.now();
          const answer = await program.askWithin(request, GIVE_UP);
          slowest = Math.max(slowest, answer === undefined ? GIVE_UP : performance.now() - asked);
          if (answer === 1) throw new Error(`a login was accepted although the provider ${meaning}`);
        }
        const { peak } = program.memory();
        await program.stop();
        return { peak, slowest };
      },
    );
    await stop();
    figures.push(
      {
        name: `provider ${meaning}: answer after the deadline`,
        unit: 'ms',
        ours: ours.map(({ slowest }) => slowest),
        base: base.map(({ slowest }) => slowest),
        judged: 'difference',
        by: 'worst',
        target: { better: 'lower', must: 100 },
      },
      {
        name: `provider ${meaning}: highest RSS / echo`,
        unit: 'MiB',
        ours: ours.map(({ peak }) => peak),
        base: base.map(({ peak }) => peak),
        target: { better: 'lower', must: 1.5, aim: 1.25 },
      },
    );
  }
  return figures;
}

/**
 * From exec of Prosody's wrapper on a terminal to raw mode. A script in the place of `node` looks at the clock: by then
 * the terminal is raw and more has been done, so the figure is an upper bound.
 */
async function prosodyWrapper(effort: Effort): Promise<Figure[]> {
  const shim = temporaryPath('node');
  const begin = temporaryPath('begin');
  const end = temporaryPath('end');
  const state = temporaryPath('state');
  writeFileSync(shim, `#!/bin/sh\ndate +%s%N >${end}\nstty -a >${state}\n`);
  chmodSync(shim, 0o755);
  const command = `date +%s%N >${begin}; exec ${wrapper}`;
  const run = async (): Promise<number> => {
    execFileSync('script', ['-qfec', command, '/dev/null'], {
      env: { PATH: `${dirname(shim)}:${process.env.PATH}`, SHELL: '/bin/sh' },
      stdio: 'ignore',
    });
    if (!existsSync(state) || !/-isig/.test(readFileSync(state, 'latin1'))) {
      throw new Error('the terminal was not raw');
    }
    return Number(BigInt(readFileSync(end, 'latin1')) - BigInt(readFileSync(begin, 'latin1'))) / 1e6;
  };
  const { ours } = await inPairs(effort, async () => 0, run);
  return [
    {
      name: 'Prosody wrapper: exec to raw terminal (upper bound)',
      unit: 'ms',
      ours,
      base: ours.map(() => 10),
      judged: 'ours',
      target: { better: 'lower', must: 10 },
    },
  ];
}
