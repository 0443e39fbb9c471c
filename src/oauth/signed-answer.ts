// Answers that a provider signs: RFC 9701 for introspection, OpenID Connect Core section 5.3.2 for UserInfo. What is wrong
// with one is the provider's fault, or that of somebody on the way; it is never the user's.
import { ProviderError } from './errors.ts';
import { type JsonObject, member } from './json.ts';
import { algorithms } from './jwk.ts';
import { readJwt } from './jwt.ts';
import { type KeySource, verifySignature } from './key-set.ts';

export interface Sealing {
  readonly keys: KeySource;
  readonly issuer: string;
  readonly host: string;
  /** Milliseconds of the wall clock, and by how much clocks may differ. */
  readonly now: number;
  readonly clock_skew: number;
}

/** What UserInfo says, signed: whom it is for, too, which the caller looks at. Throws a ProviderError for any other. */
export function openUserinfo(text: string, sealing: Sealing, signal: AbortSignal): Promise<JsonObject> {
  return open(text, sealing, { types: [undefined, 'jwt', 'userinfo+jwt'], mayOmitIssuer: true }, signal);
}

/** What introspection says, signed for `clientId`. Throws a ProviderError for any other. */
export async function openIntrospection(
  text: string,
  sealing: Sealing,
  clientId: string | undefined,
  signal: AbortSignal,
): Promise<JsonObject> {
  const kind = { types: ['token-introspection+jwt'], mayOmitIssuer: false };
  const claims = await open(text, sealing, kind, signal);
  const inner = member(claims, 'token_introspection');
  // RFC 9701 section 5: made out to whoever asked.
  if (!audienceOf(claims).includes(clientId) || typeof inner !== 'object' || inner === null) {
    throw new ProviderError(
      'provider_error',
      `${sealing.host} signed its answer for somebody else, or said nothing in it`,
    );
  }
  // It does not say which token it is about. What is old may be about another one.
  const age = sealing.now - Number(member(claims, 'iat')) * 1000;
  if (!(Math.abs(age) <= sealing.clock_skew + MAX_AGE)) {
    throw new ProviderError(
      'provider_error',
      `${sealing.host} signed its answer at another time: do the clocks agree?`,
    );
  }
  return inner as JsonObject;
}

/** On its way, and in a provider that is slow. */
const MAX_AGE = 60_000;

interface Kind {
  /** What `typ` may be, in lower case and without `application/`; `undefined` stands for none. */
  readonly types: readonly unknown[];
  /** A missing `iss` will do. */
  readonly mayOmitIssuer: boolean;
}

/** The claims of an answer of this kind that the provider has signed. */
async function open(
  text: string,
  { keys, issuer, host, now, clock_skew }: Sealing,
  { types, mayOmitIssuer }: Kind,
  signal: AbortSignal,
): Promise<JsonObject> {
  const fail = (what: string): ProviderError =>
    new ProviderError('provider_error', `${host} signed its answer, but ${what}`);
  const jwt = readJwt(text.trim());
  if (jwt === undefined || text.trim().split('.').length !== 3)
    throw fail('it cannot be read: is it encrypted? Switch that off for our client');
  const { header, claims } = jwt;
  const typ = member(header, 'typ');
  const name = typeof typ === 'string' ? typ.toLowerCase().replace(/^application\//, '') : typ;
  if (!types.includes(name)) throw fail('its typ is that of something else');
  if (!algorithms.includes(String(member(header, 'alg'))) || member(header, 'crit') !== undefined)
    throw fail('with an algorithm or a header that is not accepted');
  const fault = await verifySignature(jwt, keys, signal);
  if (fault !== undefined) throw fail(`the signature does not hold (${fault})`);
  const iss = member(claims, 'iss');
  if (iss !== issuer && !(mayOmitIssuer && iss === undefined)) throw fail(`not as issuer ${issuer}`);
  const exp = member(claims, 'exp');
  if (exp !== undefined && !(Number(exp) * 1000 + clock_skew > now)) throw fail('it has expired');
  return claims;
}

/** `aud` as a list, whichever form it has (RFC 7519 section 4.1.3). */
export function audienceOf(claims: JsonObject): readonly unknown[] {
  const aud = member(claims, 'aud');
  return Array.isArray(aud) ? aud : aud === undefined ? [] : [aud];
}
