// Which settings do not go together, and which go together and are worth a word. Pure.
import { isPlainHttp } from '../oauth/loopback.ts';
import type { Problem } from './problems.ts';
import type { HostOptions } from './schema.ts';

const WELL_KNOWN = '/.well-known/openid-configuration';

/** Settings that cannot work or must not. */
export function contradictions(options: HostOptions, at: (key: string) => string, problems: Problem[]): void {
  const say = (key: string, message: string): void => void problems.push({ path: at(key), message });
  const { issuer, discovery_url, validation_endpoint, token_endpoint } = options;
  const passwords = allowsPasswords(options);

  if (issuer === undefined && discovery_url === undefined && validation_endpoint === undefined) {
    say(
      'issuer',
      'is missing: name the provider by issuer (its metadata gives the rest) or by validation_endpoint',
    );
  }
  if (issuer === undefined && discovery_url !== undefined && !discovery_url.endsWith(WELL_KNOWN)) {
    say(
      'issuer',
      `is missing: discovery_url does not end in ${WELL_KNOWN}, so it does not say which one it is`,
    );
  }
  if (issuer?.endsWith(WELL_KNOWN))
    say('issuer', `must not have ${WELL_KNOWN} at its end: that is for discovery_url`);
  if (passwords && token_endpoint === undefined && issuer === undefined && discovery_url === undefined) {
    say(
      'token_endpoint',
      'is missing: resource_owner_password needs it, or an issuer whose metadata names it',
    );
  }
  if (options.credential === 'password' && !passwords) {
    say('credential', 'is password, but resource_owner_password is off: nobody could log in');
  }
  if (options.client_secret !== undefined && options.client_secret_file !== undefined) {
    say('client_secret', 'is given, and client_secret_file too: keep one of the two');
  }
  if (options.client_id === undefined) {
    for (const key of ['client_secret', 'client_secret_file'] as const) {
      if (options[key] !== undefined) say(key, 'is given without client_id');
    }
  }
  if (
    options.client_auth_method === 'none' &&
    (options.client_secret ?? options.client_secret_file) !== undefined
  ) {
    say('client_auth_method', 'is none, but a client secret is given');
  }
  for (const key of [
    'issuer',
    'discovery_url',
    'validation_endpoint',
    'token_endpoint',
    'revocation_endpoint',
  ] as const) {
    const value = options[key];
    if (value !== undefined && !options.http.allow_http && isPlainHttp(value)) {
      say(
        key,
        'must begin with https:// (http is for the loopback interface only; http.allow_http lifts that)',
      );
    }
  }
  if (issuer?.includes('?')) say('issuer', 'must not have a query (RFC 8414 section 2)');
  if (options.username_mapping === '' && options.username_domains !== undefined) {
    say('username_domains', 'has no effect without username_mapping: split');
  }
}

/** Settings that work and are worth a word. */
export function cautions(options: HostOptions, at: (key: string) => string, warnings: Problem[]): void {
  const say = (key: string, message: string): void => void warnings.push({ path: at(key), message });
  if (options.http_settings !== undefined) say('http_settings', 'has no effect here: see http');
  if (options.http.allow_http)
    say('http.allow_http', 'passwords and tokens may cross the network in clear text');
  if (
    options.client_id === undefined &&
    options.audience === undefined &&
    options.accepted_clients === undefined
  ) {
    warnings.push({
      path: at('audience'),
      message:
        'neither audience, accepted_clients nor client_id is set: a token made for any other website of this provider logs in here',
      unsafe: true,
    });
  }
  if (options.credential === 'token' || options.token_prefix !== undefined) {
    say(
      options.credential === 'token' ? 'credential' : 'token_prefix',
      'an opaque token does not say whom it is for: one that any other application of this provider obtained logs in here',
    );
  }
  if (allowsPasswords(options)) {
    say(
      'resource_owner_password',
      'weak: RFC 9700 section 2.4 advises against the password grant; tokens or app passwords are safer',
    );
  }
}

/** The password grant is switched on by the operator, never by what discovery found (RFC 9700 section 2.4). */
export function allowsPasswords(options: HostOptions): boolean {
  return options.resource_owner_password ?? options.token_endpoint !== undefined;
}
