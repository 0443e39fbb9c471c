// Which verdicts are kept, and for how long. Pure; the clock is an argument, the wall clock in milliseconds.
import type { Accepted, Method, Refused, RefusedReason, Verdict } from '../verdict.ts';

/** A verdict that somebody has been asked for. */
export interface Known {
  readonly verdict: Accepted | Refused;
  readonly until: number;
  /** Until when it counts while the provider is away: a yes as a yes, a no as what has ended an older yes. */
  readonly graceUntil: number;
  /** Of a refusal: the milliseconds that it was to be kept. */
  readonly lifetime: number;
}

export interface Lifetimes {
  /** Milliseconds: `cache.token_ttl` and its like. 0 keeps nothing. */
  readonly ttl: { readonly token: number; readonly password: number; readonly refused: number };
  /** Milliseconds for which what was accepted may be accepted again when the provider cannot be asked. */
  readonly grace: number;
  /** From 0 to 1. */
  readonly random: () => number;
}

export interface Keeping {
  /** Whether anything is ever kept. */
  readonly keepsNothing: boolean;
  /** `before`: what was known of the same login, good or not. `undefined` for what is not to be kept. */
  keep(verdict: Verdict, before: Known | undefined, now: number): Known | undefined;
  isGood(known: Known, now: number): boolean;
  isGrace(known: Known, now: number): boolean;
  /** Until when it is worth keeping, good or not. */
  end(known: Known): number;
}

/** What the user, or an administrator of the provider, can put right while the secret stays the same is not held against it for long. */
const SOON_OVER: ReadonlySet<RefusedReason> = new Set([
  'account_incomplete',
  'email_not_verified',
  'rule_failed',
  'scope_missing',
  'username_missing',
]);
const SOON = 30_000;
/** What is known of the keys, of the clock, or of us, and not of the secret; a pin may be gone the next moment. */
const NEVER: ReadonlySet<RefusedReason> = new Set([
  'kid_unknown',
  'budget_exhausted',
  'not_yet_valid',
  'subject_changed',
]);
/**
 * A password that is refused again is kept for twice as long as the time before, up to so many times `negative_ttl`.
 * Providers count failures for hours (Keycloak: 30 in twelve) or until there has been none for half an hour (Active
 * Directory), and would lock the account for one old phone.
 */
const MOST_TIMES = 12;
/** Lifetimes are shortened by up to so much, each by another part: what came at once does not end at once. */
const JITTER = 0.05;

export function createKeeping({ ttl, grace, random }: Lifetimes): Keeping {
  const jittered = (lifetime: number): number => Math.floor(lifetime * (1 - JITTER * random()));

  /** The longest that such a verdict may have. */
  function longestOf({ outcome, method }: Accepted | Refused): number {
    if (outcome === 'refused') return MOST_TIMES * ttl.refused;
    return method === 'password' ? ttl.password : ttl.token;
  }

  /** What lies further ahead is of a clock that has been put back, or of settings that let it live longer than ours. */
  const isWithin = (longest: number, until: number, now: number): boolean =>
    now < until && until <= now + longest;

  function lifetimeOf(reason: RefusedReason, before: Known | undefined, now: number): number {
    if (SOON_OVER.has(reason)) return Math.min(SOON, ttl.refused);
    const again = before !== undefined && now < before.until + before.lifetime;
    return reason === 'not_authorized' && again
      ? Math.min(2 * before.lifetime, MOST_TIMES * ttl.refused)
      : ttl.refused;
  }

  function refusal(
    reason: RefusedReason,
    method: Method,
    before: Known | undefined,
    now: number,
  ): Known | undefined {
    if (NEVER.has(reason)) return undefined;
    const lifetime = lifetimeOf(reason, before?.verdict.outcome === 'refused' ? before : undefined, now);
    // As long as an older yes may be there somewhere.
    const graceUntil = now + grace;
    const verdict = interned({ outcome: 'refused', reason, method });
    return lifetime === 0 && grace === 0
      ? undefined
      : { verdict, until: now + jittered(lifetime), graceUntil, lifetime };
  }

  return {
    keepsNothing: Math.max(ttl.token, ttl.password, ttl.refused, grace) === 0,
    keep(verdict, before, now) {
      // By method jwt nobody was asked.
      if (verdict.outcome === 'unavailable' || verdict.method === undefined || verdict.method === 'jwt')
        return undefined;
      if (verdict.outcome === 'refused') return refusal(verdict.reason, verdict.method, before, now);
      const { method, localpart, until: end = Number.POSITIVE_INFINITY } = verdict;
      const until = Math.min(now + jittered(longestOf(verdict)), end);
      const graceUntil = Math.min(now + grace, end);
      if (Math.max(until, graceUntil) <= now) return undefined;
      return { verdict: { outcome: 'accepted', method, localpart }, until, graceUntil, lifetime: 0 };
    },
    isGood: ({ verdict, until }, now) => isWithin(longestOf(verdict), until, now),
    isGrace: ({ verdict, graceUntil }, now) =>
      verdict.outcome === 'accepted' && isWithin(grace, graceUntil, now),
    // Of a refusal it counts for how long it was kept, if the next is one again.
    end: ({ until, graceUntil, lifetime }) => Math.max(until + lifetime, graceUntil),
  };
}

/** The same few refusals, thousands of times. */
const refusals = new Map<string, Refused>();

export function interned(verdict: Refused): Refused {
  const name = `${verdict.reason} ${verdict.method}`;
  const found = refusals.get(name);
  if (found === undefined) refusals.set(name, verdict);
  return found ?? verdict;
}
