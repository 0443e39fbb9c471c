// What the provider has said of logins, kept so that it is not asked the same again: in this process, and in the state that
// workers share. Only what is definite is kept. What is shared is sealed: who can write to the store, or copies what it
// finds there, cannot make a verdict of it.
import { LRUCache } from 'lru-cache';
import type { State } from '../state/state.ts';
import type { Accepted, Cached, Credentials, Method, Refused, RefusedReason, Verdict } from '../verdict.ts';
import { createDigest, createOwnDigest, type Digest } from './digest.ts';

export interface VerdictsOptions {
  /** Milliseconds: `cache.token_ttl` and its like. 0 keeps nothing. */
  readonly ttl: { readonly token: number; readonly password: number; readonly refused: number };
  /** Milliseconds for which what was accepted may be accepted again when the provider cannot be asked. */
  readonly grace: number;
  readonly maxEntries: number;
  /** Where others can read along. `undefined` where there are none. */
  readonly shared: State | undefined;
  /** Milliseconds of the wall clock. */
  readonly wallClock: () => number;
  /** From 0 to 1. */
  readonly random: () => number;
}

export interface Verdicts {
  /** A name for the login, in this process alone. */
  nameOf(login: Login): string;
  /** What this process knows, if it is still good. */
  find(login: Login): Verdict | undefined;
  /** What anybody knows, if it is still good. */
  findShared(login: Login): Promise<Verdict | undefined>;
  /** What was good the last time, for want of anything newer. */
  findGrace(login: Login): Promise<Accepted | undefined>;
  /** Keeps what is definite. Whether it did. */
  keep(login: Login, verdict: Verdict): boolean;
  forget(): void;
}

/** One login as it is looked up. */
export interface Login {
  readonly credentials: Credentials;
  /** What the verdict depends on besides: the settings of the virtual host. */
  readonly settings: string;
}

interface Known {
  readonly verdict: Accepted | Refused;
  /** Milliseconds of the wall clock. */
  readonly until: number;
  readonly graceUntil: number;
}

/** What the user or an administrator can put right while the secret stays the same is not held against it for long. */
const SOON_OVER: ReadonlySet<RefusedReason> = new Set([
  'account_incomplete',
  'email_not_verified',
  'rule_failed',
  'scope_missing',
]);
const SOON = 30_000;
/** What is known of the keys, or of us, and not of the secret. */
const NEVER: ReadonlySet<RefusedReason> = new Set(['kid_unknown', 'budget_exhausted', 'not_yet_valid']);
/** Lifetimes are shortened by up to so much, each by another part: what came at once does not end at once. */
const JITTER = 0.05;

export function createVerdicts(options: VerdictsOptions): Verdicts {
  const { ttl, grace, maxEntries, shared, wallClock, random } = options;
  // Apart: strangers' refusals must not push out what is good.
  const accepted = new LRUCache<string, Known>({ max: maxEntries });
  const refused = new LRUCache<string, Known>({ max: maxEntries });
  const ownName = createOwnDigest();
  let sharedKey: Buffer | undefined;
  let sharedName: Digest = ownName;
  const longest = Math.max(ttl.token, ttl.password, ttl.refused, grace);

  /** With the key that the state has now: a store that was away at the start brings its own. */
  function digestOf(state: State): Digest {
    if (sharedKey !== state.key) {
      sharedKey = state.key;
      sharedName = createDigest(sharedKey);
    }
    return sharedName;
  }

  function lifetimeOf({ outcome, method }: Accepted | Refused): number {
    if (outcome === 'refused') return ttl.refused;
    return method === 'password' ? ttl.password : ttl.token;
  }

  /** A time far ahead is of a clock that has been put back, or of settings that let it live longer than ours. */
  const isWithin = (lifetime: number, until: number): boolean => {
    const now = wallClock();
    return now < until && until <= now + lifetime;
  };
  const isGood = ({ verdict, until }: Known): boolean => isWithin(lifetimeOf(verdict), until);

  function told(known: Known, login: Login, cache: Cached): Verdict {
    const { verdict } = known;
    if (verdict.outcome === 'refused')
      return { ...verdict, cache, detail: 'the provider said so before (cache.negative_ttl)' };
    const { outcome, method } = verdict;
    const { localpart = verdict.localpart } = login.credentials;
    return { outcome, method, localpart, cache };
  }

  async function lookUp(login: Login): Promise<Known | undefined> {
    if (shared === undefined || longest === 0) return undefined;
    const name = nameOf(login, digestOf(shared), 'v:');
    const sealed = await shared.get(name);
    return sealed === undefined ? undefined : unseal(sealed, name, digestOf(shared));
  }

  function remember(name: string, known: Known): void {
    const [keep, drop] = known.verdict.outcome === 'accepted' ? [accepted, refused] : [refused, accepted];
    keep.set(name, known);
    drop.delete(name);
  }

  return {
    nameOf: (login) => nameOf(login, ownName, ''),
    find(login) {
      if (accepted.size + refused.size === 0) return undefined;
      const name = nameOf(login, ownName, '');
      const known = accepted.get(name) ?? refused.get(name);
      return known !== undefined && isGood(known) ? told(known, login, 'hit') : undefined;
    },
    async findShared(login) {
      const known = await lookUp(login);
      if (known === undefined || !isGood(known)) return undefined;
      remember(nameOf(login, ownName, ''), known);
      return told(known, login, 'hit');
    },
    async findGrace(login) {
      if (grace === 0) return undefined;
      // Others may know better by now: that the provider has refused it since.
      const known = (await lookUp(login)) ?? accepted.peek(nameOf(login, ownName, ''));
      if (known?.verdict.outcome !== 'accepted' || !isWithin(grace, known.graceUntil)) return undefined;
      return told(known, login, 'grace') as Accepted;
    },
    keep(login, verdict) {
      const known = knownOf(verdict);
      if (known === undefined) return false;
      remember(nameOf(login, ownName, ''), known);
      if (shared !== undefined) {
        const digest = digestOf(shared);
        const name = nameOf(login, digest, 'v:');
        // Nobody waits for it.
        void shared.set(
          name,
          seal(known, name, digest),
          Math.max(known.until, known.graceUntil) - wallClock(),
        );
      }
      return true;
    },
    forget() {
      accepted.clear();
      refused.clear();
    },
  };

  function knownOf(verdict: Verdict): Known | undefined {
    if (verdict.outcome === 'unavailable' || verdict.method === undefined || verdict.method === 'jwt')
      return undefined;
    const now = wallClock();
    const jittered = (lifetime: number): number => Math.floor(lifetime * (1 - JITTER * random()));
    if (verdict.outcome === 'refused') {
      const { reason, method } = verdict;
      if (NEVER.has(reason)) return undefined;
      const lifetime = SOON_OVER.has(reason) ? Math.min(SOON, ttl.refused) : ttl.refused;
      const known = { outcome: 'refused', reason, method } as const;
      return lifetime === 0 && grace === 0
        ? undefined
        : // As long as an older yes may be there somewhere.
          { verdict: interned(known), until: now + jittered(lifetime), graceUntil: now + grace };
    }
    const { method, localpart, until: end = Number.POSITIVE_INFINITY } = verdict;
    const lifetime = lifetimeOf(verdict);
    const until = Math.min(now + jittered(lifetime), end);
    const graceUntil = Math.min(now + grace, end);
    if (Math.max(until, graceUntil) <= now) return undefined;
    return { verdict: { outcome: 'accepted', method, localpart }, until, graceUntil };
  }
}

/** The same few refusals, thousands of times. */
const refusals = new Map<string, Refused>();

function interned(verdict: Refused): Refused {
  const name = `${verdict.reason} ${verdict.method}`;
  const found = refusals.get(name);
  if (found === undefined) refusals.set(name, verdict);
  return found ?? verdict;
}

function nameOf({ credentials, settings }: Login, digest: Digest, prefix: string): string {
  const { host, localpart, authcid, secret, isBearer } = credentials;
  const how = isBearer ? 'bearer' : 'plain';
  return prefix + digest('verdict', settings, how, host, localpart, authcid, secret.reveal());
}

/** The verdict as text, and behind it a seal for this name alone. */
function seal({ verdict, until, graceUntil }: Known, name: string, digest: Digest): string {
  const { outcome, method } = verdict;
  const rest = verdict.outcome === 'accepted' ? verdict.localpart : verdict.reason;
  const text = JSON.stringify([outcome, method, rest, until, graceUntil]);
  return digest('seal', name, text) + text;
}

const SEAL = 43;

function unseal(sealed: string, name: string, digest: Digest): Known | undefined {
  const text = sealed.slice(SEAL);
  const { timingSafeEqual } = process.getBuiltinModule('node:crypto');
  const [stated, ours] = [Buffer.from(sealed.slice(0, SEAL)), Buffer.from(digest('seal', name, text))];
  if (stated.length !== ours.length || !timingSafeEqual(stated, ours)) return undefined;
  // Ours, to the letter.
  const [outcome, method, rest, until, graceUntil] = JSON.parse(text) as [
    string,
    Method,
    string,
    number,
    number,
  ];
  return outcome === 'accepted'
    ? { verdict: { outcome, method, localpart: rest }, until, graceUntil }
    : {
        verdict: interned({ outcome: 'refused', reason: rest as RefusedReason, method }),
        until,
        graceUntil,
      };
}
