// How many wrong passwords a user may have: so many different ones in a window of time, whichever worker they come to. An
// old phone that repeats one all day spends one; who tries others is stopped before the provider locks the account.
import type { State } from '../state/state.ts';
import type { Secret } from '../verdict.ts';
import { createDigest, type Digest } from './digest.ts';

export interface BudgetOptions {
  /** Different wrong passwords, and milliseconds from the first; `undefined`: no limit. */
  readonly limit: { readonly count: number; readonly window: number } | undefined;
  readonly state: State;
}

/** A password as it is tried: of one account at the provider, whichever virtual host it comes by. */
export interface Attempt {
  readonly account: string;
  readonly secret: Secret;
}

export interface Budget {
  /** Stands for the account, and says nothing of it. */
  nameOf(account: string): string;
  /** Whether this password must not be tried any more. One that has been counted before costs nothing. */
  isSpent(attempt: Attempt): Promise<boolean>;
  /**
   * The provider has refused the password, or it was sent and nobody knows what came of it. False where that is one too
   * many, which is then as if it had not been tried.
   */
  count(attempt: Attempt): Promise<boolean>;
  /** Nothing is counted of the account any more. How many entries there were. */
  forget(account: string): Promise<number>;
}

/** Digits of a digest that tell one account from the others: 96 bits. */
const ACCOUNT = 16;

export function createBudget({ limit, state }: BudgetOptions): Budget {
  let key: Buffer | undefined;
  let digest: Digest;

  function named(kind: string, ...parts: string[]): string {
    if (key !== state.key) {
      key = state.key;
      digest = createDigest(key);
    }
    return `${kind}:${digest(kind, ...parts)}`;
  }

  const spent = (account: string): string => named('wrong', account);
  /** What the names of an account's wrong passwords begin with, so that they are found when it is to be forgotten. */
  const allOf = (wrong: string): string => `counted:${wrong.slice('wrong:'.length).slice(0, ACCOUNT)}:`;
  function namesOf({ account, secret }: Attempt): { wrong: string; counted: string } {
    const wrong = spent(account);
    const which = named('counted', account, secret.reveal()).slice('counted:'.length);
    return { wrong, counted: allOf(wrong) + which };
  }

  return {
    nameOf: (account) => named('account', account),
    async isSpent(attempt) {
      if (limit === undefined || state.isEmpty) return false;
      const { wrong, counted } = namesOf(attempt);
      const [count, before] = await Promise.all([state.get(wrong), state.get(counted)]);
      return Number(count ?? 0) >= limit.count && before === undefined;
    },
    async count(attempt) {
      if (limit === undefined) return true;
      const { window } = limit;
      const { wrong, counted } = namesOf(attempt);
      if ((await state.putIfAbsent(counted, '1', window)) !== undefined) return true;
      const isWithin = (await state.increment(wrong, 1, window)) <= limit.count;
      if (!isWithin) await state.delete(counted);
      return isWithin;
    },
    async forget(account) {
      const wrong = spent(account);
      const passwords = await state.list(allOf(wrong));
      const names =
        (await state.get(wrong)) === undefined ? [...passwords.keys()] : [wrong, ...passwords.keys()];
      await Promise.all(names.map((name) => state.delete(name)));
      return names.length;
    },
  };
}
