// A real password: the resource owner password credentials grant (RFC 6749 section 4.3), and who it was that got a token.
// Where the answer says so under a signature, nobody else is asked.

import { ProviderError } from '../oauth/errors.ts';
import type { JsonObject } from '../oauth/json.ts';
import { member } from '../oauth/json.ts';
import { type Jwt, looksLikeJwt, readJwt } from '../oauth/jwt.ts';
import type { PasswordLogin, Provider } from '../oauth/provider.ts';
import type { Granted } from '../oauth/token-endpoint.ts';
import { type Refused, Secret, type Verdict } from '../verdict.ts';
import { ask, askUserinfo, judgeVouched, type Vouched } from './ask.ts';
import { type ClaimRules, judgeClaims, judgeHeader, judgeIdToken, judgeIssuer, ownRules } from './claims.ts';
import { namesUser, providerUsername } from './identity.ts';
import { by, during, haveKeysSoon, type Login, rulesAsStated, rulesHere } from './login.ts';
import { saysEnough, scopesOf } from './rules.ts';

/** `afterwards` takes what may go on after the verdict: revocation. */
export function judgePassword(
  login: Login,
  provider: Provider,
  afterwards: (work: () => Promise<void>) => void,
): Promise<Verdict> {
  return during('password', judge(login, provider, afterwards));
}

async function judge(
  login: Login,
  provider: Provider,
  afterwards: (work: () => Promise<void>) => void,
): Promise<Verdict> {
  const { settings } = provider;
  const { authcid, host, secret } = login.credentials;
  const username = providerUsername(authcid, host, settings);
  // Keys and token are fetched at the same time.
  const keys = usesSignatures(provider) ? haveKeysSoon(provider, login.signal) : Promise.resolve(false);
  const split = splitOneTimeCode(secret, settings.password_otp_digits);
  const granted = await provider.grantPassword({ username, ...split }, login.signal);
  if ('outcome' in granted) return by('password', granted);
  login.step('password grant', 'the provider accepts name and password');
  try {
    const vouched =
      ((await keys) ? await bySignature(granted, login, provider) : undefined) ??
      (await byAsking(granted, login, provider));
    const known = 'outcome' in vouched ? vouched : { ...vouched, claims: withScope(vouched.claims, granted) };
    const verdict = judgeVouched(known, login, provider);
    // A one-time code has been used: nobody may be let in by it again.
    const until = verdict.outcome === 'accepted' && split.totp !== undefined ? { until: login.now } : {};
    return { ...verdict, ...until, method: 'password' };
  } finally {
    if (settings.revoke_after_login) afterwards(() => provider.revoke(granted));
  }
}

/** The code is what authenticator apps show: digits, at the very end. What is left must be something. */
export function splitOneTimeCode(secret: Secret, digits: number): Pick<PasswordLogin, 'password' | 'totp'> {
  const text = secret.reveal();
  const code = text.slice(-digits);
  if (digits === 0 || text.length <= digits || !/^[0-9]+$/.test(code)) return { password: secret };
  return { password: new Secret(text.slice(0, -digits)), totp: new Secret(code) };
}

/** `userinfo` and `introspection` say that the provider is to be asked. */
function usesSignatures({ settings }: Provider): boolean {
  return settings.validation === 'auto' || settings.validation.startsWith('jwt');
}

/** The claims of the ID token or else of the access token, if the provider has signed them and they say all we ask. */
async function bySignature(granted: Granted, login: Login, provider: Provider): Promise<Vouched | undefined> {
  for (const [name, text, judgeJwt] of [
    ['ID token', granted.idToken, judgeIdToken],
    ['access token', granted.accessToken, judgeOwnToken],
  ] as const) {
    const jwt = text !== undefined && looksLikeJwt(text) === 'signed' ? readJwt(text) : undefined;
    if (jwt === undefined) continue;
    const claims = withScope(jwt.claims, granted);
    if (!namesUser(claims, provider.settings) || !saysEnough(claims, provider.settings)) continue;
    if (!(await holds(jwt, judgeJwt, login, provider))) continue;
    login.step(name, 'signed by the provider, and names the user');
    return { claims: jwt.claims, method: 'password' };
  }
  return undefined;
}

/** Whether the provider has signed it and it says what it must. What cannot be found out is no: UserInfo knows, too. */
async function holds(
  jwt: Jwt,
  judge: typeof judgeOwnToken,
  login: Login,
  provider: Provider,
): Promise<boolean> {
  try {
    const issuer = await provider.issuer(login.signal);
    const rules =
      rulesHere(provider, issuer, member(jwt.header, 'alg')) ??
      (await rulesAsStated(provider, issuer, login.signal));
    if (judge(jwt, rules, login.now) !== undefined) return false;
    return (await provider.checkSignature(jwt, login.signal)) === undefined;
  } catch (error) {
    if (error instanceof ProviderError) return false;
    throw error;
  }
}

/** Our own client has obtained it a moment ago, whatever rules there are for tokens that users bring. */
function judgeOwnToken(jwt: Jwt, rules: ClaimRules, now: number): Refused | undefined {
  const own = ownRules(rules);
  return judgeHeader(jwt, own) ?? judgeIssuer(jwt, own) ?? judgeClaims(jwt, own, now);
}

/** To us the access token is opaque (RFC 9068 section 4), whatever its form: our own client has just obtained it over TLS. */
async function byAsking(granted: Granted, login: Login, provider: Provider): Promise<Vouched | Refused> {
  const token = { text: granted.accessToken, jwt: undefined, isOwn: true };
  const quiet = { ...login, warn: () => {} };
  const { validation } = provider.settings;
  const asksUserinfo =
    !validation.endsWith('introspection') &&
    (validation === 'userinfo' || (await provider.find('validation_endpoint', login.signal)) !== undefined);
  return asksUserinfo
    ? askUserinfo(token, undefined, quiet, provider)
    : ask(token, undefined, quiet, provider);
}

/** What was granted, where the claims do not say it themselves and the provider does (RFC 6749 section 5.1). */
function withScope(claims: JsonObject, { scope }: Granted): JsonObject {
  return scope === undefined || scopesOf(claims).size > 0 ? claims : { ...claims, scope };
}
