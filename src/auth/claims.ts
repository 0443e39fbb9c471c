// What a token must say to be an access token of this provider, for us, now, usable by its mere bearer: in a JWT, or in
// what introspection says of one. Pure; the clock is an argument. Knows nothing of signatures: somebody else vouches for
// the token (a key, UserInfo), and a token that somebody vouches for is still not necessarily meant for us.
import { type JsonObject, member } from '../oauth/json.ts';
import type { Jwt } from '../oauth/jwt.ts';
import { audienceOf } from '../oauth/signed-answer.ts';
import { type Refused, refused } from '../verdict.ts';
import { introspectedLifetime, type LifetimeRules, lifetime } from './lifetime.ts';

export interface ClaimRules extends LifetimeRules {
  /** `undefined`: the provider's issuer is not known, nothing to compare with. */
  readonly issuer: string | undefined;
  /** Names of the signature algorithms that are accepted. */
  readonly algorithms: readonly string[];
  readonly client_id?: string | undefined;
  readonly audience?: readonly string[] | undefined;
  readonly accepted_clients?: readonly string[] | undefined;
  readonly token_typ: 'lax' | 'at+jwt';
}

// In each of these the first check that fails decides. `now` in milliseconds of the wall clock.

/** What is looked at before a key is: VALIDATION's checks 1 to 3. */
export function judgeHeader(jwt: Jwt, rules: ClaimRules): Refused | undefined {
  return algorithm(jwt, rules) ?? criticalHeader(jwt) ?? keyId(jwt);
}

/** Whose the token is, to the byte: check 7. */
export function judgeIssuer({ claims }: Jwt, rules: ClaimRules): Refused | undefined {
  return issuer(claims, rules);
}

/** What a JWT whose signature holds must say: checks 8 to 12. */
export function judgeClaims(jwt: Jwt, rules: ClaimRules, now: number): Refused | undefined {
  const { claims } = jwt;
  return (
    lifetime(claims, rules, now) ??
    recipient(claims, rules) ??
    headerType(jwt, rules) ??
    idToken(claims) ??
    ownClient(claims) ??
    senderConstraint(claims)
  );
}

/** What introspection must say of an active token: the same, as far as it says anything (RFC 7662 section 2.2). */
export function judgeIntrospected(
  claims: JsonObject,
  rules: ClaimRules,
  now: number,
  { isOwn }: { readonly isOwn: boolean },
): Refused | undefined {
  return (
    (member(claims, 'iss') === undefined ? undefined : issuer(claims, rules)) ??
    introspectedLifetime(claims, rules, now) ??
    (isOwn ? obtainedByUs(claims, rules) : recipient(claims, rules)) ??
    tokenType(claims) ??
    idToken(claims) ??
    ownClient(claims) ??
    senderConstraint(claims)
  );
}

/** An ID token of the password grant's own answer (OpenID Connect Core section 3.1.3.7), whose signature holds. */
export function judgeIdToken(jwt: Jwt, rules: ClaimRules, now: number): Refused | undefined {
  const { claims } = jwt;
  return (
    algorithm(jwt, rules) ??
    criticalHeader(jwt) ??
    issuer(claims, rules) ??
    lifetime(claims, rules, now) ??
    madeForUs(jwt, rules) ??
    ownClient(claims)
  );
}

function algorithm({ header }: Jwt, { algorithms }: ClaimRules): Refused | undefined {
  const alg = member(header, 'alg');
  if (typeof alg === 'string' && algorithms.includes(alg)) return undefined;
  return refused('alg_not_allowed', `the token is not signed with ${algorithms.join(', ')} (algorithms)`);
}

/** RFC 7515 section 4.1.11: what is critical must be understood, and nothing here is. */
function criticalHeader({ header }: Jwt): Refused | undefined {
  return member(header, 'crit') === undefined
    ? undefined
    : refused('header_not_allowed', 'the token has a crit header');
}

/** Only ever compared with those of the keys we have. Real ones are hashes, dates or UUIDs. */
const MAX_KEY_ID = 256;

function keyId({ header }: Jwt): Refused | undefined {
  const kid = member(header, 'kid');
  if (kid === undefined || (typeof kid === 'string' && kid.length <= MAX_KEY_ID)) return undefined;
  return refused('kid_invalid', `the token's kid is no text of at most ${MAX_KEY_ID} characters`);
}

/** To the byte: no slash is added or taken away (RFC 8414 section 3.3, RFC 9207). */
function issuer(claims: JsonObject, rules: ClaimRules): Refused | undefined {
  if (rules.issuer === undefined) return undefined;
  return member(claims, 'iss') === rules.issuer
    ? undefined
    : refused('iss_mismatch', `the token is not of issuer ${rules.issuer}`);
}

/** The rules for a token that our own client has obtained: whatever is said of those that users bring. */
export function ownRules(rules: ClaimRules): ClaimRules {
  return { ...rules, audience: undefined, accepted_clients: undefined };
}

/** For whom it was made, or who obtained it: one of the two must be one of ours, or any website's token would do. */
function recipient(claims: JsonObject, rules: ClaimRules): Refused | undefined {
  const own = rules.client_id === undefined ? undefined : [rules.client_id];
  const neither = rules.audience === undefined && rules.accepted_clients === undefined;
  const audience = rules.audience ?? (neither ? own : undefined);
  const clients = rules.accepted_clients ?? (neither ? own : undefined);
  if (audience === undefined && clients === undefined) return undefined;

  if (audience !== undefined && audienceOf(claims).some((value) => audience.includes(value as string)))
    return undefined;
  // All that are named must be ours, whoever names them.
  let named = false;
  for (const name of OBTAINERS) {
    const client = member(claims, name);
    if (client === undefined) continue;
    named = true;
    if (clients?.includes(client as string) !== true) return notOurs(audience);
  }
  return named ? undefined : notOurs(audience);
}

/** Who obtained it: OpenID Connect Core section 2, RFC 9068 section 2.2, and what Okta calls it. */
const OBTAINERS = ['azp', 'client_id', 'cid'];

/** A token that our own client has obtained: what an answer about it may leave out, we know. */
function obtainedByUs(claims: JsonObject, { client_id }: ClaimRules): Refused | undefined {
  return OBTAINERS.every((name) => [undefined, client_id].includes(member(claims, name) as string))
    ? undefined
    : refused('client_not_accepted', 'the answer is about a token of another client');
}

function notOurs(audience: readonly string[] | undefined): Refused {
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
function idToken(claims: JsonObject): Refused | undefined {
  const has = (name: string): boolean => member(claims, name) !== undefined;
  const typ = member(claims, 'typ');
  // Amazon Cognito says id, Ory Hydra refresh_token.
  const use = member(claims, 'token_use');
  // Keycloak says in the payload what a token is, and once copied the nonce into access tokens.
  const kind = typeof typ === 'string' ? typ.toLowerCase() : typ;
  const isIdToken =
    has('at_hash') ||
    has('c_hash') ||
    has('s_hash') ||
    has('events') ||
    (typeof use === 'string' && use !== 'access' && use !== 'access_token') ||
    (has('nonce') && kind !== 'bearer') ||
    (kind !== undefined && ['id', 'refresh', 'offline', 'logout'].includes(String(kind)));
  return isIdToken
    ? refused('id_token', 'this is an ID, refresh or logout token, not an access token')
    : undefined;
}

/** A token that a client obtained for itself (RFC 6749 section 4.4) is not a person's, whatever the client is called. */
function ownClient(claims: JsonObject): Refused | undefined {
  const sub = member(claims, 'sub');
  const isClient =
    (sub !== undefined && OBTAINERS.some((name) => member(claims, name) === sub)) ||
    // Auth0 names such a client alice@clients.
    member(claims, 'gty') === 'client-credentials' ||
    isServiceAccount(claims);
  return isClient ? refused('not_a_user', "the token is a client's own, not a user's") : undefined;
}

/** Keycloak's service accounts are users whose names begin so. */
export const SERVICE_ACCOUNT = 'service-account-';

export function isServiceAccount(claims: JsonObject): boolean {
  const name = member(claims, 'preferred_username');
  return typeof name === 'string' && name.startsWith(SERVICE_ACCOUNT);
}

/** RFC 7800, 8705, 9449: such a token needs a proof that SASL PLAIN cannot carry. */
function senderConstraint(claims: JsonObject): Refused | undefined {
  return member(claims, 'cnf') === undefined
    ? undefined
    : refused('sender_constrained', 'the token is bound to a key (DPoP or mutual TLS)');
}

/** RFC 7662 section 2.2: what an XMPP client holds must be an access token, and one that its mere bearer may use. */
function tokenType(claims: JsonObject): Refused | undefined {
  const type = member(claims, 'token_type');
  const name = typeof type === 'string' ? type.toLowerCase() : type;
  switch (name) {
    case undefined:
    case null:
    case 'bearer':
    // What RFC 8693 section 3 and some servers say instead.
    case 'access_token':
      return undefined;
    case 'dpop':
    case 'pop':
    case 'n_a':
      return refused('sender_constrained', 'the token is bound to a key (DPoP or mutual TLS)');
    default:
      return refused('id_token', 'this is an ID or refresh token, not an access token');
  }
}

/** OpenID Connect Core section 3.1.3.7, points 3 to 5: our client among those it is for, and the one it was given to. */
function madeForUs({ claims, header }: Jwt, { client_id }: ClaimRules): Refused | undefined {
  const azp = member(claims, 'azp');
  const typ = member(header, 'typ');
  const isIdToken = typ === undefined || String(typ).toLowerCase() === 'jwt';
  return isIdToken &&
    client_id !== undefined &&
    audienceOf(claims).includes(client_id) &&
    (azp === undefined || azp === client_id)
    ? undefined
    : refused('aud_mismatch', 'the ID token is not made for client_id');
}
