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
  /** What `typ` may be, in lower case and without `application/`; `undefined` stands for none. */
  readonly types: readonly unknown[];
  /** A missing `iss` will do. */
  readonly mayOmitIssuer: boolean;
}

/** The claims of an answer that the provider has signed and that names itself. Throws a ProviderError for any other. */
export async function openSignedAnswer(
  text: string,
  { keys, issuer, host, types, mayOmitIssuer }: Sealing,
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
  return claims;
}

/** `aud` as a list, whichever form it has (RFC 7519 section 4.1.3). */
export function audienceOf(claims: JsonObject): readonly unknown[] {
  const aud = member(claims, 'aud');
  return Array.isArray(aud) ? aud : aud === undefined ? [] : [aud];
}
