// How many wrong passwords a user may have: so many different ones in a window of time, whichever worker they come to. An
// old phone that repeats one all day spends one; who tries others is stopped before the provider locks the account.
import type { State } from '../state/state.ts';
import type { Credentials } from '../verdict.ts';
import { createDigest, type Digest } from './digest.ts';

export interface BudgetOptions {
  /** Different wrong passwords, and milliseconds from the first; `undefined`: no limit. */
  readonly limit: { readonly count: number; readonly window: number } | undefined;
  readonly state: State;
}

export interface Budget {
  /** The name that stands for the user; not the user's own. */
  userOf(credentials: Credentials): string;
  /** Whether this password must not be tried any more. One that has been counted before costs nothing. */
  isSpent(credentials: Credentials): Promise<boolean>;
  /** The provider has refused the password, or it was sent and nobody knows what came of it. */
  count(credentials: Credentials): Promise<void>;
}

export function createBudget({ limit, state }: BudgetOptions): Budget {
  let key: Buffer | undefined;
  let digest: Digest;

  function named(kind: string, { host, authcid }: Credentials, ...more: string[]): string {
    if (key !== state.key) {
      key = state.key;
      digest = createDigest(key);
    }
    return `${kind}:${digest(kind, host, authcid, ...more)}`;
  }

  const spent = (credentials: Credentials): string => named('wrong', credentials);
  const counted = (credentials: Credentials): string =>
    named('counted', credentials, credentials.secret.reveal());

  return {
    userOf: (credentials) => named('user', credentials),
    async isSpent(credentials) {
      if (limit === undefined) return false;
      const [count, before] = await Promise.all([
        state.get(spent(credentials)),
        state.get(counted(credentials)),
      ]);
      return Number(count ?? 0) >= limit.count && before === undefined;
    },
    async count(credentials) {
      if (limit === undefined) return;
      const { window } = limit;
      const before = await state.putIfAbsent(counted(credentials), '1', window);
      if (before === undefined) await state.increment(spent(credentials), 1, window);
    },
  };
}
