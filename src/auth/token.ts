// An access token: judged by the provider's keys, or by asking the provider, or both (VALIDATION section 2).
import { ProviderError } from '../oauth/errors.ts';
import { member } from '../oauth/json.ts';
import type { Jwt } from '../oauth/jwt.ts';
import { checkSignature, type SignatureFault } from '../oauth/key-set.ts';
import type { Provider } from '../oauth/provider.ts';
import { refused, type Verdict } from '../verdict.ts';
import { ask, judgeAsked, judgeVouched, type Token } from './ask.ts';
import { type ClaimRules, judgeClaims, judgeHeader, judgeIssuer } from './claims.ts';
import { namesUser } from './identity.ts';
import { goodUntil } from './lifetime.ts';
import {
  type Asked,
  by,
  during,
  haveKeysSoon,
  type Login,
  rulesAsStated,
  rulesHere,
  rulesOf,
} from './login.ts';

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
    return judgeAsked(await ask(token, undefined, login, provider), token, login, provider);
  }

  const local = validation === 'auto' || validation.startsWith('jwt');
  const issuer = await provider.issuer(signal);
  let rules = rulesHere(provider, issuer, member(jwt.header, 'alg'));
  if (rules === undefined) {
    // Strangers' tokens must not make us ask for anything.
    const stranger = judgeIssuer(jwt, rulesOf(provider, issuer));
    if (stranger !== undefined) return by('jwt', stranger);
    rules = await rulesAsStated(provider, issuer, signal);
  }
  // Whose token it is comes before the signature: keys are those of one issuer.
  const early = judgeHeader(jwt, rules) ?? judgeIssuer(jwt, rules);
  if (early !== undefined) return by('jwt', early);

  if (local && (await hasKeys(login, provider))) {
    const fault = await during('jwt', provider.checkSignature(jwt, signal));
    if (fault !== undefined) return by('jwt', refused(fault, FAULTS[fault]));
    const verdict = judgeSigned(jwt, rules, login, provider);
    return verdict ?? judgeAsked(await ask(token, jwt.claims, login, provider), token, login, provider);
  }
  // Claims that no key vouches for may refuse the token, and have nothing else to say.
  const verdict = judgeClaims(jwt, rules, now);
  if (verdict !== undefined) return by('jwt', verdict);
  step('claims', 'of this provider, for us, not expired');
  return judgeAsked(await ask(token, undefined, login, provider), token, login, provider);
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
