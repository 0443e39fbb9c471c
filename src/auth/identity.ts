// From the provider's claims to the localpart. The name the user typed is never believed: what the provider calls the
// user, mapped, escaped and prepared as an XMPP server would do it, must be the localpart that asked.
import { type JsonObject, member } from '../oauth/json.ts';
import { type Refused, refused } from '../verdict.ts';
import { toLocalpart, toProviderName } from '../xmpp/localpart.ts';
import { firstPresent, walk } from './claim-path.ts';
import { isServiceAccount } from './claims.ts';

export interface IdentityRules {
  readonly client_id?: string | undefined;
  readonly username_field: readonly string[];
  readonly username_mapping: '' | 'split';
  readonly username_domains?: readonly string[] | undefined;
  readonly sasl_username_mapping: '' | 'join';
  readonly username_case: 'exact' | 'ascii' | 'nodeprep';
  readonly jid_escape: 'xep0106' | 'prosody-0.11';
  readonly require_email_verified: boolean;
}

/** What the provider is asked for when somebody of this name logs in with a password. */
export function providerUsername(authcid: string, host: string, rules: IdentityRules): string {
  const name = toProviderName(authcid);
  return rules.sasl_username_mapping === 'join' ? `${name}@${host}` : name;
}

/** How the provider may call the user, if it has one. */
export function providerNames(localpart: string, host: string, rules: IdentityRules): readonly string[] {
  const name = toProviderName(localpart);
  if (rules.username_mapping === '') return [name];
  return (rules.username_domains ?? [host]).map((domain) => `${name}@${domain}`);
}

/** Whether the provider's name for somebody is that of the localpart at `host`. */
export function sameUser(
  name: string,
  { localpart, host }: { localpart: string; host: string },
  rules: IdentityRules,
): boolean {
  const own = withoutDomain(name, host, rules);
  return own !== undefined && toLocalpart(own, rules) === localpart;
}

/** Whether the claims name a user at all, whoever it is. */
export function namesUser(
  claims: JsonObject,
  { username_field }: Pick<IdentityRules, 'username_field'>,
): boolean {
  return firstPresent(claims, username_field) !== undefined;
}

/** `undefined` when the claims are about a person, or say nothing of whom they are about. */
export function judgeSubject(
  claims: JsonObject,
  { client_id }: Pick<IdentityRules, 'client_id'>,
): Refused | undefined {
  const sub = member(claims, 'sub');
  if (sub !== undefined && typeof sub !== 'string') {
    return refused('username_invalid', "the provider's sub is not text");
  }
  return (sub !== undefined && sub === client_id) || isServiceAccount(claims)
    ? refused('not_a_user', "the token is a client's own, not a user's")
    : undefined;
}

/** The localpart at `host` of the user whose claims these are; a refusal when another one is expected. Pure. */
export function judgeIdentity(
  claims: JsonObject,
  { localpart, host }: { localpart: string | undefined; host: string },
  rules: IdentityRules,
): Refused | string {
  const subject = judgeSubject(claims, rules);
  if (subject !== undefined) return subject;

  const found = firstPresent(claims, rules.username_field);
  if (found === undefined) {
    const known = Object.keys(claims)
      .filter((name) => /^[\w:./-]{1,64}$/.test(name))
      .slice(0, 20);
    return refused(
      'username_missing',
      `the provider named no ${rules.username_field.join(' or ')}, only ${known.join(', ') || 'nothing'}: check username_field, and scope`,
    );
  }
  const { path: field, value } = found;
  if (typeof value !== 'string' || value === '')
    return refused('username_invalid', `the provider's ${field} is not text`);

  const verified = beside(claims, field, 'email_verified');
  if (
    /(?:^|\.)email$/.test(field) &&
    rules.require_email_verified &&
    verified !== true &&
    verified !== 'true'
  ) {
    return refused(
      'email_not_verified',
      'the name is an e-mail address that the provider has not verified (require_email_verified)',
    );
  }

  const name = withoutDomain(value, host, rules);
  if (name === undefined) {
    return refused(
      'domain_not_allowed',
      `the provider's ${field} is not a name at ${domainsFor(host, rules).join(' or ')} (username_domains)`,
    );
  }
  const prepared = toLocalpart(name, rules);
  if (prepared === undefined) {
    return refused(
      'username_invalid',
      `the provider's ${field} cannot be a localpart (username_case, jid_escape)`,
    );
  }
  return localpart === undefined || prepared === localpart
    ? prepared
    : refused('user_mismatch', "the secret is good, but it is another user's");
}

/** `undefined` for a name at a domain that is not ours, or at none where it must be at one. */
function withoutDomain(name: string, host: string, rules: IdentityRules): string | undefined {
  if (rules.username_mapping === '') return name;
  const at = name.lastIndexOf('@');
  const isOurs = at > 0 && domainsFor(host, rules).includes(lowerAscii(name.slice(at + 1)));
  return isOurs ? name.slice(0, at) : undefined;
}

function domainsFor(host: string, { username_domains = [host] }: IdentityRules): readonly string[] {
  return username_domains.map(lowerAscii);
}

/** Only A to Z: Unicode has other letters that fold to ASCII ones, and domains of other people with them. */
function lowerAscii(text: string): string {
  return text.replace(/[A-Z]/g, (letter) => letter.toLowerCase());
}

/** The claim `name` in the same object as the claim that was found by `field`. */
function beside(claims: JsonObject, field: string, name: string): unknown {
  return member(claims, field) === undefined
    ? walk(claims, [...field.split('.').slice(0, -1), name])
    : member(claims, name);
}
