// Asking the provider about a token, by introspection or at UserInfo, and what its answer comes to.
import type { ProviderSettings } from '../config/provider-settings.ts';
import { type JsonObject, member } from '../oauth/json.ts';
import type { Jwt } from '../oauth/jwt.ts';
import type { Provider } from '../oauth/provider.ts';
import { audienceOf } from '../oauth/signed-answer.ts';
import { type Method, type Refused, refused, type Verdict } from '../verdict.ts';
import { judgeIntrospected } from './claims.ts';
import { judgeIdentity, judgeSubject, namesUser } from './identity.ts';
import { statedEnd } from './lifetime.ts';
import { type Asked, accepted, by, during, type Login, rulesOf } from './login.ts';
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
  const judged =
    judgeRules(claims, settings) ??
    (naming === undefined
      ? judgeIdentity(claims, asked.credentials, settings)
      : (judgeSubject(claims, settings) ??
        judgeIdentity(naming.claims, asked.credentials, { ...settings, username_field: [naming.field] })));
  if (typeof judged !== 'string') return by(method, judged);
  const sub = member(claims, 'sub');
  const isNamed = typeof sub === 'string' && sub !== '';
  return accepted(method, judged, isNamed ? { issuer: nameOf(settings), sub } : undefined);
}

/** What the provider is called where subjects are compared: its issuer, or what stands for one. */
function nameOf(settings: ProviderSettings): string {
  const { issuer, discovery_url, validation_endpoint, introspection_endpoint } = settings;
  const published = discovery_url?.replace(/\/\.well-known\/[^/]*$/, '');
  return issuer ?? published ?? validation_endpoint ?? introspection_endpoint ?? '';
}

/** The verdict on a token that somebody was asked about; a good one says when the token ends, where anybody has said so. */
export function judgeAsked(
  vouched: Vouched | Refused,
  { jwt }: Token,
  asked: Asked,
  provider: Provider,
): Verdict {
  const verdict = judgeVouched(vouched, asked, provider);
  if (verdict.outcome !== 'accepted' || 'outcome' in vouched) return verdict;
  const ends = [vouched.claims, ...(jwt === undefined ? [] : [jwt.claims])]
    .map((claims) => statedEnd(claims, provider.settings))
    .filter((end) => end !== undefined);
  return ends.length === 0 ? verdict : { ...verdict, until: Math.min(...ends) };
}

export function methodOf(validation: string): Method {
  return validation === 'introspection' ? 'introspection' : 'userinfo';
}
