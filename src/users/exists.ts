// Whether a user exists, for a server that stands still until it knows: what was found out is kept, and asked again in the
// background. Never no because of an outage: what was found last, or who has logged in, or else yes.
import { LRUCache } from 'lru-cache';
import { ProviderError } from '../oauth/errors.ts';
import type { Soon } from '../state/state.ts';
import type { Lookup } from './lookup.ts';

/** Questions under way, of all virtual hosts together. */
export interface Room {
  taken: number;
  readonly size: number;
}

export interface ExistsOptions {
  readonly lookup: Lookup;
  /** Whether somebody of this name has logged in. */
  readonly isKnown: (host: string, localpart: string) => Soon<boolean>;
  /** For the operator: what waiting does not mend. The same text again is not said again. */
  readonly warn: (message: string) => void;
  /** The way to the provider is there for logins, and whoever asks for many strangers must not fill it. */
  readonly room: Room;
  /** Milliseconds of a monotonic clock. */
  readonly now: () => number;
}

export interface Exists {
  /** Before `deadlineAt`, on the clock of `now`. Never rejects. */
  ask(localpart: string, host: string, deadlineAt: number): Soon<boolean>;
  /** There is such a user: somebody has just logged in. */
  seen(localpart: string, host: string): void;
  forget(localpart: string, host: string): void;
  /** Forgets everybody. */
  lookAgain(): void;
}

interface Answer {
  readonly found: boolean;
  /** When it was found out. */
  readonly at: number;
}

/** Milliseconds for which an answer holds. Who is new is wanted sooner than who has gone. */
const FOUND = 600_000;
const NOT_FOUND = 60_000;
/** In the second half of that it is asked again while it is still given. */
const STALE = 0.5;
/** Milliseconds for a new answer where there is an older one, or a login: Prosody asks three times for each stanza. */
const PATIENCE = 40;
/**
 * Whoever waited so long for nothing is the last for a while: a server that asks one question after the other would stand
 * still for as long as there are names to ask for, once more with each probe that a half dead directory answers.
 */
const IN_VAIN = 500;
const HURRY = 10_000;
/** One question with all that belongs to it: metadata, a token, the answer. */
const TIMEOUT = 10_000;
/** Users of whom an answer is kept. */
const MAX_ANSWERS = 10_000;
/** Bytes of a localpart (RFC 7622 section 3.3): nobody has a longer one. */
const LONGEST = 1023;

export function createExists({ lookup, isKnown, warn, now, room }: ExistsOptions): Exists {
  // Not by `max`: lru-cache would make room for all of them at once.
  const answers = new LRUCache<string, Answer>({ maxSize: MAX_ANSWERS, sizeCalculation: () => 1 });
  const flights = new Map<string, Promise<boolean | undefined>>();
  let hurriedUntil = Number.NEGATIVE_INFINITY;

  /** `undefined` when nobody can say. One question about a user at a time. */
  function askNow(localpart: string, host: string): Promise<boolean | undefined> {
    const name = nameOf(localpart, host);
    const flying = flights.get(name);
    if (flying !== undefined) return flying;
    if (room.taken >= room.size) return Promise.resolve(undefined);
    room.taken++;
    const before = answers.get(name);
    const flight = lookup(localpart, host, AbortSignal.timeout(TIMEOUT))
      .then(
        (found) => {
          // Somebody may have logged in, or been forgotten, in the meantime.
          if (answers.get(name) === before) answers.set(name, { found, at: now() });
          return found;
        },
        (error: unknown) => {
          if (!(error instanceof ProviderError)) warn('user_lookup: no answer in time');
          else if (!PASSES.has(error.reason)) warn(`user_lookup: ${error.message}`);
          return undefined;
        },
      )
      .finally(() => {
        room.taken--;
        flights.delete(name);
      });
    flights.set(name, flight);
    return flight;
  }

  async function decide(
    localpart: string,
    host: string,
    last: Answer | undefined,
    deadlineAt: number,
  ): Promise<boolean> {
    const asked = askNow(localpart, host);
    const startedAt = now();
    // A login is a yes, but that nobody has logged in is not a no. Nor is an old no: he may have come since, and only another
    // process have seen it. A store that does not answer in time says no more than one that is away.
    const known = last?.found === true || (await within(PATIENCE, Promise.resolve(isKnown(host, localpart))));
    const remembered = known === undefined ? true : known || last?.found;
    const hurried = remembered !== undefined || startedAt < hurriedUntil;
    const left = deadlineAt - startedAt;
    const waited = now() - startedAt;
    const found = await within((hurried ? Math.min(PATIENCE, left) : left) - waited, asked);
    if (found === undefined && now() - startedAt >= IN_VAIN) hurriedUntil = now() + HURRY;
    return found ?? remembered ?? true;
  }

  return {
    ask(localpart, host, deadlineAt) {
      if (Buffer.byteLength(localpart) > LONGEST) return false;
      const last = answers.get(nameOf(localpart, host));
      if (last !== undefined) {
        const age = (now() - last.at) / (last.found ? FOUND : NOT_FOUND);
        if (age >= STALE && age < 1) void askNow(localpart, host);
        if (age < 1) return last.found;
      }
      return decide(localpart, host, last, deadlineAt);
    },
    seen(localpart, host) {
      answers.set(nameOf(localpart, host), { found: true, at: now() });
    },
    forget(localpart, host) {
      answers.delete(nameOf(localpart, host));
    },
    lookAgain: () => answers.clear(),
  };
}

/** What the gate tells the log of, or will be over by itself. */
const PASSES: ReadonlySet<string> = new Set([
  'provider_unreachable',
  'provider_timeout',
  'provider_busy',
  'provider_paused',
]);

/** Neither half holds an at sign. */
const nameOf = (localpart: string, host: string): string => `${localpart}@${host}`;

async function within<Value>(milliseconds: number, promise: Promise<Value>): Promise<Value | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(resolve, milliseconds, undefined);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
