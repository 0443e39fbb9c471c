// Which settings do not go together, and which go together and are worth a word. Pure.
import { isPlainHttp } from '../oauth/loopback.ts';
import { lookupContradictions } from './lookup.ts';
import type { ProviderDraft } from './parse.ts';
import type { Problem } from './problems.ts';
import type { HostOptions } from './schema.ts';

const WELL_KNOWN = '/.well-known/openid-configuration';

/** Settings that cannot work or must not. */
export function contradictions(options: HostOptions, at: (key: string) => string, problems: Problem[]): void {
  const say = (key: string, message: string): void => void problems.push({ path: at(key), message });
  const { issuer, discovery_url, validation_endpoint, introspection_endpoint, token_endpoint } = options;
  const passwords = allowsPasswords(options);
  const named = issuer !== undefined || discovery_url !== undefined;

  if (!named && validation_endpoint === undefined && introspection_endpoint === undefined) {
    say(
      'issuer',
      'is missing: name the provider by issuer (its metadata gives the rest), by validation_endpoint or by introspection_endpoint',
    );
  }
  howTokensAreJudged(options, named, say);
  howTheClientProvesItself(options, say);
  lookupContradictions(options, at, problems);
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
  for (const key of [
    'issuer',
    'discovery_url',
    'validation_endpoint',
    'token_endpoint',
    'introspection_endpoint',
    'revocation_endpoint',
    'jwks_uri',
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
  if (options.username_domains?.some((domain) => domain.includes('*'))) {
    say(
      'username_domains',
      'must be whole domains: with *, alice of any of them would be the same alice here',
    );
  }
  if (options.password_otp_digits > 0 && !passwords) {
    say('password_otp_digits', 'has no effect without resource_owner_password');
  }
}

type Say = (key: string, message: string) => void;

function howTokensAreJudged(options: HostOptions, named: boolean, say: Say): void {
  const { validation, jwks_uri, jwks_file, introspection_endpoint, validation_endpoint } = options;
  if (jwks_uri !== undefined && jwks_file !== undefined) {
    say('jwks_file', 'is given, and jwks_uri too: keep one of the two');
  }
  const keys = jwks_uri ?? jwks_file;
  if (!named && (keys !== undefined || validation.startsWith('jwt'))) {
    say(
      keys === undefined ? 'validation' : jwks_uri === undefined ? 'jwks_file' : 'jwks_uri',
      'needs an issuer, too: a signature says nothing without whose it must be',
    );
  }
  if (validation.endsWith('introspection') && !named && introspection_endpoint === undefined) {
    say('validation', `is ${validation}: set introspection_endpoint, or an issuer whose metadata names it`);
  }
  if (validation.endsWith('userinfo') && !named && validation_endpoint === undefined) {
    say('validation', `is ${validation}: set validation_endpoint, or an issuer whose metadata names it`);
  }
  if (options.introspection_signed && !named) {
    say('introspection_signed', 'needs an issuer: the answer must be its own');
  } else if (options.introspection_signed && !validation.endsWith('introspection')) {
    say(
      'introspection_signed',
      'needs validation: introspection or jwt+introspection; auto may ask UserInfo, too',
    );
  }
}

function howTheClientProvesItself(options: HostOptions, say: Say): void {
  const { client_auth_method: method, introspection_auth_method: other = method, http } = options;
  const methods = [method, other];
  const secret = options.client_secret ?? options.client_secret_file;
  if (methods.every((each) => ['none', 'private_key_jwt', 'tls'].includes(each)) && secret !== undefined) {
    say('client_auth_method', `is ${method}, but a client secret is given`);
  }
  if (methods.includes('private_key_jwt') !== (options.client_key_file !== undefined)) {
    if (options.client_key_file === undefined)
      say('client_key_file', 'is missing: private_key_jwt signs with it');
    else say('client_key_file', 'has no effect without client_auth_method: private_key_jwt');
  }
  if (options.client_key_id !== undefined && options.client_key_file === undefined) {
    say('client_key_id', 'is given without client_key_file');
  }
  if ((http.cert_file === undefined) !== (http.key_file === undefined)) {
    const [there, missing] =
      http.key_file === undefined ? ['cert_file', 'key_file'] : ['key_file', 'cert_file'];
    say(`http.${missing}`, `is missing: http.${there} is one half of the two`);
  } else if (methods.includes('tls') && http.cert_file === undefined) {
    say('http.cert_file', 'is missing: client_auth_method tls shows it (RFC 8705)');
  }
}

/** What several providers of one virtual host must have, and what it means to have several. */
export function amongProviders(
  drafts: readonly [ProviderDraft, ...ProviderDraft[]],
  at: (key: string) => string,
  { problems, warnings }: { problems: Problem[]; warnings: Problem[] },
): void {
  for (const [index, draft] of drafts.entries()) {
    const { issuer } = draft.options;
    if (issuer === undefined) {
      problems.push({
        path: draft.at('issuer'),
        message: 'is missing: among several providers, a token is that of the one whose issuer it names',
      });
    } else if (drafts.findIndex(({ options }) => options.issuer === issuer) !== index) {
      problems.push({ path: draft.at('issuer'), message: 'is that of another provider in the list, too' });
    }
  }
  if (drafts.length > 1) {
    warnings.push({
      path: at('providers'),
      message:
        'each of them can name anybody: alice of one is alice of the other. Trust them alike, or give each a virtual host of its own',
    });
  }
}

/** Settings that work and are worth a word. `offersBearer`: tokens may come by mechanisms of their own (`serve`). */
export function cautions(
  options: HostOptions,
  at: (key: string) => string,
  { warnings, offersBearer }: { warnings: Problem[]; offersBearer: boolean },
): void {
  const say = (key: string, message: string): void => void warnings.push({ path: at(key), message });
  if (options.http_settings !== undefined) say('http_settings', 'has no effect here: see http');
  if (options.user_lookup !== undefined && options.user_exists !== 'lookup')
    say('user_lookup', 'has no effect without user_exists: lookup');
  if (options.http.allow_http)
    say('http.allow_http', 'passwords and tokens may cross the network in clear text');
  if (
    options.credential !== 'password' &&
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
  if (
    (options.credential === 'token' ||
      options.token_prefix !== undefined ||
      (offersBearer && options.credential === 'auto')) &&
    !options.validation.startsWith('jwt') &&
    (options.validation === 'userinfo' || !mayIntrospect(options))
  ) {
    say(
      options.token_prefix === undefined ? 'credential' : 'token_prefix',
      'UserInfo does not say whom an opaque token is for: one that any other application of this provider obtained logs in here; introspection_endpoint with a client secret closes that',
    );
  }
  if (options.validation === 'userinfo' && options.required_scopes !== undefined) {
    say(
      'required_scopes',
      'UserInfo hardly ever says the scope, so nobody may get in: jwt+userinfo or introspection can',
    );
  }
  if (allowsPasswords(options)) {
    say(
      'resource_owner_password',
      'weak: RFC 9700 section 2.4 advises against the password grant; tokens or app passwords are safer',
    );
  }
}

/** As far as the options say: the metadata may still name no endpoint, and a variable may hold the secret. */
function mayIntrospect({ client_id, issuer, discovery_url, introspection_endpoint }: HostOptions): boolean {
  return client_id !== undefined && (introspection_endpoint ?? issuer ?? discovery_url) !== undefined;
}

/** The password grant is switched on by the operator, never by what discovery found (RFC 9700 section 2.4). */
export function allowsPasswords(options: HostOptions): boolean {
  return options.resource_owner_password ?? options.token_endpoint !== undefined;
}
