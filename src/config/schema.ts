// Every option with its default and its meaning. The names follow mod_auth_oauth_external without `oauth_external_`.
// The comment at an option, with listen.ts and lookup.ts, is what the README, the manual page and the JSON Schema say of
// it (.ci/reference.ts); `@default` is one that the program finds out for itself.
import * as v from 'valibot';
import { cache, http, limits, log } from './groups.ts';
import { listenSchema, metricsSchema } from './listen.ts';
import { lookupOptions } from './lookup.ts';
import {
  absolutePath,
  algorithmNames,
  claimRules,
  count,
  duration,
  flag,
  hostNames,
  text,
  texts,
  url,
  waiting,
  word,
} from './values.ts';

const clientAuthMethod = word('post', 'basic', 'basic_raw', 'private_key_jwt', 'tls', 'none');

/** What can be said for every virtual host, and again, differently, for one. */
export const hostOptions = {
  // the provider
  /** The provider; endpoints come from its metadata, which must be of exactly this issuer. */
  issuer: v.optional(url),
  /** Where the metadata is. @default from `issuer` */
  discovery_url: v.optional(url),
  /** UserInfo, or any address that answers a bearer token with JSON about its user. @default from metadata */
  validation_endpoint: v.optional(url),
  /** Where passwords are exchanged. @default from metadata */
  token_endpoint: v.optional(url),
  /** Where the provider says what a token is good for (RFC 7662). @default from metadata */
  introspection_endpoint: v.optional(url),
  /** Where tokens are given back (RFC 7009). @default from metadata */
  revocation_endpoint: v.optional(url),
  /** The provider's keys. @default from metadata */
  jwks_uri: v.optional(url),
  /** A JWK Set with the provider's keys, instead of `jwks_uri`. */
  jwks_file: v.optional(absolutePath),
  /** Other hosts that the metadata may send secrets to. @default issuer's host */
  trusted_endpoint_hosts: v.optional(hostNames),
  // our client there
  /** Our client at the provider. */
  client_id: v.optional(text),
  /**
   * Its secret. Better in a file. @default `$EXTAUTH_OAUTH_CLIENT_SECRET`, or the systemd credential
   * `client_secret.<host>` or `client_secret`
   */
  client_secret: v.optional(text),
  /** A file with the secret, which nobody but the server's user can read. */
  client_secret_file: v.optional(absolutePath),
  /** For `private_key_jwt`: the private key, PEM or JWK (RSA, P-256, P-384, P-521, Ed25519). */
  client_key_file: v.optional(absolutePath),
  /** For `private_key_jwt`: the `kid` to say. @default the JWK's */
  client_key_id: v.optional(text),
  /**
   * How our client proves itself; `basic` is form-encoded, as RFC 6749 says, `basic_raw` for servers that do not decode.
   */
  client_auth_method: v.optional(clientAuthMethod, 'post'),
  /** The same at the introspection endpoint. @default `client_auth_method` */
  introspection_auth_method: v.optional(clientAuthMethod),
  /** Take only introspection answers that the provider has signed (RFC 9701). */
  introspection_signed: v.optional(flag, false),
  /** Asked for with a password; most providers want `openid profile` for a name. */
  scope: v.optional(v.string('must be text'), 'openid'),
  // how a secret is read and judged
  /** How a secret is read: `auto` (a JWT is a token, everything else a password), or always as one of the two. */
  credential: v.optional(word('auto', 'token', 'password'), 'auto'),
  /** What a user puts in front of an opaque token to mark it as one, such as `token:`. */
  token_prefix: v.optional(text),
  /** Passwords are exchanged at the token endpoint. @default true if `token_endpoint` is set here, else false */
  resource_owner_password: v.optional(flag),
  /** So many digits at the end of a password are a one-time code, which is sent as `totp` (Keycloak). */
  password_otp_digits: v.optional(count(0, 10), 0),
  /** How a token is judged: see [How a token is judged](#how-a-token-is-judged). */
  validation: v.optional(
    word('auto', 'jwt', 'introspection', 'userinfo', 'jwt+introspection', 'jwt+userinfo'),
    'auto',
  ),
  /** Revoke what a password login left at the provider. */
  revoke_after_login: v.optional(flag, true),
  // what a token must say
  /**
   * Whom a token must be for (`aud`), if nobody in `accepted_clients` obtained it. @default `client_id` when
   * `accepted_clients` is not set either
   */
  audience: v.optional(texts),
  /**
   * Who may have obtained a token (`azp`, `client_id`), if it is for nobody in `audience`. @default `client_id` when
   * `audience` is not set either
   */
  accepted_clients: v.optional(texts),
  /**
   * Scopes that a token must have, all of them; a password's, too, and what the provider does not say was not granted.
   */
  required_scopes: v.optional(texts),
  /**
   * What claims must say: `require: { groups: [xmpp-users], "realm_access.roles": chat }`; a list must contain one of
   * the values, anything else be one of them.
   */
  require: v.optional(claimRules),
  /**
   * Signature algorithms, asymmetric ones only. @default `RS256`, `PS256`, `ES256`, `EdDSA`, and of their longer forms
   * those that the metadata names
   */
  algorithms: v.optional(algorithmNames),
  /** Refuse JWTs that were issued longer ago than this. */
  max_token_age: v.optional(duration),
  /** `at+jwt` takes only tokens that say so (RFC 9068). */
  token_typ: v.optional(word('lax', 'at+jwt'), 'lax'),
  /** How far clocks may differ. */
  clock_skew: v.optional(v.pipe(duration, v.maxValue(300_000, 'must not be more than 5m')), '30s'),
  // who it is
  /** The claim with the name: a dotted path, or a list of which the first present counts. */
  username_field: v.optional(texts, 'preferred_username'),
  /** `split`: the claim is `name@domain`. */
  username_mapping: v.optional(word('', 'split'), ''),
  /** For `split`: the domain must be one of these. @default the virtual host */
  username_domains: v.optional(texts),
  /** `join`: the provider is asked about `localpart@host`. */
  sasl_username_mapping: v.optional(word('', 'join'), ''),
  /** How the provider's spelling may differ: `exact` not at all, `ascii` by A to Z, `nodeprep` as XMPP folds. */
  username_case: v.optional(word('exact', 'ascii', 'nodeprep'), 'ascii'),
  /** `prosody-0.11` escapes every backslash. */
  jid_escape: v.optional(word('xep0106', 'prosody-0.11'), 'xep0106'),
  /** A name that is an e-mail address must be a verified one. */
  require_email_verified: v.optional(flag, true),
  /**
   * A localpart belongs to the first subject (`sub` of the provider) that logs in by it, and to nobody else. @default
   * true with a `state` that lasts
   */
  pin_subject: v.optional(flag),
  /**
   * What to answer when the server asks whether a user exists: `known` is whoever has logged in here before, `lookup`
   * whoever the provider has. @default `known` with a `state` that lasts, else true
   */
  user_exists: v.optional(v.union([flag, word('known', 'lookup')], 'must be true, false, known or lookup')),
  /** Whom to ask whether a user exists, for `user_exists: lookup`. */
  user_lookup: v.optional(v.strictObject(lookupOptions)),
  // the way there
  /** How the provider is reached. */
  http: v.optional(v.strictObject(http), {}),
  /** Taken from `mod_auth_oauth_external` so that its configuration loads; without effect, which the log says. */
  http_settings: v.optional(v.unknown()),
  /**
   * Several providers for one virtual host: a list of the options above. A token goes to the one whose `issuer` it
   * names, a password to the first. What one leaves out is taken from beside the list.
   */
  providers: v.optional(
    v.pipe(v.array(v.unknown(), 'must be a list of providers'), v.minLength(1, 'must not be empty')),
  ),
} as const;

/** Decided before it is known whose token it is: not to be said of a single provider of several. */
export const ofTheHost = [
  'credential',
  'token_prefix',
  'user_exists',
  'user_lookup',
  'pin_subject',
  'jid_escape',
  'providers',
] as const;

/** What holds for the whole process. */
export const processOptions = {
  /** `ejabberd` (frames), `generic` (lines); `auto` tells them apart by the first bytes. */
  protocol: v.optional(word('auto', 'ejabberd', 'generic'), 'auto'),
  /** What a password change is answered: `error` (frames) or `false`. */
  setpass_reply: v.optional(
    v.pipe(
      v.union([v.literal(false), word('auto', 'error', 'false')], 'must be auto, error or false'),
      v.transform((value) => (value === false ? 'false' : value)),
    ),
    'auto',
  ),
  /** Every request is answered by then, from its first byte. @default 4s on a terminal, 8s on a pipe */
  deadline: v.optional(waiting),
  /**
   * What workers know together: `memory` (each for itself), `lmdb:/folder` for those of one machine,
   * `redis://[user:password@]host[:port][/db]` or `rediss://` for several. With `?sentinel=NAME` or `?cluster=true`
   * several hosts, with commas between; `password_file=`, `sentinel_password_file=`, `ca_file=`.
   */
  state: v.optional(text, 'memory'),
  /**
   * With Redis: a file of one line, the same on all machines, that makes the names in it unreadable (`openssl rand
   * -base64 32`); an LMDB has its own beside it.
   */
  state_key_file: v.optional(absolutePath),
  /** What is remembered. */
  cache: v.optional(v.strictObject(cache), {}),
  /** What the provider is spared. */
  limits: v.optional(v.strictObject(limits), {}),
  /** One JSON line for each request. */
  log: v.optional(v.strictObject(log), {}),
  /** The sockets of `serve`: a list. */
  listen: v.optional(listenSchema),
  /** Prometheus metrics of `serve` at `/metrics`: `path`, `address` or `name`, and who may connect, as for `listen`. */
  metrics: v.optional(metricsSchema),
} as const;

export const hostSchema = v.strictObject(hostOptions);
export const processSchema = v.strictObject(processOptions);

export type HostOptions = v.InferOutput<typeof hostSchema>;
export type CacheOptions = ProcessOptions['cache'];
export type LimitOptions = ProcessOptions['limits'];
export type ProcessOptions = v.InferOutput<typeof processSchema>;
