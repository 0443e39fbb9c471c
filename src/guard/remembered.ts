// Logins that have been found good a moment ago, so that the same again costs a digest and not a signature check. Only
// what is decided here, by keys and clock alone, is remembered: asking again would give the same answer.
import type { Accepted, Credentials } from '../verdict.ts';

export interface Remembered {
  /** The verdict on the very same secret for the very same user, as long as it is good. `now` of the wall clock, in ms. */
  find(credentials: Credentials, now: number): Accepted | undefined;
  /** Keeps a verdict that says until when it is good; any other is not kept. */
  keep(credentials: Credentials, verdict: Accepted, now: number): void;
  /** The keys are others: nothing is known any more. */
  forget(): void;
}

/** A verdict is made anew after so long, whatever the token says. */
const KEEP_FOR = 60_000;

export function createRemembered(maxEntries = 10_000): Remembered {
  const entries = new Map<string, Accepted & { readonly until: number }>();
  // Random for each process, and the digest never leaves it: who reads the memory finds no secret to try names on.
  let key = '';

  /** Every part with its length: no two logins run together to the same text. */
  function digest({ localpart, host, secret }: Credentials): string {
    const { hash, randomBytes } = process.getBuiltinModule('node:crypto');
    if (key === '') key = randomBytes(32).toString('base64');
    return hash(
      'sha256',
      `${key}${host.length}:${host}${localpart.length}:${localpart}${secret.reveal()}`,
      'base64',
    );
  }

  return {
    find(credentials, now) {
      if (entries.size === 0) return undefined;
      const name = digest(credentials);
      const verdict = entries.get(name);
      if (verdict === undefined || now < verdict.until) return verdict;
      entries.delete(name);
      return undefined;
    },
    keep(credentials, verdict, now) {
      const until = Math.min(verdict.until ?? 0, now + KEEP_FOR);
      if (until <= now) return;
      if (entries.size >= maxEntries) entries.delete(entries.keys().next().value ?? '');
      entries.set(digest(credentials), { ...verdict, until, remembered: true });
    },
    forget: () => entries.clear(),
  };
}
