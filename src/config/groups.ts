// The options that stand together under one name: http, cache, limits, log. See schema.ts.
import * as v from 'valibot';
import { absolutePath, budget, count, duration, flag, text, url, waiting, word } from './values.ts';

export const http = {
  /** TCP and TLS handshake together. */
  connect_timeout: v.optional(waiting, '1500ms'),
  /** One request to the provider, from sending it to the last byte of the answer. */
  timeout: v.optional(waiting, '3500ms'),
  /**
   * How often a request that is safe to repeat is tried again when the connection failed; never one with a password.
   */
  retries: v.optional(count(0, 3), 1),
  /** PEM file: trust these authorities instead of the system's. */
  ca_file: v.optional(absolutePath),
  /** PEM file: the certificate (and chain) that our client shows (`client_auth_method: tls`, RFC 8705). */
  cert_file: v.optional(absolutePath),
  /** PEM file: the private key of `http.cert_file`. */
  key_file: v.optional(absolutePath),
  /** Proxy to the provider, http:// or https://; `HTTPS_PROXY` and the like are not looked at. */
  proxy: v.optional(url),
  /** Plain http beyond the loopback interface: every password and token then crosses the network in clear text. */
  allow_http: v.optional(flag, false),
  /** A longer answer is an error. */
  max_response_bytes: v.optional(count(1024, 16 * 1024 * 1024), 1024 * 1024),
} as const;

export const cache = {
  /**
   * How long an accepted token is not asked about again: so long it works after it was revoked, and never beyond its
   * end. 0: not at all.
   */
  token_ttl: v.optional(duration, '60s'),
  /** The same for an accepted password; a new one works at once. */
  password_ttl: v.optional(duration, 0),
  /**
   * How long what the provider has refused is refused here; a password that it refuses again twice as long each time, up
   * to twelve times this.
   */
  negative_ttl: v.optional(duration, '5m'),
  /** Verdicts of each kind that a process keeps: what was used longest ago makes room. */
  max_entries: v.optional(count(100, 1_000_000), 10_000),
  /** How long logins that were accepted go on without the provider, while it cannot be asked. */
  unavailable_grace: v.optional(duration, 0),
} as const;

export const limits = {
  /** Different wrong passwords of one user, and the time from the first after which they are forgotten; or `none`. */
  wrong_passwords: v.optional(budget, '5/15m'),
  /** Requests of one process at a time to one provider; others wait. */
  provider_concurrency: v.optional(count(1, 1000), 32),
} as const;

export const log = {
  /** What is logged; `silent`: nothing. */
  level: v.optional(word('debug', 'info', 'warn', 'error', 'silent'), 'info'),
  /** `stderr`, or a file (opened again on SIGHUP); `auto` is stderr unless that is Prosody's terminal. */
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
  /** `hashed` hides names. */
  users: v.optional(word('plain', 'hashed'), 'plain'),
} as const;
