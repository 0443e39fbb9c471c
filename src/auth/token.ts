// An access token: judged by the provider's keys, by introspection, at UserInfo, or by two of them (VALIDATION section 2).

import type { ProviderSettings } from '../config/provider-settings.ts';
import { ProviderError } from '../oauth/errors.ts';
import { type JsonObject, member } from '../oauth/json.ts';
import type { Jwt } from '../oauth/jwt.ts';
import { checkSignature, type SignatureFault } from '../oauth/key-set.ts';
import type { Provider } from '../oauth/provider.ts';
import { audienceOf } from '../oauth/signed-answer.ts';
import { type Method, type Refused, refused, type Verdict } from '../verdict.ts';
import { type ClaimRules, judgeClaims, judgeHeader, judgeIntrospected, judgeIssuer } from './claims.ts';
import { judgeIdentity, judgeSubject, namesUser } from './identity.ts';
import { goodUntil } from './lifetime.ts';
import {
  type Asked,
  accepted,
  by,
  during,
  haveKeysSoon,
  type Login,
  rulesAsStated,
  rulesHere,
  rulesOf,
} from './login.ts';
import { judgeRules } from './rules.ts';

export interface Token {
  readonly text: string;
  readonly jwt: Jwt | undefined;
  /** Our own client has obtained it a moment ago. */
  readonly isOwn?: boolean;
}

/** Claims that somebody whom we believe has vouched for. */
export interface Vouched {
  /** All of them, the newest first, for the operator's rules. */
  readonly claims: JsonObject;
  /** The one source that names the user, and by which field: a name and whether it is verified belong together. */
  readonly naming?: { readonly claims: JsonObject; readonly field: string } | undefined;
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
  const early = judgeHeader(jwt, rules) ?? judgeIssuer(jwt, rules);
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

  const local = validation === 'auto' || validation.startsWith('jwt');
  const method = local ? 'jwt' : methodOf(validation);
  const issuer = await provider.issuer(signal);
  let rules = rulesHere(provider, issuer, member(jwt.header, 'alg'));
  if (rules === undefined) {
    // Strangers' tokens must not make us ask for anything.
    const stranger = judgeIssuer(jwt, rulesOf(provider, issuer));
    if (stranger !== undefined) return by(method, stranger);
    rules = await rulesAsStated(provider, issuer, signal);
  }
  // Whose token it is comes before the signature: keys are those of one issuer.
  const early = judgeHeader(jwt, rules) ?? judgeIssuer(jwt, rules);
  if (early !== undefined) return by(method, early);

  if (local && (await hasKeys(login, provider))) {
    const fault = await during('jwt', provider.checkSignature(jwt, signal));
    if (fault !== undefined) return by('jwt', refused(fault, FAULTS[fault]));
    const verdict = judgeSigned(jwt, rules, login, provider);
    return verdict ?? judgeVouched(await ask(token, jwt.claims, login, provider), login, provider);
  }
  // Claims that no key vouches for may refuse the token, and have nothing else to say.
  const verdict = judgeClaims(jwt, rules, now);
  if (verdict !== undefined) return by(methodOf(validation), verdict);
  step('claims', 'of this provider, for us, not expired');
  return judgeVouched(await ask(token, undefined, login, provider), login, provider);
}

/** Whether there are keys to judge a JWT by. Where there may be another way, they are not waited for long. */
async function hasKeys({ signal, warn }: Login, provider: Provider): Promise<boolean> {
  if (provider.settings.validation !== 'auto') return true;
  return haveKeysSoon(provider, signal, (error) => {
    // The provider may be down for a moment; what is configured stays so.
    if (error instanceof ProviderError && error.reason === 'not_configured') warn(error.message);
  });
}

const FAULTS: Readonly<Record<SignatureFault, string>> = {
  kid_unknown: 'the provider has no key of the name that the token says (kid), or none for its alg',
  key_mismatch: "the provider's key of that name is not for the token's alg, or is too weak",
  bad_signature: 'the token is not signed by the provider',
};

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
  const answer = await during(method, provider.introspect(token.text, login.signal));
  if (answer === 'cannot_say') return answer;
  if ('outcome' in answer) return by(method, answer);
  const rules = rulesOf(provider, await provider.issuer(login.signal));
  const verdict =
    judgeIntrospected(answer.claims, rules, login.now, { isOwn: token.isOwn === true }) ??
    sameSubject(signedClaims ?? token.jwt?.claims, answer.claims);
  if (verdict !== undefined) return by(method, verdict);
  login.step('introspection', 'the token is active, and for us');
  const claims = { ...signedClaims, ...answer.claims };
  // Some servers say everything about a token but who its user is (doorkeeper); UserInfo is for that.
  const nameless = settings.validation === 'auto' && !namesUser(claims, settings);
  if (!nameless || (await provider.find('validation_endpoint', login.signal)) === undefined)
    return { claims, naming: naming(answer.claims, signedClaims, settings), method };
  const named = await askUserinfo(token, claims, login, provider);
  return 'outcome' in named ? named : { ...named, method };
}

/** UserInfo alone proves only that this is some token of the provider (RFC 9700 section 2.3). */
export async function askUserinfo(
  token: Token,
  knownClaims: JsonObject | undefined,
  login: Login,
  provider: Provider,
): Promise<Vouched | Refused> {
  const method = knownClaims === undefined ? 'userinfo' : 'jwt+userinfo';
  const answer = await during(method, provider.userinfo(token.text, login.signal));
  if ('outcome' in answer) return by(method, answer);
  const { claims } = answer;
  const verdict =
    sameSubject(knownClaims ?? token.jwt?.claims, claims) ??
    // Whoever has judged the token before knows for whom it is.
    (knownClaims === undefined ? madeForAnother(claims, provider) : undefined);
  if (verdict !== undefined) return by(method, verdict);
  login.step('UserInfo', 'the provider vouches for the token');
  if (knownClaims === undefined && token.jwt === undefined) login.warn(CONFUSED_DEPUTY);
  return {
    claims: { ...knownClaims, ...claims },
    naming: naming(claims, knownClaims, provider.settings),
    method,
  };
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

/**
 * The first of the fields that anybody names, and who does: the answer before the other. Its address from one and that it
 * is verified from the other would be neither's word.
 */
function naming(
  answer: JsonObject,
  other: JsonObject | undefined,
  { username_field }: ProviderSettings,
): Vouched['naming'] {
  for (const field of username_field) {
    for (const claims of other === undefined ? [answer] : [answer, other]) {
      if (namesUser(claims, { username_field: [field] })) return { claims, field };
    }
  }
  return undefined;
}

/** A signed UserInfo says for which client it is, Ory Hydra's in any case; others say nothing. */
function madeForAnother(claims: JsonObject, { settings }: Provider): Refused | undefined {
  const { audience = [], accepted_clients = [], client_id } = settings;
  const ours = [...audience, ...accepted_clients, client_id];
  const stated = audienceOf(claims).filter((each) => each !== null);
  return stated.length === 0 ||
    ours.every((each) => each === undefined) ||
    stated.some((each) => ours.includes(each as string))
    ? undefined
    : refused('aud_mismatch', 'UserInfo answers for another client (accepted_clients)');
}

/** The last two steps of every way: the operator's rules, and whose it is. */
export function judgeVouched(vouched: Vouched | Refused, asked: Asked, provider: Provider): Verdict {
  if ('outcome' in vouched) return vouched;
  const { claims, naming, method } = vouched;
  const { settings } = provider;
  const verdict =
    judgeRules(claims, settings) ??
    (naming === undefined
      ? judgeIdentity(claims, asked.credentials, settings)
      : (judgeSubject(claims, settings) ??
        judgeIdentity(naming.claims, asked.credentials, { ...settings, username_field: [naming.field] })));
  return verdict === undefined ? accepted(method) : by(method, verdict);
}

function methodOf(validation: string): Method {
  return validation === 'introspection' ? 'introspection' : 'userinfo';
}
