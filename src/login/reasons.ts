// What each reason means to an operator, and what to change: the one table behind `login` and the README. Options stand in
// `backquotes`, by the name that they have in the configuration; a test holds each of them to the schema.
import type { RefusedReason, UnavailableReason } from '../verdict.ts';

export type Reason = RefusedReason | UnavailableReason;

export interface Explanation {
  /** Which step of a login it is that fails. */
  readonly step: string;
  /** One sentence: why, and which option, if any, changes that. */
  readonly advice: string;
}

export const REFUSALS: Readonly<Record<RefusedReason, Explanation>> = {
  malformed: {
    step: 'request',
    advice: 'it is not a request of this protocol, or the secret is empty or has a NUL in it: see `protocol`',
  },
  unsupported: {
    step: 'request',
    advice:
      "accounts are the provider's: nothing is registered, changed or removed here; what the server is told is `setpass_reply`",
  },
  unknown_host: {
    step: 'virtual host',
    advice: 'list the virtual host under `hosts`, by its name or by a pattern such as "*.example.org"',
  },
  password_disabled: {
    step: 'secret',
    advice:
      'what is no JWT counts as a password, and passwords are off: `resource_owner_password: true` switches them on; if it is an opaque token, set `credential: token` or a `token_prefix`',
  },
  token_disabled: {
    step: 'secret',
    advice: 'the secret is a token, and only passwords are taken: see `credential`',
  },
  not_authorized: {
    step: 'password grant',
    advice:
      'the provider says that name or password is wrong: try them in its own login page, and see whether it wants the whole address (`sasl_username_mapping: join`) or a one-time code (`password_otp_digits`)',
  },
  account_disabled: {
    step: 'password grant',
    advice:
      'the account is disabled or locked: unlock it at the provider; `limits.wrong_passwords` keeps guesses from locking it',
  },
  account_incomplete: {
    step: 'password grant',
    advice:
      'the user has something to do in a browser first, such as a new password or terms to accept; where it is a second factor, see `password_otp_digits`',
  },
  token_inactive: {
    step: 'token',
    advice:
      'the provider does not take the token: it has expired, was revoked, lacks the scope openid, or is of a kind that this way cannot judge (`validation`)',
  },
  malformed_token: {
    step: 'token',
    advice:
      'it is no token that this program reads: copied in part, encrypted, without an end, or opaque where `validation` wants a JWT',
  },
  alg_not_allowed: {
    step: 'token',
    advice: 'the token is signed by an algorithm that `algorithms` does not list',
  },
  header_not_allowed: {
    step: 'token',
    advice:
      'its header asks for something that nobody here understands (crit): let the provider make plain access tokens',
  },
  kid_invalid: { step: 'token', advice: 'its key id is no short text: the provider did not make it' },
  kid_unknown: {
    step: 'signature',
    advice:
      'the provider publishes no key of that id: is `issuer` the one that made the token, and `jwks_uri` or `jwks_file` current?',
  },
  key_mismatch: {
    step: 'signature',
    advice: 'the key of that id is for another algorithm, or too weak: look at the keys at `jwks_uri`',
  },
  bad_signature: {
    step: 'signature',
    advice:
      'the token was altered, or signed by another key than the one of its key id: see `jwks_uri`, `jwks_file`',
  },
  iss_mismatch: {
    step: 'claims',
    advice:
      'the token is of another provider: `issuer` must be its iss to the letter, a final slash included',
  },
  expired: {
    step: 'claims',
    advice:
      'the token has had its time: get a new one; if it is new, compare the clocks (`clock_skew`) and see `max_token_age`',
  },
  not_yet_valid: {
    step: 'claims',
    advice: "by the token's own date its time is still to come: compare the clocks (`clock_skew`)",
  },
  aud_mismatch: {
    step: 'claims',
    advice:
      'the token was made for somebody else: `audience` names whom it may be for, `accepted_clients` who may have obtained it',
  },
  client_not_accepted: {
    step: 'claims',
    advice:
      'the token was obtained by another application: name it in `accepted_clients`, if its users may log in here',
  },
  wrong_typ: { step: 'claims', advice: 'its typ is not that of an access token: see `token_typ`' },
  id_token: {
    step: 'claims',
    advice: 'this is an ID, refresh or logout token: the user must paste an access token',
  },
  not_a_user: {
    step: 'claims',
    advice:
      "the token is an application's own (client credentials), and belongs to no user: get one by a login",
  },
  sender_constrained: {
    step: 'claims',
    advice:
      'the token is bound to a key (DPoP, mutual TLS) that an XMPP client does not show: let the provider give bearer tokens',
  },
  scope_missing: {
    step: 'claims',
    advice:
      'the token lacks one of `required_scopes`: the application that gets it must ask for that scope; for passwords, add it to `scope`',
  },
  rule_failed: {
    step: 'claims',
    advice: 'a claim is not what `require` wants: give the user that role or group, or change the rule',
  },
  username_missing: {
    step: 'user',
    advice:
      'the provider does not say the name: `username_field` is the claim that holds it, and often `scope` lacks profile',
  },
  username_invalid: {
    step: 'user',
    advice:
      "the provider's name for the user cannot be a localpart: take another `username_field`, or `username_mapping: split` where it is an address",
  },
  user_mismatch: {
    step: 'user',
    advice:
      "the secret is good, and somebody else's: log in by the name that the provider says, or see `username_field`, `username_case`, `username_mapping`",
  },
  domain_not_allowed: {
    step: 'user',
    advice:
      "the user's address is of another domain: list it in `username_domains`, if its users are the same people",
  },
  email_not_verified: {
    step: 'user',
    advice:
      'the provider has not verified the address that is the name: verify it there, or see `require_email_verified`',
  },
  subject_changed: {
    step: 'user',
    advice:
      'the name belongs to another account of the provider than the one that had it first (`pin_subject`): if that is right, `extauth-oauth users unpin JID`',
  },
  budget_exhausted: {
    step: 'limit',
    advice:
      'too many different wrong passwords of this user: none is tried until the window of `limits.wrong_passwords` has passed; tokens are',
  },
};

export const FAILURES: Readonly<Record<UnavailableReason, Explanation>> = {
  deadline: {
    step: 'time',
    advice:
      'no verdict in time: see which step took so long; `deadline` is for all of them, `http.timeout` for one request',
  },
  provider_unreachable: {
    step: 'provider',
    advice:
      'no connection, no such name, or a certificate that is not accepted: look at the address, the firewall, `http.proxy` and `http.ca_file`',
  },
  provider_timeout: {
    step: 'provider',
    advice: 'the provider is too slow: `http.timeout` for an answer, `http.connect_timeout` for a connection',
  },
  provider_error: {
    step: 'provider',
    advice:
      'the provider failed (5xx), redirected, or said what is not JSON: look at its log, and whether the address is right (`token_endpoint`, `validation_endpoint`, `introspection_endpoint`)',
  },
  provider_busy: {
    step: 'provider',
    advice:
      'the provider asks for fewer requests (429): `limits.provider_concurrency` and longer times under `cache` make fewer',
  },
  provider_paused: {
    step: 'provider',
    advice:
      'the endpoint failed five times in a row, or asked for time: it is left alone until it answers again, by itself',
  },
  client_refused: {
    step: 'our client',
    advice:
      'the provider refuses us, not the user: `client_id`, `client_secret_file`, `client_auth_method`, `scope`, or the grant is not allowed to this client there',
  },
  not_configured: {
    step: 'configuration',
    advice:
      'no usable configuration, or metadata of another `issuer` (`discovery_url`): `extauth-oauth check` lists what is wrong, and nothing has to be restarted',
  },
};

export const REASONS: Readonly<Record<Reason, Explanation>> = { ...REFUSALS, ...FAILURES };

/** The explanation of a reason that comes as text, from a log line. */
export function explain(reason: string): Explanation | undefined {
  return Object.hasOwn(REASONS, reason) ? REASONS[reason as Reason] : undefined;
}

/** The options that a sentence names. */
export function optionsIn(advice: string): string[] {
  return [...advice.matchAll(/`([a-z_.]+)(?:: [^`]+)?`/g)].map(([, name = '']) => name);
}
