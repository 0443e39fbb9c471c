// Every option with its default and its meaning. The names follow mod_auth_oauth_external without `oauth_external_`.
// The README's table of options is held to this file by a test.
import * as v from 'valibot';
import { listenSchema, metricsSchema } from './listen.ts';
import { lookupOptions } from './lookup.ts';
import {
  absolutePath,
  algorithmNames,
  budget,
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

const http = {
  /** TCP and TLS handshake together. */
  connect_timeout: v.optional(waiting, '1500ms'),
  /** One request, from sending it to the last byte of the answer. */
  timeout: v.optional(waiting, '3500ms'),
  /** How often a request that is safe to repeat (never one with a password) is tried again when the connection failed. */
  retries: v.optional(count(0, 3), 1),
  /** PEM file with the certificate authorities to trust instead of the system's. */
  ca_file: v.optional(absolutePath),
  /** PEM file with the certificate (and chain) that our client shows, and its private key (RFC 8705). */
  cert_file: v.optional(absolutePath),
  key_file: v.optional(absolutePath),
  /** http:// or https:// proxy for all requests to the provider; variables such as HTTPS_PROXY are not looked at. */
  proxy: v.optional(url),
  /** Plain http beyond the loopback interface. Every password and token then crosses the network in clear text. */
  allow_http: v.optional(flag, false),
  /** A longer answer is an error. */
  max_response_bytes: v.optional(count(1024, 16 * 1024 * 1024), 1024 * 1024),
} as const;

const clientAuthMethod = word('post', 'basic', 'basic_raw', 'private_key_jwt', 'tls', 'none');

const cache = {
  /** How long an accepted token is good without another look, at most: it may have been revoked. 0: not at all. */
  token_ttl: v.optional(duration, '60s'),
  /** The same of an accepted password. A new one works at once, and the old one goes on for so long. */
  password_ttl: v.optional(duration, 0),
  /** How long what the provider has refused is refused without asking again. */
  negative_ttl: v.optional(duration, '5m'),
  /** Verdicts of each kind that a process keeps: what was used longest ago makes room. */
  max_entries: v.optional(count(100, 1_000_000), 10_000),
  /** How long after a login was accepted the same is accepted without the provider, while that cannot be asked. */
  unavailable_grace: v.optional(duration, 0),
} as const;

const limits = {
  /** Different wrong passwords of one user, and the time after which they are forgotten. */
  wrong_passwords: v.optional(budget, '5/15m'),
  /** Requests at a time of one process to a provider; others wait. */
  provider_concurrency: v.optional(count(1, 1000), 32),
} as const;

/** What can be said for every virtual host, and again, differently, for one. */
export const hostOptions = {
  // the provider
  issuer: v.optional(url),
  discovery_url: v.optional(url),
  validation_endpoint: v.optional(url),
  token_endpoint: v.optional(url),
  introspection_endpoint: v.optional(url),
  revocation_endpoint: v.optional(url),
  jwks_uri: v.optional(url),
  jwks_file: v.optional(absolutePath),
  trusted_endpoint_hosts: v.optional(hostNames),
  // our client there
  client_id: v.optional(text),
  client_secret: v.optional(text),
  client_secret_file: v.optional(absolutePath),
  client_key_file: v.optional(absolutePath),
  client_key_id: v.optional(text),
  client_auth_method: v.optional(clientAuthMethod, 'post'),
  /** Default: `client_auth_method`. */
  introspection_auth_method: v.optional(clientAuthMethod),
  introspection_signed: v.optional(flag, false),
  scope: v.optional(v.string('must be text'), 'openid'),
  // how a secret is read and judged
  credential: v.optional(word('auto', 'token', 'password'), 'auto'),
  token_prefix: v.optional(text),
  resource_owner_password: v.optional(flag),
  password_otp_digits: v.optional(count(0, 10), 0),
  validation: v.optional(
    word('auto', 'jwt', 'introspection', 'userinfo', 'jwt+introspection', 'jwt+userinfo'),
    'auto',
  ),
  revoke_after_login: v.optional(flag, true),
  // what a token must say
  audience: v.optional(texts),
  accepted_clients: v.optional(texts),
  required_scopes: v.optional(texts),
  require: v.optional(claimRules),
  /** Default: RS256, PS256, ES256, EdDSA, and of their longer forms those that the metadata names. */
  algorithms: v.optional(algorithmNames),
  max_token_age: v.optional(duration),
  token_typ: v.optional(word('lax', 'at+jwt'), 'lax'),
  clock_skew: v.optional(v.pipe(duration, v.maxValue(300_000, 'must not be more than 5m')), '30s'),
  // who it is
  username_field: v.optional(texts, 'preferred_username'),
  username_mapping: v.optional(word('', 'split'), ''),
  username_domains: v.optional(texts),
  sasl_username_mapping: v.optional(word('', 'join'), ''),
  username_case: v.optional(word('exact', 'ascii', 'nodeprep'), 'ascii'),
  jid_escape: v.optional(word('xep0106', 'prosody-0.11'), 'xep0106'),
  require_email_verified: v.optional(flag, true),
  /** Default: true with a state that lasts (LMDB, Redis). */
  pin_subject: v.optional(flag),
  /** Default: `known` with a state that lasts, else true. */
  user_exists: v.optional(v.union([flag, word('known', 'lookup')], 'must be true, false, known or lookup')),
  /** Whom to ask whether a user exists, for `user_exists: lookup`. */
  user_lookup: v.optional(v.strictObject(lookupOptions)),
  // the way there
  http: v.optional(v.strictObject(http), {}),
  /** Taken from mod_auth_oauth_external so that its configuration loads; without effect, which the log says. */
  http_settings: v.optional(v.unknown()),
  /** Each a mapping of the options above; what it leaves out is taken from beside `providers`. */
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
  protocol: v.optional(word('auto', 'ejabberd', 'generic'), 'auto'),
  setpass_reply: v.optional(
    v.pipe(
      v.union([v.literal(false), word('auto', 'error', 'false')], 'must be auto, error or false'),
      v.transform((value) => (value === false ? 'false' : value)),
    ),
    'auto',
  ),
  /** From the first byte of a request to its answer. Default 4s on a terminal, 8s on a pipe. */
  deadline: v.optional(waiting),
  /** Where verdicts, budgets and users are kept: `memory`, `lmdb:/folder`, `redis://host`, `rediss://host`. */
  state: v.optional(text, 'memory'),
  /** The key of all names and seals in the state, the same on all machines that share it. */
  state_key_file: v.optional(absolutePath),
  cache: v.optional(v.strictObject(cache), {}),
  limits: v.optional(v.strictObject(limits), {}),
  log: v.optional(
    v.strictObject({
      level: v.optional(word('debug', 'info', 'warn', 'error', 'silent'), 'info'),
      /** `stderr`, a file (reopened on SIGHUP), or `auto`: stderr unless that is Prosody's terminal. */
      destination: v.optional(
        v.pipe(
          text,
          v.check(
            (value) => /^(?:auto$|stderr$|\/(?!dev\/(?:std|fd|tty|pts)|proc\/))/.test(value),
            'must be auto, stderr or an absolute path',
          ),
        ),
        'auto',
      ),
      users: v.optional(word('plain', 'hashed'), 'plain'),
    }),
    {},
  ),
  /** The sockets of `serve`. */
  listen: v.optional(listenSchema),
  /** Where `serve` tells Prometheus how it is. */
  metrics: v.optional(metricsSchema),
} as const;

export const hostSchema = v.strictObject(hostOptions);
export const processSchema = v.strictObject(processOptions);

export type HostOptions = v.InferOutput<typeof hostSchema>;
export type CacheOptions = ProcessOptions['cache'];
export type LimitOptions = ProcessOptions['limits'];
export type ProcessOptions = v.InferOutput<typeof processSchema>;
