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
}

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

  const spent = ({ account }: Attempt): string => named('wrong', account);
  const counted = ({ account, secret }: Attempt): string => named('counted', account, secret.reveal());

  return {
    nameOf: (account) => named('account', account),
    async isSpent(attempt) {
      if (limit === undefined || state.isEmpty) return false;
      const [count, before] = await Promise.all([state.get(spent(attempt)), state.get(counted(attempt))]);
      return Number(count ?? 0) >= limit.count && before === undefined;
    },
    async count(attempt) {
      if (limit === undefined) return true;
      const { window } = limit;
      if ((await state.putIfAbsent(counted(attempt), '1', window)) !== undefined) return true;
      const isWithin = (await state.increment(spent(attempt), 1, window)) <= limit.count;
      if (!isWithin) await state.delete(counted(attempt));
      return isWithin;
    },
  };
}
