// How a duty is measured: in pairs of runs, the base right before the bridge, one request at a time.
import { ownCpu, type Program, type Stub, type Subject, start } from './program.ts';
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

export interface Pairs<Base, Ours = Base> {
  readonly base: readonly Base[];
  readonly ours: readonly Ours[];
}

export async function inPairs<Base, Ours = Base>(
  { pairs, onPair }: Effort,
  base: () => Promise<Base>,
  ours: () => Promise<Ours>,
): Promise<Pairs<Base, Ours>> {
  const results: { base: Base[]; ours: Ours[] } = { base: [], ours: [] };
  for (let pair = 0; pair < pairs; pair++) {
    results.base.push(await base());
    results.ours.push(await ours());
    onPair();
  }
  return results;
}

export interface Duty {
  readonly requests: readonly Buffer[];
  /** Requests in a run of full size. A quarter of that goes before, to warm up. */
  readonly count: number;
  /** Where a request costs so many exchanges, the run is void when a login has done with fewer or taken more. */
  readonly provider?: { readonly stub: Stub; readonly exchanges: number };
}

export interface Duel extends Duty {
  readonly base: Subject;
  readonly ours: Subject;
}

export interface PingPong {
  /** Requests a second. */
  readonly rate: number;
  /** Microseconds. */
  readonly median: number;
  readonly tail: number;
  readonly cpu: number;
}

/** What the figures of a duty are held to: the rate, how long a request takes, and the program's own work for it. */
export interface Targets {
  readonly rate?: Target;
  readonly median?: Target;
  readonly tail?: Target;
  readonly cpu?: Target;
}

/** Requests before a run that counts: by then the engine has compiled what there is to compile, ours later than the base. */
export const warmUp = (count: number): number => Math.round(count / 2);

/** One request at a time: requests a second, how long one takes, and what the program itself works for it. */
export async function pingPongs(
  name: string,
  effort: Effort,
  { base, ours, ...duty }: Duel,
  targets: Targets,
): Promise<Figure[]> {
  const pairs = await inPairs(
    effort,
    () => warmPingPong(base, duty, effort),
    () => warmPingPong(ours, duty, effort),
  );
  return figuresOf(name, pairs, targets);
}

/** A run of its own program, warmed up. */
export async function warmPingPong(
  subject: Subject,
  { requests, count, provider }: Duty,
  { size }: Effort,
): Promise<PingPong> {
  const warm = warmUp(count);
  const measured = Math.round(count * size);
  const program = start(subject);
  pingPong(program, requests, { count: warm });
  const before = await provider?.stub.asked();
  const result = pingPong(program, requests, { count: measured, from: warm });
  if (provider !== undefined && before !== undefined) {
    const asked = (await provider.stub.asked()) - before;
    if (asked !== measured * provider.exchanges) {
      throw new Error(`${subject.script} asked the provider ${asked} times in ${measured} requests`);
    }
  }
  await program.stop();
  return result;
}

export function figuresOf(name: string, pairs: Pairs<PingPong>, targets: Targets): Figure[] {
  const of = (key: keyof PingPong): Pick<Figure, 'ours' | 'base' | 'target'> => {
    const target = targets[key];
    return {
      ours: pairs.ours.map((result) => result[key]),
      base: pairs.base.map((result) => result[key]),
      ...(target === undefined ? {} : { target }),
    };
  };
  return [
    { name, unit: '/s', ...of('rate') },
    { name: `${name}, p50`, unit: 'us', ...of('median') },
    { name: `${name}, p99`, unit: 'us', ...of('tail') },
    { name: `${name}, own CPU a request`, unit: 'us', ...of('cpu') },
  ];
}

export interface Round {
  readonly count: number;
  /** The number of the first request. */
  readonly from?: number;
  /** What each request must be answered with. Yes (1) by default. */
  readonly answers?: readonly number[];
}

/**
 * Blocks until `count` requests, from number `from` on and round and round, have been answered as they must be. The rate
 * is that of the program: without our own time.
 */
export function pingPong(
  program: Program,
  requests: readonly Buffer[],
  { count, from = 0, answers = [] }: Round,
): PingPong {
  const times = new Float64Array(count);
  const cpu = program.cpu();
  const driver = ownCpu();
  const begin = performance.now();
  let last = begin;
  for (let n = 0; n < count; n++) {
    const at = (from + n) % requests.length;
    const answer = program.ask(requests[at] as Buffer);
    if (answer !== (answers[at] ?? 1)) throw new Error(`request ${n} was answered ${answer}`);
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

/** From spawn to the first answer, with the request in the pipe at the start; milliseconds. */
export async function firstAnswer(subject: Subject, request: Buffer): Promise<number> {
  const program = start(subject, request);
  const milliseconds = program.firstAnswer();
  await program.stop();
  return milliseconds;
}

/** Enough for the engine to have compiled what a login runs through. */
const WARM = 500;

export interface Login {
  /** What the table calls it. */
  readonly name: string;
  readonly base: Subject;
  readonly ours: Subject;
  readonly request: Buffer;
  /** How often the provider is asked for it. */
  readonly exchanges: number;
}

/**
 * What we add to the time that a provider takes which holds every answer for 50 ms: the time of a login without the time
 * it was held, and without the work of the provider.
 */
export async function addedToLatency(
  effort: Effort,
  stub: Stub,
  { name, base, ours, request, exchanges }: Login,
): Promise<Figure> {
  const count = Math.max(7, Math.round(20 * effort.size));
  const added = async (subject: Subject): Promise<number> => {
    const program = start(subject);
    await stub.hold(0);
    pingPong(program, [request], { count: WARM });
    await stub.hold(50);
    program.ask(request);
    await stub.held();
    const before = stub.cpu();
    const { median } = pingPong(program, [request], { count });
    const provider = (stub.cpu() - before) / count;
    const waited = exchanges * (await stub.held());
    await program.stop();
    return (median - provider) / 1000 - waited;
  };
  return {
    name: `added to a provider at 50 ms, auth by ${name}`,
    unit: 'ms',
    ...(await inPairs(
      effort,
      () => added(base),
      () => added(ours),
    )),
    judged: 'ours',
    target: { better: 'lower', must: 3, aim: 1.5 },
  };
}

/** Memory after 10,000 requests, against the echo of the same. */
export async function memoryAfter(
  effort: Effort,
  { name, base, ours, requests }: { name: string; base: Subject; ours: Subject; requests: readonly Buffer[] },
): Promise<Figure[]> {
  const after = async (subject: Subject) => {
    const program = start(subject);
    pingPong(program, requests, { count: 10_000 });
    const used = program.memory();
    await program.stop();
    return used;
  };
  const pairs = await inPairs(
    effort,
    () => after(base),
    () => after(ours),
  );
  return [
    {
      name: `RSS after 10,000 ${name} / echo`,
      unit: 'MiB',
      ours: pairs.ours.map(({ resident }) => resident),
      base: pairs.base.map(({ resident }) => resident),
      target: { better: 'lower', must: 1.4, aim: 1.2 },
    },
    {
      name: `Pss after 10,000 ${name} / echo`,
      unit: 'MiB',
      ours: pairs.ours.map(({ proportional }) => proportional),
      base: pairs.base.map(({ proportional }) => proportional),
    },
  ];
}
