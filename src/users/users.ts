// Who has been here: each accepted login leaves a record of its user in the state, and the first one pins the localpart to
// the provider's subject. A name that the provider gives to somebody else later, or that two accounts fold to, stays with
// whom it belonged to (OpenID Connect Core section 5.7: a name is not an identity).
import { createDigest, type Digest } from '../guard/digest.ts';
import { fits, type Soon, STAYING, type State } from '../state/state.ts';

/** What is kept of one user. */
export interface User {
  readonly host: string;
  readonly localpart: string;
  /** Days, as 2026-11-24: for people who tidy up. */
  readonly first: string;
  readonly last: string;
  /** Whose the localpart is; `undefined` where nobody has said a subject yet. */
  readonly pin?: Pin;
}

export interface Pin {
  readonly issuer: string;
  readonly sub: string;
}

/** A login that has been accepted. */
export interface Seen {
  readonly host: string;
  readonly localpart: string;
  /** `unsaid` where the provider says no subject; `undefined` where none is asked for (`pin_subject`). */
  readonly pin: Pin | 'unsaid' | undefined;
}

export interface UsersOptions {
  readonly state: State;
  /** Milliseconds of the wall clock. */
  readonly wallClock: () => number;
}

export interface Users {
  /**
   * Leaves a record, and whether the localpart is this subject's: from now on, if it was nobody's. Both are kept when it
   * resolves, as far as the store keeps anything.
   */
  admit(seen: Seen): Promise<boolean>;
  /** Whether `admit` would say yes and has nothing to write. */
  isAdmitted(seen: Seen): boolean;
  /** Whether there is a record. True where the store cannot say: a no would bounce messages to people who are there. */
  isKnown(host: string, localpart: string): Soon<boolean>;
  list(host: string | undefined): Promise<User[]>;
  find(host: string, localpart: string): Promise<User | undefined>;
  /** Nothing is left of the user. Whether there was anything. */
  forget(host: string, localpart: string): Promise<boolean>;
  /** The next who logs in owns the localpart. Whether somebody did. */
  unpin(host: string, localpart: string): Promise<boolean>;
  /** Others may have removed what this process has seen. */
  lookAgain(): void;
}

/** Names in the state: of records, and of pins, which one of several logins at a time can make. */
const { record: RECORD, pin: PIN } = STAYING;
const FOR_EVER = Number.POSITIVE_INFINITY;
/** Users of whom this process knows that it need not look. */
const MAX_RECENT = 10_000;
/** Milliseconds for which it knows. */
const RECENT = 60_000;

export function createUsers({ state, wallClock }: UsersOptions): Users {
  let key: Buffer | undefined;
  let digest: Digest;
  /** Whose pin, or record, was seen until when; two generations, of which the old one goes as a whole. */
  let recent = new Map<string, { readonly seen: string; readonly until: number }>();
  let older = new Map<string, { readonly seen: string; readonly until: number }>();

  function digestNow(): Digest {
    if (key !== state.key) {
      key = state.key;
      digest = createDigest(key);
      lookAgain();
    }
    return digest;
  }

  /** By a digest: who reads names of keys learns nobody's. */
  const nameOf = (kind: string, host: string, localpart: string): string =>
    kind + digestNow()('user', host, localpart);

  const today = (): string => new Date(wallClock()).toISOString().slice(0, 10);

  /** What was seen not long ago. */
  function recentOf(name: string): string | undefined {
    const found = recent.get(name) ?? older.get(name);
    if (found === undefined) return undefined;
    const now = wallClock();
    return now < found.until && found.until <= now + RECENT ? found.seen : undefined;
  }

  const isRecent = (name: string, seen: string): boolean => recentOf(name) === seen;

  function lookAgain(): void {
    recent.clear();
    older.clear();
  }

  function remember(name: string, seen: string): void {
    if (recent.size >= MAX_RECENT / 2) {
      older = recent;
      recent = new Map();
    }
    recent.set(name, { seen, until: wallClock() + RECENT });
  }

  /** Sealed like a verdict: who can write to the store must not make a localpart his own. */
  const seal = (name: string, text: string): string => digestNow()('seal', name, text) + text;
  function unseal(name: string, sealed: string | undefined): string | undefined {
    if (sealed === undefined) return undefined;
    const text = sealed.slice(SEAL);
    return seal(name, text) === sealed ? text : undefined;
  }

  /** A subject is of at most 255 characters (OpenID Connect Core section 2); a longer one is known by its digest. */
  function textOf({ issuer, sub }: Pin): string {
    const text = JSON.stringify([issuer, sub]);
    return fits(seal('', text))
      ? text
      : JSON.stringify([issuer.slice(0, 255), digestNow()('sub', issuer, sub)]);
  }

  async function readRecord(host: string, localpart: string): Promise<User | undefined> {
    const name = nameOf(RECORD, host, localpart);
    return parse<User>(unseal(name, await state.get(name)));
  }

  async function readPin(host: string, localpart: string): Promise<Pin | undefined> {
    const name = nameOf(PIN, host, localpart);
    const found = parse<[string, string]>(unseal(name, await state.get(name)));
    return found && { issuer: found[0], sub: found[1] };
  }

  async function owns(name: string, pin: Pin): Promise<boolean> {
    const text = textOf(pin);
    // One that is not sealed is nobody's that we know: an administrator decides.
    const there = await state.putIfAbsent(name, seal(name, text), FOR_EVER);
    const isOurs = there === undefined || unseal(name, there) === text;
    if (isOurs) remember(name, text);
    return isOurs;
  }

  /** Who does not say a subject is not the one whose the localpart is. */
  async function isNobodys(name: string): Promise<boolean> {
    if ((await state.get(name)) !== undefined) return false;
    remember(name, NOBODYS);
    return true;
  }

  async function record(name: string, { host, localpart }: Seen): Promise<void> {
    const day = today();
    // No provider has such names; who had one would be unknown.
    if (!fits(seal(name, JSON.stringify({ host, localpart, first: day, last: day })))) return;
    const textFrom = (first: string): string => JSON.stringify({ host, localpart, first, last: day });
    const there = await state.putIfAbsent(name, seal(name, textFrom(day)), FOR_EVER);
    const known = parse<User>(unseal(name, there));
    if (there !== undefined && known?.last !== day)
      await state.set(name, seal(name, textFrom(known?.first ?? day)), FOR_EVER);
    remember(name, day);
  }

  return {
    async admit(seen) {
      const { host, localpart, pin } = seen;
      const place = nameOf(PIN, host, localpart);
      if (pin === 'unsaid' && !(await isNobodys(place))) return false;
      if (typeof pin === 'object' && !(await owns(place, pin))) return false;
      const name = nameOf(RECORD, host, localpart);
      if (!isRecent(name, today())) await record(name, seen);
      return true;
    },
    isAdmitted({ host, localpart, pin }) {
      const isOwn =
        pin === undefined || isRecent(nameOf(PIN, host, localpart), pin === 'unsaid' ? NOBODYS : textOf(pin));
      return isOwn && isRecent(nameOf(RECORD, host, localpart), today());
    },
    isKnown(host, localpart) {
      const name = nameOf(RECORD, host, localpart);
      if (recentOf(name) !== undefined) return true;
      const before = state.failures;
      const answer = (found: string | undefined): boolean =>
        found !== undefined || state.isAway === true || state.failures !== before;
      const found = (state.peek ?? state.get)(name);
      return found instanceof Promise ? found.then(answer) : answer(found);
    },
    async list(host) {
      const users: User[] = [];
      for (const [name, sealed] of await state.list(RECORD)) {
        const user = parse<User>(unseal(name, sealed));
        if (user === undefined || (host !== undefined && user.host !== host)) continue;
        const pin = await readPin(user.host, user.localpart);
        users.push(pin === undefined ? user : { ...user, pin });
      }
      return users.sort((a, b) => compare(a.host, b.host) || compare(a.localpart, b.localpart));
    },
    async find(host, localpart) {
      const user = await readRecord(host, localpart);
      const pin = await readPin(host, localpart);
      return user === undefined || pin === undefined ? user : { ...user, pin };
    },
    async forget(host, localpart) {
      const found = [
        await remove(nameOf(RECORD, host, localpart)),
        await remove(nameOf(PIN, host, localpart)),
      ];
      return found.includes(true);
    },
    unpin: (host, localpart) => remove(nameOf(PIN, host, localpart)),
    lookAgain,
  };

  async function remove(name: string): Promise<boolean> {
    recent.delete(name);
    older.delete(name);
    const found = await state.get(name);
    await state.delete(name);
    return found !== undefined;
  }
}

/** What is remembered of a localpart that no subject owns; the text of a pin is never empty. */
const NOBODYS = '';
/** Characters of a digest. */
const SEAL = 43;

/** Ours, to the letter: it was sealed. */
function parse<Value>(text: string | undefined): Value | undefined {
  return text === undefined ? undefined : (JSON.parse(text) as Value);
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
