// The measures. Each one runs pairs, the base right before the bridge, and returns its figures.
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import {
  bridge,
  echo,
  frame,
  type Memory,
  ownCpu,
  type Program,
  proto,
  type Subject,
  start,
  startStub,
  temporaryPath,
  wrapper,
} from './program.ts';
import { type Figure, quantile, type Target } from './table.ts';

export interface Effort {
  /** Pairs of runs; the median counts. */
  readonly pairs: number;
  /** Scales the number of requests in a run, 0 to 1. */
  readonly size: number;
  /** Called after each pair. */
  readonly onPair: () => void;
}

export type Measure = (effort: Effort) => Promise<Figure[]>;

/** In the order in which they run. */
export const measures: Readonly<Record<string, Measure>> = {
  cold,
  isuser,
  password,
  userinfo,
  latency,
  memory,
  faults,
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
  const first = async (subject: Subject, request: Buffer): Promise<number> => {
    const program = start(subject, request);
    const milliseconds = program.firstAnswer();
    await program.stop();
    return milliseconds;
  };
  const isuserRequest = ISUSER[0] as Buffer;
  const offline = await inPairs(
    effort,
    () => first(echo, isuserRequest),
    () => first(bridge(NOWHERE), isuserRequest),
  );
  const login = await inPairs(
    effort,
    () => first(echo, PASSWORD),
    () => first(bridge(stub.origin), PASSWORD),
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
  const { origin, stop } = await startStub();
  const figures = await pingPongs(
    'auth by password',
    effort,
    { base: proto('password', origin), ours: bridge(origin), requests: [PASSWORD], count: 8000 },
    // The second one: PERFORMANCE target 9, its own work, without the driver's and the provider's.
    { rate: { better: 'higher', must: 0.65, aim: 0.85 }, cpu: { better: 'lower', must: 1.5, aim: 1.2 } },
  );
  await stop();
  return figures;
}

async function userinfo(effort: Effort): Promise<Figure[]> {
  const { origin, stop } = await startStub();
  const figures = await pingPongs(
    'auth by token (UserInfo)',
    effort,
    { base: proto('userinfo', origin), ours: bridge(origin), requests: [TOKEN], count: 8000 },
    { rate: { better: 'higher', must: 0.65, aim: 0.85 } },
  );
  await stop();
  return figures;
}

interface Duel {
  readonly base: Subject;
  readonly ours: Subject;
  readonly requests: readonly Buffer[];
  readonly count: number;
}

/** One request at a time: requests a second, how long one takes, and what the program itself works for it. */
async function pingPongs(
  name: string,
  effort: Effort,
  { base, ours, requests, count }: Duel,
  { rate, cpu }: { rate: Target; cpu?: Target },
): Promise<Figure[]> {
  const measured = Math.round(count * effort.size);
  const run = async (subject: Subject): Promise<PingPong> => {
    const program = start(subject);
    pingPong(program, requests, Math.round(count / 4));
    const result = pingPong(program, requests, measured);
    await program.stop();
    return result;
  };
  const pairs = await inPairs(
    effort,
    () => run(base),
    () => run(ours),
  );
  const of = (key: keyof PingPong): { ours: number[]; base: number[] } => ({
    ours: pairs.ours.map((result) => result[key]),
    base: pairs.base.map((result) => result[key]),
  });
  return [
    { name, unit: '/s', ...of('rate'), target: rate },
    { name: `${name}, p50`, unit: 'us', ...of('median') },
    { name: `${name}, p99`, unit: 'us', ...of('tail') },
    {
      name: `${name}, own CPU a request`,
      unit: 'us',
      ...of('cpu'),
      ...(cpu === undefined ? {} : { target: cpu }),
    },
  ];
}

interface PingPong {
  /** Requests a second. */
  readonly rate: number;
  /** Microseconds. */
  readonly median: number;
  readonly tail: number;
  readonly cpu: number;
}

/** Blocks until `count` requests have been answered with yes. The rate is that of the program: without our own time. */
function pingPong(program: Program, requests: readonly Buffer[], count: number): PingPong {
  const times = new Float64Array(count);
  const cpu = program.cpu();
  const driver = ownCpu();
  const begin = performance.now();
  let last = begin;
  for (let n = 0; n < count; n++) {
    const answer = program.ask(requests[n % requests.length] as Buffer);
    if (answer !== 1) throw new Error(`request ${n} was answered ${answer}`);
    const now = performance.now();
    times[n] = now - last;
    last = now;
  }
  const used = (ownCpu() - driver) / count;
  return {
    rate: 1e6 / (((last - begin) * 1000) / count - used),
    median: quantile(times, 0.5) * 1000,
    tail: quantile(times, 0.99) * 1000,
    cpu: (program.cpu() - cpu) / count,
  };
}

/** Enough for the engine to have compiled what a login runs through. */
const WARM = 500;

/**
 * What we add to the time that a provider takes which holds every answer for 50 ms: the time of a login without the time
 * it was held, and without the work of the provider.
 */
async function latency(effort: Effort): Promise<Figure[]> {
  const stub = await startStub();
  const count = Math.max(7, Math.round(20 * effort.size));
  const added = async (subject: Subject, request: Buffer, exchanges: number): Promise<number> => {
    const program = start(subject);
    await stub.hold(0);
    for (let n = 0; n < WARM; n++) program.ask(request);
    await stub.hold(50);
    program.ask(request);
    await stub.held();
    const before = stub.cpu();
    const { median } = pingPong(program, [request], count);
    const provider = (stub.cpu() - before) / count;
    const waited = exchanges * (await stub.held());
    await program.stop();
    return (median - provider) / 1000 - waited;
  };
  const figures: Figure[] = [];
  for (const [secret, duty, request, exchanges] of [
    ['password (2 exchanges)', 'password', PASSWORD, 2],
    ['token (1 exchange)', 'userinfo', TOKEN, 1],
  ] as const) {
    const results = await inPairs(
      effort,
      () => added(proto(duty, stub.origin), request, exchanges),
      () => added(bridge(stub.origin), request, exchanges),
    );
    figures.push({
      name: `added to a provider at 50 ms, auth by ${secret}`,
      unit: 'ms',
      ...results,
      judged: 'ours',
      target: { better: 'lower', must: 3, aim: 1.5 },
    });
  }
  await stub.stop();
  return figures;
}

/** After 10,000 requests: with nothing but answers of our own, and with a provider asked each time. */
async function memory(effort: Effort): Promise<Figure[]> {
  const { origin, stop } = await startStub();
  const after = async (subject: Subject, requests: readonly Buffer[]): Promise<Memory> => {
    const program = start(subject);
    pingPong(program, requests, 10_000);
    const used = program.memory();
    await program.stop();
    return used;
  };
  const figures: Figure[] = [];
  for (const [name, subject, requests] of [
    ['isuser', bridge(NOWHERE), ISUSER],
    ['logins by password', bridge(origin), [PASSWORD]],
  ] as const) {
    const { base, ours } = await inPairs(
      effort,
      () => after(echo, requests),
      () => after(subject, requests),
    );
    figures.push(
      {
        name: `RSS after 10,000 ${name} / echo`,
        unit: 'MiB',
        ours: ours.map(({ resident }) => resident),
        base: base.map(({ resident }) => resident),
        target: { better: 'lower', must: 1.4, aim: 1.2 },
      },
      {
        name: `Pss after 10,000 ${name} / echo`,
        unit: 'MiB',
        ours: ours.map(({ proportional }) => proportional),
        base: base.map(({ proportional }) => proportional),
      },
    );
  }
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

async function inPairs<T>(
  { pairs, onPair }: Effort,
  base: () => Promise<T>,
  ours: () => Promise<T>,
): Promise<{ base: T[]; ours: T[] }> {
  const results: { base: T[]; ours: T[] } = { base: [], ours: [] };
  for (let pair = 0; pair < pairs; pair++) {
    results.base.push(await base());
    results.ours.push(await ours());
    onPair();
  }
  return results;
}
