// Logins that have been found good before, so that the same again costs a digest and not a signature check. Only what is
// decided here, by keys and clock alone, is remembered: asking again would give the same answer. And only what comes
// twice: in a pool of workers most tokens come to one of them once, and to remember each would cost more than it saves.
import type { Accepted, Credentials, Verdict } from '../verdict.ts';

export interface Remembered {
  /** The verdict on the very same secret for the very same user, as long as it is good. `now` of the wall clock, in ms. */
  find(credentials: Credentials, now: number): Accepted | undefined;
  /** Keeps a verdict that says until when it is good, and no other, when the login comes for the second time. */
  keep(credentials: Credentials, verdict: Verdict, now: number): void;
  /** The keys are others: nothing is known any more. */
  forget(): void;
}

/** A verdict is made anew after so long, whatever the token says. */
const KEEP_FOR = 60_000;
/** Secrets that came once and may come again, by a trace that tells little of them: a power of two. */
const TRACES = 4096;

export function createRemembered(maxEntries = 10_000): Remembered {
  /** Until when each is good. What is remembered has been judged by keys, all of it. */
  const entries = new Map<string, number>();
  const traces = new Int32Array(TRACES);
  let crypto: typeof import('node:crypto') | undefined;
  // Random for each process, and no digest leaves it: who reads the memory finds no secret to try names on.
  let key = '';

  function digest({ localpart, host, secret }: Credentials): string {
    if (crypto === undefined) {
      crypto = process.getBuiltinModule('node:crypto');
      key = crypto.randomBytes(32).toString('base64');
    }
    // Every part with its length: no two logins run together to the same text.
    const text = `${key}${host.length}:${host}${localpart.length}:${localpart}${secret.reveal()}`;
    return crypto.hash('sha256', text, 'base64');
  }

  return {
    find(credentials, now) {
      const trace = traceOf(credentials);
      if (traces[trace & (TRACES - 1)] !== trace) return undefined;
      const name = digest(credentials);
      const until = entries.get(name);
      if (until === undefined) return undefined;
      if (now < until) return { outcome: 'accepted', method: 'jwt', until, remembered: true };
      entries.delete(name);
      return undefined;
    },
    keep(credentials, verdict, now) {
      if (verdict.outcome !== 'accepted' || verdict.until === undefined) return;
      const trace = traceOf(credentials);
      const place = trace & (TRACES - 1);
      if (traces[place] !== trace) {
        traces[place] = trace;
        return;
      }
      // The oldest goes first.
      if (entries.size >= maxEntries) entries.delete(entries.keys().next().value ?? '');
      entries.set(digest(credentials), Math.min(verdict.until, now + KEEP_FOR));
    },
    forget() {
      entries.clear();
      traces.fill(0);
    },
  };
}

/** FNV-1a of the last 16 characters, which are the end of a JWT's signature. Two with the same only cost a digest more. */
function traceOf({ secret }: Credentials): number {
  const text = secret.reveal();
  let trace = 0x811c9dc5;
  for (let at = Math.max(0, text.length - 16); at < text.length; at++) {
    trace = Math.imul(trace ^ text.charCodeAt(at), 0x01000193);
  }
  return trace;
}
