// Prints, as JSON, what an entry of what is remembered takes, and how much is kept after so many different users
// with a wrong password each: `entries.ts 1000000`. Only what keeps them is here, and not the program around it.
import { setTimeout as sleep } from 'node:timers/promises';
import { type Attempt, createBudget } from '../../src/guard/budget.ts';
import { createVerdicts, type Login, type Verdicts } from '../../src/guard/verdicts.ts';
import { createMemoryState } from '../../src/state/memory.ts';
import { type Accepted, type Refused, Secret } from '../../src/verdict.ts';
import type { Entries } from './cached.ts';

const ENTRIES = 10_000;
const MINUTES = 600_000;
const settings = 'x'.repeat(43);
const GOOD = { outcome: 'accepted', method: 'password' } as const;
const WRONG: Refused = { outcome: 'refused', reason: 'not_authorized', method: 'password' };

function login(n: number): Login {
  const localpart = `user${n}`;
  const secret = new Secret(`password-of-${localpart}`);
  return {
    credentials: { localpart, authcid: localpart, host: 'localhost', secret, isBearer: false },
    settings: () => settings,
  };
}

function verdictsFor(maxEntries: number): Verdicts {
  return createVerdicts({
    ttl: { token: MINUTES, password: MINUTES, refused: MINUTES },
    grace: 0,
    maxEntries,
    shared: undefined,
    wallClock: Date.now,
    random: Math.random,
  });
}

/** Bytes of what is reachable, buffers included. */
async function used(): Promise<number> {
  for (let n = 0; n < 3; n++) {
    // What the last turn of the event loop still held is let go in the next.
    await sleep(10);
    global.gc?.();
  }
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

const stateFor = (maxEntries: number) => createMemoryState({ now: () => performance.now(), maxEntries });
const limit = { count: 5, window: MINUTES };

const accept = (verdicts: Verdicts, n: number): void => {
  const one = login(n);
  const verdict: Accepted = { ...GOOD, localpart: one.credentials.localpart ?? '' };
  verdicts.keep(one, verdict);
};
const refuse = (verdicts: Verdicts, n: number): void => void verdicts.keep(login(n), WRONG);

/** Full, with all that is laid out for it beforehand. Something of the kind has been filled before, so that all is compiled. */
async function bytesOf<Keeper>(
  create: () => Keeper,
  keep: (keeper: Keeper, n: number) => unknown,
): Promise<number> {
  const fill = async (keeper: Keeper): Promise<void> => {
    for (let n = 0; n < ENTRIES; n++) await keep(keeper, n);
  };
  await fill(create());
  const before = await used();
  const keeper = create();
  await fill(keeper);
  const bytes = Math.round(((await used()) - before) / ENTRIES);
  // Until here it is needed.
  await keep(keeper, 0);
  return bytes;
}

const attemptOf = ({ credentials: { authcid, secret } }: Login): Attempt => ({ account: authcid, secret });

const bounded = verdictsFor(ENTRIES);
const budget = createBudget({ limit, state: stateFor(2 * ENTRIES) });
const strangers = Number(process.argv[2]);
const growth = { tenth: Number.NaN, all: Number.NaN };
for (let n = 1; n <= strangers; n++) {
  const one = login(n);
  if (bounded.find(one) !== undefined || (await budget.isSpent(attemptOf(one)))) throw new Error('known');
  bounded.keep(one, WRONG);
  await budget.count(attemptOf(one));
  // In the loop, where all of it is still needed.
  if (n === strangers / 10) growth.tenth = (await used()) / 2 ** 20;
  if (n === strangers) growth.all = (await used()) / 2 ** 20;
}
const accepted = await bytesOf(() => verdictsFor(ENTRIES), accept);
const refused = await bytesOf(() => verdictsFor(ENTRIES), refuse);
const counted = await bytesOf(
  () => createBudget({ limit, state: stateFor(2 * ENTRIES) }),
  (budget, n) => budget.count(attemptOf(login(n))),
);
console.log(JSON.stringify({ accepted, refused, counted, growth } satisfies Entries));
