// A user is forgotten by one process, and remembered by all that share the state: what lies there is removed by whose it is,
// and the others let go of what they have in memory, of everybody, within seconds. It is all in the state, or can be asked.
import type { State } from '../state/state.ts';
import { createDigest, type Digest } from './digest.ts';
import { unseal } from './seal.ts';

/** Somebody whom nothing shall be remembered of. */
export interface Forgotten {
  readonly host: string;
  readonly localpart: string;
}

/** Digits of a digest that tell one user from the others: 96 bits. */
const USER = 16;

/** What the names of a user's verdicts begin with; `undefined`: of logins by a token alone, which says itself whose it is. */
export function verdictsOf(digest: Digest, host: string, localpart: string | undefined): string {
  return `v:${digest('verdicts', host, localpart).slice(0, USER)}:`;
}

/** Removes the verdicts on the user's logins. How many there were. */
export async function forgetVerdicts(state: State, { host, localpart }: Forgotten): Promise<number> {
  const digest = createDigest(state.key);
  const [own, unnamed] = await Promise.all([
    state.list(verdictsOf(digest, host, localpart)),
    state.list(verdictsOf(digest, host, undefined)),
  ]);
  const isOurs = ([name, sealed]: [string, string]): boolean => {
    const verdict = unseal(sealed, name, digest)?.verdict;
    return verdict?.outcome === 'accepted' && verdict.localpart === localpart;
  };
  const names = [...own.keys(), ...[...unnamed].filter(isOurs).map(([name]) => name)];
  await Promise.all(names.map((name) => state.delete(name)));
  return names.length;
}

const NAME = 'forgotten';
/** For how long it is told: a process that has been stopped for longer has nothing in memory that is still good. */
const TOLD = 24 * 60 * 60 * 1000;
/** Milliseconds: how long others may go on from memory. */
const LOOK_EVERY = 5000;

/** Tells all who share the state that somebody has been forgotten, or is to be asked about again. */
export async function tellForgotten(state: State): Promise<void> {
  const { randomBytes } = process.getBuiltinModule('node:crypto');
  await state.set(NAME, randomBytes(9).toString('base64url'), TOLD);
}

export interface WatchOptions {
  readonly state: State;
  readonly onForgotten: () => void;
  readonly every?: number;
}

/** Calls `onForgotten` soon after anybody has told. The end of it is what comes back. */
export function watchForgotten({ state, onForgotten, every = LOOK_EVERY }: WatchOptions): () => void {
  let seen: string | undefined;
  async function look(): Promise<void> {
    const found = await state.get(NAME);
    // What this process has in place of a store that is away knows nothing of others.
    if (state.isAway === true || found === undefined || found === seen) return;
    seen = found;
    onForgotten();
  }
  const timer = setInterval(() => void look().catch(() => {}), every).unref();
  return () => clearInterval(timer);
}
