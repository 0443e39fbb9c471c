// Logins that have been found good a moment ago, so that the same again costs a digest and not a signature check. Only
// what is decided here, by keys and clock alone, is remembered: asking again would give the same answer.
import type { Accepted, Credentials, Verdict } from '../verdict.ts';

export interface Remembered {
  /** What the very same secret for the very same user is called here. */
  nameOf(credentials: Credentials): string;
  /** The verdict that was kept under a name, as long as it is good. `now` of the wall clock, in milliseconds. */
  find(name: string, now: number): Accepted | undefined;
  /** Keeps a verdict that says until when it is good, and no other. */
  keep(name: string, verdict: Verdict, now: number): void;
  /** The keys are others: nothing is known any more. */
  forget(): void;
}

/** A verdict is made anew after so long, whatever the token says. */
const KEEP_FOR = 60_000;

export function createRemembered(maxEntries = 10_000): Remembered {
  const entries = new Map<string, Accepted & { readonly until: number }>();
  let crypto: typeof import('node:crypto') | undefined;
  // Random for each process, and no digest leaves it: who reads the memory finds no secret to try names on.
  let key = '';

  return {
    nameOf({ localpart, host, secret }) {
      if (crypto === undefined) {
        crypto = process.getBuiltinModule('node:crypto');
        key = crypto.randomBytes(32).toString('base64');
      }
      // Every part with its length: no two logins run together to the same text.
      const text = `${key}${host.length}:${host}${localpart.length}:${localpart}${secret.reveal()}`;
      return crypto.hash('sha256', text, 'base64');
    },
    find(name, now) {
      const verdict = entries.get(name);
      if (verdict === undefined || now < verdict.until) return verdict;
      entries.delete(name);
      return undefined;
    },
    keep(name, verdict, now) {
      if (verdict.outcome !== 'accepted' || verdict.until === undefined) return;
      const until = Math.min(verdict.until, now + KEEP_FOR);
      // The oldest goes first.
      if (entries.size >= maxEntries) entries.delete(entries.keys().next().value ?? '');
      entries.set(name, { ...verdict, until, remembered: true });
    },
    forget: () => entries.clear(),
  };
}
