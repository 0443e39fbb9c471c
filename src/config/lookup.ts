// `user_lookup`: whom to ask whether a user exists, and as whom. Its options, what does not go together, and its secrets.
import * as v from 'valibot';
import { isPlainHttp } from '../oauth/loopback.ts';
import type { Secret } from '../verdict.ts';
import type { Problem } from './problems.ts';
import type { HostOptions } from './schema.ts';
import type { Secrets } from './secrets.ts';
import { absolutePath, authScheme, flag, text, url, word } from './values.ts';

export const lookupOptions = {
  /** Whom to ask: SCIM 2.0, Keycloak's admin interface, WebFinger, or any address that knows users. */
  type: word('scim', 'keycloak', 'webfinger', 'http'),
  /**
   * `scim`: the service root; `keycloak`: `https://HOST/admin/realms/REALM`; `webfinger`: its address; `http`: an
   * address with `{localpart}`, and perhaps `{host}`, in it (404 is nobody).
   */
  url,
  /**
   * A bearer token for it; without one, `scim` and `keycloak` are asked with a token that our client gets itself (client
   * credentials).
   */
  token_file: v.optional(absolutePath),
  /**
   * What stands before the token of `token_file` in the Authorization header, to the letter; some want `token` (glewlwyd,
   * Gitea) or `Token`. @default `Bearer`
   */
  token_scheme: v.optional(authScheme),
  /** HTTP Basic instead: the user name there. */
  username: v.optional(text),
  /** The password of `username`. */
  password_file: v.optional(absolutePath),
  /** Of the token that our client gets itself. */
  scope: v.optional(text),
  /** Whether somebody who is disabled counts as nobody. */
  active_only: v.optional(flag, false),
  /** `http`: the member beside the name that is false for who is disabled. */
  active_field: v.optional(text),
  /** `webfinger`: what to ask for. @default `acct:{localpart}@{host}` */
  resource: v.optional(text),
  /** `http`: where the answer repeats the name, a dotted path that may lead through lists. @default `username` */
  username_path: v.optional(text),
} as const;

type LookupOptions = NonNullable<HostOptions['user_lookup']>;

/** As whom the directory is asked. */
export type LookupAs =
  | { readonly kind: 'nobody' }
  | { readonly kind: 'token'; readonly scheme: string; readonly token: Secret }
  | { readonly kind: 'basic'; readonly username: string; readonly password: Secret }
  /** With a token from the provider's token endpoint (client credentials, RFC 6749 section 4.4). */
  | { readonly kind: 'client'; readonly scope: string | undefined };

export interface LookupSettings {
  readonly type: LookupOptions['type'];
  readonly url: string;
  readonly as: LookupAs;
  readonly active_only: boolean;
  readonly active_field: string | undefined;
  readonly resource: string;
  readonly username_path: string;
}

const RESOURCE = 'acct:{localpart}@{host}';
const USERNAME_PATH = 'username';
const TOKEN_SCHEME = 'Bearer';

/** What only some directories know, and which. */
const ONLY = {
  scope: ['scim', 'keycloak'],
  active_field: ['http'],
  resource: ['webfinger'],
  username_path: ['http'],
} as const;

/** Reports what cannot work or must not; to be called for every host. */
export function lookupContradictions(
  { user_exists, user_lookup, client_id, http }: HostOptions,
  at: (key: string) => string,
  problems: { readonly path: string; readonly message: string }[],
): void {
  const say = (key: string, message: string): void => void problems.push({ path: at(key), message });
  if (user_lookup === undefined) {
    if (user_exists === 'lookup') say('user_lookup', 'is missing: user_exists: lookup asks there');
    return;
  }
  const { type, url: where, token_file, token_scheme, username, password_file } = user_lookup;
  const { active_only, active_field } = user_lookup;
  const sayOf = (key: string, message: string): void => say(`user_lookup.${key}`, message);
  for (const [key, types] of Object.entries(ONLY) as [keyof typeof ONLY, readonly string[]][]) {
    if (user_lookup[key] !== undefined && !types.includes(type))
      sayOf(key, `has no effect with type: ${type}, only with ${types.join(' and ')}`);
  }
  if (!http.allow_http && isPlainHttp(where))
    sayOf(
      'url',
      'must begin with https:// (http is for the loopback interface only; http.allow_http lifts that)',
    );
  if (type === 'http' ? !where.includes('{localpart}') : where.includes('{'))
    sayOf('url', type === 'http' ? 'must have {localpart} in it' : 'must have no {...} in it');
  // Whoever chooses the name must not choose the server.
  else if (new URL(where).origin.includes('{'))
    sayOf('url', 'must name one server: {localpart} and {host} are for what follows it');
  if (type !== 'http' && new URL(where).search !== '') sayOf('url', 'must not have a query (?...)');
  if (token_file !== undefined && (password_file ?? username) !== undefined)
    sayOf('token_file', 'is given, and a password too: keep one of the two');
  if (token_scheme !== undefined && token_file === undefined)
    sayOf('token_scheme', 'has no effect without token_file');
  if (username?.includes(':')) sayOf('username', 'must not have a colon: the password would begin there');
  if ((username === undefined) !== (password_file === undefined))
    sayOf(username === undefined ? 'username' : 'password_file', 'is missing: it is one half of the two');
  if (active_only && type === 'webfinger')
    sayOf('active_only', 'cannot be: WebFinger does not say who is disabled');
  if (active_only && type === 'http' && active_field === undefined)
    sayOf('active_field', 'is missing: active_only wants to know what says that a user is disabled');
  const own = type === 'scim' || type === 'keycloak';
  if (own && (token_file ?? password_file) === undefined && client_id === undefined)
    sayOf('token_file', 'is missing: without it, a token is got for client_id, which is missing, too');
}

/** `undefined` with problems. */
export function completeLookup(
  { type, url, token_file, token_scheme, username, password_file, scope, ...options }: LookupOptions,
  at: (key: string) => string,
  { secrets, problems }: { readonly secrets: Secrets; readonly problems: Problem[] },
): LookupSettings | undefined {
  const as = readCredentials();
  if (as === undefined) return undefined;
  const { active_only, active_field, resource = RESOURCE, username_path = USERNAME_PATH } = options;
  return { type, url, as, active_only, active_field, resource, username_path };

  function readCredentials(): LookupAs | undefined {
    if (token_file !== undefined) {
      const token = secrets.line(token_file, at('user_lookup.token_file'));
      if (token !== undefined && !/^[\x21-\x7e]+$/.test(token.reveal())) {
        problems.push({
          path: at('user_lookup.token_file'),
          message: 'holds more than a token, which is of letters, digits and signs, without spaces',
        });
        return undefined;
      }
      return token && { kind: 'token', scheme: token_scheme ?? TOKEN_SCHEME, token };
    }
    if (username !== undefined && password_file !== undefined) {
      const password = secrets.line(password_file, at('user_lookup.password_file'));
      return password && { kind: 'basic', username, password };
    }
    return type === 'scim' || type === 'keycloak' ? { kind: 'client', scope } : { kind: 'nobody' };
  }
}
