// An access token: judged by the provider's keys, by introspection, at UserInfo, or by two of them (VALIDATION section 2).
import { ProviderError } from '../oauth/errors.ts';
import { type JsonObject, member } from '../oauth/json.ts';
import type { Jwt } from '../oauth/jwt.ts';
import { checkSignature, type SignatureFault } from '../oauth/key-set.ts';
import type { Provider } from '../oauth/provider.ts';
import { type Method, type Refused, refused, type Verdict } from '../verdict.ts';
import {
  type ClaimRules,
  judgeClaims,
  judgeHeader,
  judgeIntrospected,
  judgeIssuer,
  recipient,
} from './claims.ts';
import { judgeIdentity, namesUser } from './identity.ts';
import { goodUntil } from './lifetime.ts';
import { type Asked, accepted, by, type Login, rulesFor, rulesHere } from './login.ts';
import { judgeRules } from './rules.ts';

export interface Token {
  readonly text: string;
  readonly jwt: Jwt | undefined;
}

/** Claims that somebody whom we believe has vouched for. */
export interface Vouched {
  readonly claims: JsonObject;
  readonly method: Method;
}

/**
 * The verdict on a JWT by the provider's keys, where both are here and nobody else has to be asked: in one go, since a
 * server asks one login after the other and an XMPP server like Prosody stands still for it. `undefined` in all other cases.
 */
export function judgeHere({ jwt }: Token, asked: Asked, provider: Provider): Verdict | undefined {
  const { validation } = provider.settings;
  if (jwt === undefined || (validation !== 'auto' && validation !== 'jwt')) return undefined;
  const here = provider.here();
  const rules = here && rulesHere(provider, here.issuer, member(jwt.header, 'alg'));
  if (here === undefined || rules === undefined) return undefined;
  const early = judgeHeader(jwt, rules, asked.now) ?? judgeIssuer(jwt, rules, asked.now);
  if (early !== undefined) return by('jwt', early);
  // Newer keys may know better.
  if (checkSignature(jwt, here.keys) !== undefined) return undefined;
  return judgeSigned(jwt, rules, asked, provider);
}

/** `undefined` when the token is good and somebody has to be asked all the same. */
function judgeSigned(jwt: Jwt, rules: ClaimRules, asked: Asked, provider: Provider): Verdict | undefined {
  const { settings } = provider;
  asked.step('signature', 'by a key of the provider');
  const verdict = judgeClaims(jwt, rules, asked.now);
  if (verdict !== undefined) return by('jwt', verdict);
  asked.step('claims', 'of this provider, for us, not expired');
  // A token that says nothing of its user (a lightweight one of Keycloak's) is one to ask about.
  const suffices =
    settings.validation === 'jwt' || (settings.validation === 'auto' && namesUser(jwt.claims, settings));
  if (!suffices) return undefined;
  const judged = judgeVouched({ claims: jwt.claims, method: 'jwt' }, asked, provider);
  return judged.outcome === 'accepted' ? { ...judged, until: goodUntil(jwt.claims, rules) } : judged;
}

/** The verdict on any token, whoever has to be asked. */
export async function judgeToken(token: Token, login: Login, provider: Provider): Promise<Verdict> {
  const { signal, now, step } = login;
  const { validation } = provider.settings;
  const { jwt } = token;
  if (jwt === undefined) {
    if (validation.startsWith('jwt')) {
      return refused('malformed_token', `the token is no JWT, and validation is ${validation}`);
    }
    return judgeVouched(await ask(token, undefined, login, provider), login, provider);
  }

  const rules = await rulesFor(provider, member(jwt.header, 'alg'), signal);
  const local = validation === 'auto' || validation.startsWith('jwt');
  // Whose token it is comes before the signature: keys are those of one issuer, and strangers' tokens must not make us
  // look for others.
  const early = judgeHeader(jwt, rules, now) ?? judgeIssuer(jwt, rules, now);
  if (early !== undefined) return by(local ? 'jwt' : methodOf(validation), early);

  if (local && (await hasKeys(provider, validation, signal))) {
    const fault = await provider.checkSignature(jwt, signal);
    if (fault !== undefined) return by('jwt', explain(fault));
    const verdict = judgeSigned(jwt, rules, login, provider);
    return verdict ?? judgeVouched(await ask(token, jwt.claims, login, provider), login, provider);
  }
  // Claims that no key vouches for may refuse the token, and have nothing else to say.
  const verdict = judgeClaims(jwt, rules, now);
  if (verdict !== undefined) return by(methodOf(validation), verdict);
  step('claims', 'of this provider, for us, not expired');
  return judgeVouched(await ask(token, undefined, login, provider), login, provider);
}

/** Whether there are keys to judge a JWT by. Where there is another way, it is taken when they cannot be had. */
async function hasKeys(provider: Provider, validation: string, signal: AbortSignal): Promise<boolean> {
  if (validation !== 'auto') return true;
  try {
    return await provider.hasKeys(signal);
  } catch (error) {
    if (error instanceof ProviderError && !signal.aborted) return false;
    throw error;
  }
}

function explain(fault: SignatureFault): Refused {
  switch (fault) {
    case 'kid_unknown':
      return refused(
        fault,
        'the provider has no key of the name that the token says (kid), or none for its alg',
      );
    case 'key_mismatch':
      return refused(fault, "the provider's key of that name is not for the token's alg, or is too weak");
    case 'bad_signature':
      return refused(fault, 'the token is not signed by the provider');
  }
}

/** Asks the provider about the token, by introspection where that is possible, unless `validation` says how. */
export async function ask(
  token: Token,
  signedClaims: JsonObject | undefined,
  login: Login,
  provider: Provider,
): Promise<Vouched | Refused> {
  const { validation } = provider.settings;
  const choose = validation === 'auto';
  if (validation.endsWith('introspection') || (choose && (await provider.canIntrospect(login.signal)))) {
    const answer = await introspect(token, signedClaims, login, provider);
    if (answer !== 'cannot_say') return answer;
    if (!choose)
      return by(
        methodOf(validation),
        refused('token_inactive', 'the provider does not introspect tokens of this kind'),
      );
  }
  return askUserinfo(token, signedClaims, login, provider);
}

async function introspect(
  token: Token,
  signedClaims: JsonObject | undefined,
  login: Login,
  provider: Provider,
): Promise<Vouched | Refused | 'cannot_say'> {
  const { settings } = provider;
  const method = signedClaims === undefined ? 'introspection' : 'jwt+introspection';
  const answer = await provider.introspect(token.text, login.signal);
  if (answer === 'cannot_say') return answer;
  if ('outcome' in answer) return by(method, answer);
  const rules = await rulesFor(provider, undefined, login.signal);
  const verdict =
    judgeIntrospected(answer.claims, rules, login.now) ??
    sameSubject(signedClaims ?? token.jwt?.claims, answer.claims);
  if (verdict !== undefined) return by(method, verdict);
  login.step('introspection', 'the token is active, and for us');
  const claims = { ...signedClaims, ...answer.claims };
  // Some servers say everything about a token but who its user is (doorkeeper); UserInfo is for that.
  const nameless = settings.validation === 'auto' && !namesUser(claims, settings);
  if (!nameless || (await provider.find('validation_endpoint', login.signal)) === undefined)
    return { claims, method };
  const named = await askUserinfo(token, claims, login, provider);
  return 'outcome' in named ? named : { claims: named.claims, method };
}

/** UserInfo alone proves only that this is some token of the provider (RFC 9700 section 2.3). */
export async function askUserinfo(
  token: Token,
  knownClaims: JsonObject | undefined,
  login: Login,
  provider: Provider,
): Promise<Vouched | Refused> {
  const method = knownClaims === undefined ? 'userinfo' : 'jwt+userinfo';
  const answer = await provider.userinfo(token.text, login.signal);
  if ('outcome' in answer) return by(method, answer);
  const { claims } = answer;
  const verdict = sameSubject(knownClaims ?? token.jwt?.claims, claims) ?? madeForAnother(claims, provider);
  if (verdict !== undefined) return by(method, verdict);
  login.step('UserInfo', 'the provider vouches for the token');
  if (knownClaims === undefined && token.jwt === undefined) login.warn(CONFUSED_DEPUTY);
  return { claims: { ...knownClaims, ...claims }, method };
}

const CONFUSED_DEPUTY =
  'UserInfo alone does not say whom an opaque token was made for: one that any other application of this provider obtained logs in here; introspection_endpoint with a client secret closes that';

/** OpenID Connect Core section 5.3.2: the answer must be about the token's own subject. */
function sameSubject(known: JsonObject | undefined, stated: JsonObject): Refused | undefined {
  const subject = known && member(known, 'sub');
  const other = member(stated, 'sub');
  return subject === undefined || other === undefined || subject === other
    ? undefined
    : refused('user_mismatch', "the provider answers about another subject than the token's");
}

/** A signed UserInfo says for whom; others say nothing. */
function madeForAnother(claims: JsonObject, { settings }: Provider): Refused | undefined {
  const rules: Pick<ClaimRules, 'client_id' | 'audience' | 'accepted_clients'> = settings;
  return member(claims, 'aud') === undefined ? undefined : recipient(claims, rules as ClaimRules);
}

/** The last two steps of every way: the operator's rules, and whose it is. */
export function judgeVouched(vouched: Vouched | Refused, asked: Asked, provider: Provider): Verdict {
  if ('outcome' in vouched) return vouched;
  const { claims, method } = vouched;
  const verdict =
    judgeRules(claims, provider.settings) ?? judgeIdentity(claims, asked.credentials, provider.settings);
  return verdict === undefined ? accepted(method) : by(method, verdict);
}

function methodOf(validation: string): Method {
  return validation === 'introspection' ? 'introspection' : 'userinfo';
}
