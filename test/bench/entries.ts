// Prints, as JSON, what an entry takes of what is remembered, and how large this process is after so many different users
// with a wrong password each: `entries.ts 1000000`. Only what keeps them is here, and not the program around it.
import { createBudget } from '../../src/guard/budget.ts';
import { createVerdicts, type Login } from '../../src/guard/verdicts.ts';
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
    settings,
  };
}

function verdictsFor(maxEntries: number) {
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
function used(): number {
  for (let n = 0; n < 3; n++) global.gc?.();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

/** With room for more than there will be, and everything compiled: what is left is the entries. */
async function bytesOf(keep: (n: number) => unknown): Promise<number> {
  const warm = 1000;
  for (let n = 0; n < warm; n++) await keep(n);
  const before = used();
  for (let n = warm; n < warm + ENTRIES; n++) await keep(n);
  return Math.round((used() - before) / ENTRIES);
}

const stateFor = (maxEntries: number) => createMemoryState({ now: () => performance.now(), maxEntries });
const limit = { count: 5, window: MINUTES };

const verdicts = verdictsFor(4 * ENTRIES);
const accepted = await bytesOf((n) => {
  const one = login(n);
  const verdict: Accepted = { ...GOOD, localpart: one.credentials.localpart ?? '' };
  verdicts.keep(one, verdict);
});
verdicts.forget();
const refused = await bytesOf((n) => verdicts.keep(login(n), WRONG));
verdicts.forget();
const roomy = createBudget({ limit, state: stateFor(8 * ENTRIES) });
const counted = await bytesOf((n) => roomy.count(login(n).credentials));

const bounded = verdictsFor(ENTRIES);
const budget = createBudget({ limit, state: stateFor(2 * ENTRIES) });
const strangers = Number(process.argv[2]);
const growth: Record<string, number> = {};
for (let n = 1; n <= strangers; n++) {
  const one = login(n);
  if (bounded.find(one) !== undefined || (await budget.isSpent(one.credentials))) throw new Error('known');
  bounded.keep(one, WRONG);
  await budget.count(one.credentials);
  if (n === strangers / 10) growth.tenth = process.memoryUsage().rss / 2 ** 20;
}
growth.all = process.memoryUsage().rss / 2 ** 20;
console.log(JSON.stringify({ accepted, refused, counted, growth } satisfies Entries));
