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

/** Bytes of the key, and of what is digested with it: a JWT of 16 KiB and the longest names. */
const KEY = 32;
const MAX_TEXT = 64 * 1024;
/** Bits for secrets that came once and may come again: a power of two, 16 KB of memory. */
const TRACES = 131_072;
/** When so many are set, too many strangers would find theirs set, too. */
const MOST_TRACES = TRACES / 4;

/** Until when it is good, and who it is where that was not known before. */
type Known = number | { readonly until: number; readonly localpart: string };

export interface RememberedOptions {
  /** A verdict is made anew after so long, in milliseconds, whatever the token says. */
  readonly keepFor: number;
  readonly maxEntries: number;
}

export function createRemembered({ keepFor, maxEntries }: RememberedOptions): Remembered {
  // Until when each is good. What is remembered has been judged by keys, all of it. Two generations: when the young one is
  // half of what is allowed, the old one goes as a whole.
  let young = new Map<string, Known>();
  let old = new Map<string, Known>();
  const traces = new Uint32Array(TRACES / 32);
  let traced = 0;
  let crypto: typeof import('node:crypto') | undefined;
  // The key, random for each process, and behind it what is looked at. No digest leaves the process: who reads its memory
  // finds no secret to try names on.
  const scratch = Buffer.allocUnsafeSlow(KEY + MAX_TEXT);

  function digest({ localpart, host, secret, isBearer }: Credentials): string {
    if (crypto === undefined) {
      crypto = process.getBuiltinModule('node:crypto');
      crypto.randomFillSync(scratch, 0, KEY);
    }
    // Every part with its length: no two logins run together to the same text. Nobody's token in particular (-) is not
    // that of a user without a name.
    const how = isBearer ? 'b' : 'p';
    const head =
      localpart === undefined
        ? `${how}${host.length}:${host}-`
        : `${how}${host.length}:${host}${localpart.length}:${localpart}`;
    const middle = KEY + scratch.write(head, KEY);
    const end = middle + scratch.write(secret.reveal(), middle);
    return crypto.hash('sha256', scratch.subarray(0, end), 'base64');
  }

  /** Whether it can be remembered at all: what is longer is no JWT. */
  function fits({ localpart = '', host, secret }: Credentials): boolean {
    return 3 * (localpart.length + host.length + secret.reveal().length) < MAX_TEXT - 32;
  }

  function isTraced(trace: number): boolean {
    return ((traces[trace >>> 5] ?? 0) & (1 << (trace & 31))) !== 0;
  }

  function addTrace(trace: number): void {
    if (++traced > MOST_TRACES) {
      traces.fill(0);
      traced = 1;
    }
    traces[trace >>> 5] = (traces[trace >>> 5] ?? 0) | (1 << (trace & 31));
  }

  return {
    find(credentials, now) {
      if (!isTraced(traceOf(credentials)) || !fits(credentials)) return undefined;
      const name = digest(credentials);
      const known = young.get(name) ?? old.get(name);
      if (known === undefined) return undefined;
      const until = typeof known === 'number' ? known : known.until;
      // The second: for when the clock has been put back.
      if (now >= until || until > now + keepFor) return undefined;
      // Where the name was not asked about, it is part of the answer.
      const localpart = typeof known === 'number' ? (credentials.localpart ?? '') : known.localpart;
      return { outcome: 'accepted', method: 'jwt', localpart, until, cache: 'hit' };
    },
    keep(credentials, verdict, now) {
      if (verdict.outcome !== 'accepted' || verdict.method !== 'jwt' || verdict.until === undefined) return;
      if (keepFor === 0 || !fits(credentials)) return;
      const trace = traceOf(credentials);
      if (!isTraced(trace)) return addTrace(trace);
      if (young.size >= maxEntries / 2) {
        old = young;
        young = new Map();
      }
      const until = Math.min(verdict.until, now + keepFor);
      young.set(
        digest(credentials),
        credentials.localpart === undefined ? { until, localpart: verdict.localpart } : until,
      );
    },
    forget() {
      young = new Map();
      old = new Map();
      traces.fill(0);
      traced = 0;
    },
  };
}

/** FNV-1a of the last 16 characters, the end of a JWT's signature, as the number of a bit. Two with the same cost a digest. */
function traceOf({ secret }: Credentials): number {
  const text = secret.reveal();
  let trace = 0x811c9dc5;
  for (let at = Math.max(0, text.length - 16); at < text.length; at++) {
    trace = Math.imul(trace ^ text.charCodeAt(at), 0x01000193);
  }
  return (trace ^ (trace >>> 15)) & (TRACES - 1);
}
