// What a login comes to. The reasons are stable words: the same in the log, in `login` and in an operator's search.

/** The provider, the token, the person or the request itself says no. */
export type RefusedReason =
  // the request
  | 'malformed'
  | 'unsupported'
  | 'unknown_host'
  | 'password_disabled'
  | 'token_disabled'
  // the provider said no
  | 'not_authorized'
  | 'account_disabled'
  | 'account_incomplete'
  | 'token_inactive'
  // the token
  | 'malformed_token'
  | 'alg_not_allowed'
  | 'header_not_allowed'
  | 'kid_invalid'
  | 'kid_unknown'
  | 'key_mismatch'
  | 'bad_signature'
  | 'iss_mismatch'
  | 'expired'
  | 'not_yet_valid'
  | 'aud_mismatch'
  | 'client_not_accepted'
  | 'wrong_typ'
  | 'id_token'
  | 'not_a_user'
  | 'sender_constrained'
  | 'scope_missing'
  | 'rule_failed'
  // the person
  | 'username_missing'
  | 'username_invalid'
  | 'user_mismatch'
  | 'domain_not_allowed'
  | 'email_not_verified'
  | 'subject_changed'
  // the guard
  | 'budget_exhausted';

/** Nobody said no, but nobody could say yes either. The wire still gets a 0. */
export type UnavailableReason =
  | 'deadline'
  | 'provider_unreachable'
  | 'provider_timeout'
  | 'provider_error'
  | 'provider_busy'
  | 'provider_paused'
  | 'client_refused'
  | 'not_configured';

/** How the secret was judged. */
export type Method = 'password' | 'jwt' | 'introspection' | 'userinfo' | 'jwt+introspection' | 'jwt+userinfo';

export interface Refused {
  readonly outcome: 'refused';
  readonly reason: RefusedReason;
  /** One sentence for the operator, made of our own words, host names and option names: never of a secret. */
  readonly detail?: string;
  readonly method?: Method;
  readonly cache?: Cached;
}

export interface Unavailable {
  readonly outcome: 'unavailable';
  readonly reason: UnavailableReason;
  readonly detail?: string;
  readonly method?: Method;
}

export interface Accepted {
  readonly outcome: 'accepted';
  readonly method: Method;
  /** Who it is: the localpart that the provider's name for the user comes to. */
  readonly localpart: string;
  /** Who it is for the provider, whatever the name (OpenID Connect Core section 5.7), where that says so. */
  readonly subject?: { readonly issuer: string; readonly sub: string };
  /**
   * The end that the token says itself, in milliseconds of the wall clock. By method `jwt`, for which nobody had to be
   * asked, the same secret is good for the same user until then, as long as the provider's keys are the same.
   */
  readonly until?: number;
  readonly cache?: Cached;
}

/**
 * Whether the provider's verdict was remembered (`hit`) or could be from now on (`miss`); `grace`: it is an older one, for
 * want of a newer.
 */
export type Cached = 'hit' | 'miss' | 'grace';

export type Verdict = Accepted | Refused | Unavailable;

export function refused(reason: RefusedReason, detail?: string): Refused {
  return detail === undefined ? { outcome: 'refused', reason } : { outcome: 'refused', reason, detail };
}

export function unavailable(reason: UnavailableReason, detail?: string): Unavailable {
  return detail === undefined
    ? { outcome: 'unavailable', reason }
    : { outcome: 'unavailable', reason, detail };
}

/** What the XMPP server handed us for one login. */
export interface Credentials {
  /**
   * Whom the provider must mean: the one that the server logs in on a yes, in its own spelling. `undefined` where the
   * server takes the name from the verdict.
   */
  readonly localpart: string | undefined;
  /** The name that was typed with the secret (SASL's authcid): whose password it is. Believed for nothing else. */
  readonly authcid: string;
  readonly host: string;
  readonly secret: Secret;
  /** It came by a mechanism for access tokens (RFC 7628), so it is one, whatever it looks like. */
  readonly isBearer: boolean;
}

/** Aborts when the answer must be written. */
export interface Deadline extends AbortSignal {
  /** On the monotonic clock (`performance.now()`). */
  readonly deadlineAt: number;
}

/** The one function type in the middle; deadline, guard and method are all of it. */
export type Authenticate = (credentials: Credentials, signal: Deadline) => Promise<Verdict>;

const inspect = Symbol.for('nodejs.util.inspect.custom');

/** A password, token or client secret. Printing, logging or serialising one shows `[secret]`, whoever does it. */
export class Secret {
  readonly #value: string;

  constructor(value: string) {
    this.#value = value;
  }

  /** The secret itself: for the request that carries it, and for nothing else. */
  reveal(): string {
    return this.#value;
  }

  toString(): string {
    return '[secret]';
  }

  toJSON(): string {
    return '[secret]';
  }

  [inspect](): string {
    return '[secret]';
  }
}
