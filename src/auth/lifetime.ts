// When a token is good (RFC 7519 section 4.1.4 to 4.1.6). Pure; the clock is an argument, in milliseconds.
import { type JsonObject, member } from '../oauth/json.ts';
import { type Refused, refused } from '../verdict.ts';

export interface LifetimeRules {
  /** Milliseconds by which clocks may differ. */
  readonly clock_skew: number;
  /** Milliseconds. */
  readonly max_token_age?: number | undefined;
}

/** Of a JWT, which must say when it ends. */
export function lifetime(claims: JsonObject, rules: LifetimeRules, now: number): Refused | undefined {
  if (!isNumericDate(member(claims, 'exp'))) return refused('malformed_token', 'the token has no exp');
  return dates(claims, rules, now);
}

/** A server that lets tokens live for ever may say 0 (doorkeeper), and `active` has been said already. */
export function introspectedLifetime(
  claims: JsonObject,
  rules: LifetimeRules,
  now: number,
): Refused | undefined {
  const exp = member(claims, 'exp');
  const never = typeof exp === 'number' && exp <= 0;
  return dates(never ? { ...claims, exp: undefined } : claims, rules, now);
}

function dates(
  claims: JsonObject,
  { clock_skew, max_token_age }: LifetimeRules,
  now: number,
): Refused | undefined {
  const exp = member(claims, 'exp');
  if (exp !== undefined && !isNumericDate(exp))
    return refused('malformed_token', "the token's exp is no date");
  if (exp !== undefined && now >= exp * 1000 + clock_skew) return refused('expired', 'the token has expired');
  for (const name of ['nbf', 'iat']) {
    const value = member(claims, name);
    if (value === undefined) continue;
    if (!isNumericDate(value)) return refused('malformed_token', `the token's ${name} is no date`);
    if (value * 1000 > now + clock_skew)
      return refused(
        'not_yet_valid',
        `the token's ${name} is in the future: do the clocks agree? (clock_skew)`,
      );
  }
  if (max_token_age === undefined) return undefined;
  const iat = member(claims, 'iat');
  if (!isNumericDate(iat))
    return refused('malformed_token', 'the token has no iat, and max_token_age is set');
  return now >= iat * 1000 + max_token_age + clock_skew
    ? refused('expired', 'the token is older than max_token_age')
    : undefined;
}

function isNumericDate(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0;
}

/** When the token stops being good, in milliseconds of the wall clock: never later than the checks above would say. */
export function goodUntil(claims: JsonObject, { clock_skew, max_token_age }: LifetimeRules): number {
  const exp = Number(member(claims, 'exp'));
  const iat = Number(member(claims, 'iat'));
  const age = max_token_age === undefined ? Number.POSITIVE_INFINITY : iat * 1000 + max_token_age;
  return Math.min(exp * 1000, age) + clock_skew;
}

/**
 * The end that what was vouched for states itself, in milliseconds; `undefined` where it states none. Without clock_skew:
 * who vouched for it goes by their own clock.
 */
export function statedEnd(
  claims: JsonObject,
  { max_token_age }: Pick<LifetimeRules, 'max_token_age'>,
): number | undefined {
  const exp = member(claims, 'exp');
  const iat = member(claims, 'iat');
  const ends = [
    // A server that lets tokens live for ever may say 0.
    isNumericDate(exp) && exp > 0 ? exp * 1000 : Number.POSITIVE_INFINITY,
    max_token_age !== undefined && isNumericDate(iat) ? iat * 1000 + max_token_age : Number.POSITIVE_INFINITY,
  ];
  const end = Math.min(...ends);
  return Number.isFinite(end) ? end : undefined;
}
