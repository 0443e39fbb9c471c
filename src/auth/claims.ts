// What a JWT must say to be an access token of this provider, for us, now, usable by its mere bearer. Pure; the clock
// is an argument. Knows nothing of signatures: somebody else vouches for the token (UserInfo, for one), and a token
// that somebody vouches for is still not necessarily meant for us.
import { type JsonObject, member } from '../oauth/json.ts';
import { type Refused, refused } from '../verdict.ts';
import type { Jwt } from './jwt.ts';

export interface ClaimRules {
  /** `undefined`: the provider's issuer is not known, nothing to compare with. */
  readonly issuer: string | undefined;
  readonly client_id?: string | undefined;
  readonly audience?: readonly string[] | undefined;
  readonly accepted_clients?: readonly string[] | undefined;
  readonly token_typ: 'lax' | 'at+jwt';
  /** Milliseconds. */
  readonly clock_skew: number;
}

/** Each check is one of VALIDATION's numbered rules; the first that fails decides. `now` in milliseconds of the wall clock. */
export function judgeClaims(jwt: Jwt, rules: ClaimRules, now: number): Refused | undefined {
  for (const check of CHECKS) {
    const verdict = check(jwt, rules, now);
    if (verdict !== undefined) return verdict;
  }
  return undefined;
}

type Check = (jwt: Jwt, rules: ClaimRules, now: number) => Refused | undefined;

const CHECKS: readonly Check[] = [
  algorithm,
  criticalHeader,
  issuer,
  lifetime,
  recipient,
  headerType,
  idToken,
  ownClient,
  senderConstraint,
];

/** RFC 8725 section 3.1: asymmetric signatures only, so that no reader's public key can be somebody's secret. */
const ALGORITHMS = new Set([
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
  'Ed25519',
]);

function algorithm({ header }: Jwt): Refused | undefined {
  const alg = member(header, 'alg');
  if (typeof alg === 'string' && ALGORITHMS.has(alg)) return undefined;
  return refused('alg_not_allowed', 'the token is not signed with an asymmetric algorithm');
}

/** RFC 7515 section 4.1.11: what is critical must be understood, and nothing here is. */
function criticalHeader({ header }: Jwt): Refused | undefined {
  return member(header, 'crit') === undefined
    ? undefined
    : refused('header_not_allowed', 'the token has a crit header');
}

/** To the byte: no slash is added or taken away (RFC 8414 section 3.3, RFC 9207). */
function issuer({ claims }: Jwt, rules: ClaimRules): Refused | undefined {
  if (rules.issuer === undefined) return undefined;
  return member(claims, 'iss') === rules.issuer
    ? undefined
    : refused('iss_mismatch', `the token is not of issuer ${rules.issuer}`);
}

function lifetime({ claims }: Jwt, { clock_skew }: ClaimRules, now: number): Refused | undefined {
  const exp = member(claims, 'exp');
  if (!isNumericDate(exp)) return refused('malformed_token', 'the token has no exp');
  if (now >= exp * 1000 + clock_skew) return refused('expired', 'the token has expired');
  for (const name of ['nbf', 'iat']) {
    const value = member(claims, name);
    if (value === undefined) continue;
    if (!isNumericDate(value)) return refused('malformed_token', `the token's ${name} is no date`);
    if (value * 1000 > now + clock_skew)
      return refused('not_yet_valid', `the token's ${name} is in the future: do the clocks agree?`);
  }
  return undefined;
}

function isNumericDate(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0;
}

/** For whom it was made, or who obtained it: one of the two must be one of ours, or any website's token would do. */
function recipient({ claims }: Jwt, rules: ClaimRules): Refused | undefined {
  const own = rules.client_id === undefined ? undefined : [rules.client_id];
  const neither = rules.audience === undefined && rules.accepted_clients === undefined;
  const audience = rules.audience ?? (neither ? own : undefined);
  const clients = rules.accepted_clients ?? (neither ? own : undefined);
  if (audience === undefined && clients === undefined) return undefined;

  const aud = member(claims, 'aud');
  const values = typeof aud === 'string' ? [aud] : Array.isArray(aud) ? aud : [];
  if (values.some((value) => audience?.includes(value))) return undefined;
  // azp (OpenID Connect Core section 2) and client_id (RFC 9068 section 2.2) name who obtained it; both must agree.
  const obtainers = [member(claims, 'azp'), member(claims, 'client_id')].filter(
    (value) => value !== undefined,
  );
  if (
    obtainers.length > 0 &&
    obtainers.every((value) => typeof value === 'string' && clients?.includes(value))
  )
    return undefined;
  return audience === undefined
    ? refused('client_not_accepted', 'the token was obtained by a client that accepted_clients does not name')
    : refused(
        'aud_mismatch',
        'the token is made for somebody else: audience names whom it may be for, accepted_clients who may obtain it',
      );
}

/** RFC 9068 section 2.1; older servers say JWT or nothing. Everything else is another kind of token. */
function headerType({ header }: Jwt, { token_typ }: ClaimRules): Refused | undefined {
  const typ = member(header, 'typ');
  const name = typeof typ === 'string' ? typ.toLowerCase().replace(/^application\//, '') : typ;
  if (name === 'at+jwt' || (token_typ === 'lax' && (name === 'jwt' || name === undefined))) return undefined;
  return refused('wrong_typ', 'the typ header is not that of an access token (token_typ)');
}

/** An ID token proves to a client that a user was there; it is no key to anything (OpenID Connect Core section 2). */
function idToken({ claims }: Jwt): Refused | undefined {
  const has = (name: string): boolean => member(claims, name) !== undefined;
  const typ = member(claims, 'typ');
  // Keycloak says in the payload what a token is, and once copied the nonce into access tokens.
  const kind = typeof typ === 'string' ? typ.toLowerCase() : typ;
  const isIdToken =
    has('at_hash') ||
    has('c_hash') ||
    has('events') ||
    member(claims, 'token_use') === 'id' ||
    (has('nonce') && kind !== 'bearer') ||
    (kind !== undefined && ['id', 'refresh', 'offline', 'logout'].includes(String(kind)));
  return isIdToken
    ? refused('id_token', 'this is an ID, refresh or logout token, not an access token')
    : undefined;
}

/** A token that a client obtained for itself (RFC 6749 section 4.4) is not a person's, whatever the client is called. */
function ownClient({ claims }: Jwt): Refused | undefined {
  const sub = member(claims, 'sub');
  const clients = [member(claims, 'azp'), member(claims, 'client_id')];
  const isClient = (sub !== undefined && clients.includes(sub)) || isServiceAccount(claims);
  return isClient ? refused('not_a_user', "the token is a client's own, not a user's") : undefined;
}

/** Keycloak's service accounts are users with a name of this form. */
export function isServiceAccount(claims: JsonObject): boolean {
  const name = member(claims, 'preferred_username');
  return typeof name === 'string' && name.startsWith('service-account-');
}

/** RFC 7800, 8705, 9449: such a token needs a proof that SASL PLAIN cannot carry. */
function senderConstraint({ claims }: Jwt): Refused | undefined {
  return member(claims, 'cnf') === undefined
    ? undefined
    : refused('sender_constrained', 'the token is bound to a key (DPoP or mutual TLS)');
}
