// `user_lookup`: what cannot work is said when the configuration is read, and no token goes to another provider's directory.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { type Config, loadConfig } from '../src/config/load.ts';
import type { LookupSettings } from '../src/config/lookup.ts';
import { ConfigError } from '../src/config/problems.ts';
import { temporaryFolder, writeConfig } from './support/bridge.ts';

type Json = Record<string, unknown>;

const load = (config: Json): Config => loadConfig({ config: writeConfig(config), env: {} });
const lookupOf = (config: Json, pattern = ''): LookupSettings | undefined =>
  load(config).hosts.find((host) => host.pattern === pattern)?.lookup;

/** The problems of a configuration as `path: message`. */
function problems(config: Json): string[] {
  try {
    load(config);
    return [];
  } catch (error) {
    assert.ok(error instanceof ConfigError);
    return error.problems.map(({ path, message }) => `${path}: ${message}`);
  }
}

function secretFile(text = 'secret', mode = 0o600): string {
  const file = join(temporaryFolder(), 'secret');
  writeFileSync(file, text, { mode });
  return file;
}

const provider = { issuer: 'https://id.example', client_id: 'xmpp', client_secret_file: secretFile() };
const url = 'https://directory.example/scim';
const scim = { type: 'scim', url };
const file = secretFile();

describe('user_lookup', () => {
  const wrong: [title: string, lookup: unknown, problem: RegExp, more?: Json][] = [
    ['none', undefined, /^user_lookup: is missing/],
    ['no type', { url }, /^user_lookup\.type: /],
    ['no url', { type: 'scim' }, /^user_lookup\.url: /],
    [
      'a kind that there is not',
      { type: 'ldap', url },
      /^user_lookup\.type: must be scim, keycloak, webfinger or http/,
    ],
    ['an option that there is not', { ...scim, token: 'x' }, /^user_lookup\.token: /],
    ['a secret in place of a file', { ...scim, password: 'x' }, /^user_lookup\.password: /],
    ['http', { ...scim, url: 'http://directory.example' }, /^user_lookup\.url: must begin with https/],
    [
      'a user name in the URL',
      { ...scim, url: 'https://a:b@directory.example' },
      /must not hold a user name/,
    ],
    ['a query', { ...scim, url: `${url}?a=b` }, /^user_lookup\.url: must not have a query/],
    ['a fragment', { ...scim, url: `${url}#a` }, /fragment/],
    [
      'a placeholder that nobody fills',
      { ...scim, url: `${url}/{localpart}` },
      /must have no \{\.\.\.\} in it/,
    ],
    ['no placeholder', { type: 'http', url }, /^user_lookup\.url: must have \{localpart\} in it/],
    ...[
      'https://{localpart}.example/',
      'https://x.{host}/{localpart}',
      'https://x.example{localpart}',
      'https://{localpart}',
    ].map((each): [string, unknown, RegExp] => [
      `a server that the name chooses: ${each}`,
      { type: 'http', url: each },
      /^user_lookup\.url: /,
    ]),
    [
      'token and password',
      { ...scim, token_file: file, username: 'a', password_file: file },
      /^user_lookup\.token_file: is given, and a password too/,
    ],
    ['a password without a name', { ...scim, password_file: file }, /^user_lookup\.username: is missing/],
    ['a name without a password', { ...scim, username: 'a' }, /^user_lookup\.password_file: is missing/],
    [
      'a name with a colon',
      { ...scim, username: 'a:b', password_file: file },
      /^user_lookup\.username: must not have a colon/,
    ],
    [
      'a relative file',
      { ...scim, token_file: 'token' },
      /^user_lookup\.token_file: must be an absolute path/,
    ],
    ['a file that is not there', { ...scim, token_file: '/nonexistent/token' }, /^user_lookup\.token_file: /],
    [
      'a file that everybody may read',
      { ...scim, token_file: secretFile('x', 0o644) },
      /^user_lookup\.token_file: /,
    ],
    [
      'a password file that everybody may read',
      { ...scim, username: 'a', password_file: secretFile('x', 0o644) },
      /^user_lookup\.password_file: /,
    ],
    ['an empty file', { ...scim, token_file: secretFile('') }, /^user_lookup\.token_file: /],
    [
      'a word before the token',
      { ...scim, token_file: secretFile('Bearer canary-token\n') },
      /^user_lookup\.token_file: holds more than a token/,
    ],
    [
      'a token that is not ASCII',
      { ...scim, token_file: secretFile('töken') },
      /^user_lookup\.token_file: holds more than a token/,
    ],
    [
      'a word for a token that there is not',
      { ...scim, token_scheme: 'token' },
      /^user_lookup\.token_scheme: has no effect without token_file/,
    ],
    ...['', 'two words', 'Bearer ', 'a\r\nb', 'tökén'].map((token_scheme): [string, unknown, RegExp] => [
      `${JSON.stringify(token_scheme)} before a token`,
      { ...scim, token_file: file, token_scheme },
      /^user_lookup\.token_scheme: must /,
    ]),
    [
      'active_only where nobody says who is',
      { type: 'webfinger', url, active_only: true },
      /^user_lookup\.active_only: cannot be/,
    ],
    [
      'active_only without a field',
      { type: 'http', url: `${url}/{localpart}`, active_only: true },
      /^user_lookup\.active_field: is missing/,
    ],
    [
      'active_field of another kind',
      { ...scim, active_field: 'a' },
      /^user_lookup\.active_field: has no effect with type: scim, only with http/,
    ],
    ['resource of another kind', { ...scim, resource: 'a' }, /^user_lookup\.resource: has no effect/],
    [
      'username_path of another kind',
      { ...scim, username_path: 'a' },
      /^user_lookup\.username_path: has no effect/,
    ],
    [
      'scope of another kind',
      { type: 'webfinger', url, scope: 'a' },
      /^user_lookup\.scope: has no effect with type: webfinger, only with scim and keycloak/,
    ],
    [
      'no client',
      scim,
      /^user_lookup\.token_file: is missing/,
      { client_id: undefined, client_secret_file: undefined, validation: 'userinfo' },
    ],
  ];
  for (const [title, user_lookup, problem, more = {}] of wrong) {
    it(`cannot be: ${title}`, () => {
      const found = problems({ ...provider, user_exists: 'lookup', user_lookup, ...more });
      assert.ok(
        found.some((each) => problem.test(each)),
        found.join('\n') || 'no problem',
      );
      assert.ok(!found.join().includes('canary'), 'a secret in a message');
    });
  }

  const good: [title: string, lookup: Json, as: string][] = [
    ['SCIM with our own client', scim, 'client'],
    ['SCIM with a token', { ...scim, token_file: file }, 'token'],
    ['a token by another word', { ...scim, token_file: file, token_scheme: 'token' }, 'token'],
    ['SCIM with a password', { ...scim, username: 'a', password_file: file }, 'basic'],
    [
      'Keycloak',
      { type: 'keycloak', url: 'https://id.example/admin/realms/a', scope: 'x', active_only: true },
      'client',
    ],
    ['WebFinger', { type: 'webfinger', url, resource: 'acct:{localpart}@x.example' }, 'nobody'],
    ['any address', { type: 'http', url: `${url}/{host}/{localpart}?a={localpart}` }, 'nobody'],
    ['loopback without TLS', { ...scim, url: 'http://127.0.0.1:8080/scim' }, 'client'],
  ];
  for (const [title, user_lookup, as] of good) {
    it(`can be: ${title}`, () => {
      assert.deepEqual(problems({ ...provider, user_exists: 'lookup', user_lookup }), []);
      assert.equal(lookupOf({ ...provider, user_exists: 'lookup', user_lookup })?.as.kind, as);
    });
  }

  it('is not read where user_exists does not want it', () => {
    const user_lookup = { ...scim, token_file: '/nonexistent/token' };
    for (const user_exists of [true, false, 'known'])
      assert.equal(lookupOf({ ...provider, user_exists, user_lookup }), undefined);
  });

  const top = { ...provider, user_exists: 'lookup', user_lookup: { ...scim, token_file: file } };
  const strangers: [title: string, host: Json][] = [
    ['another issuer', { issuer: 'https://other.example' }],
    ['another discovery_url', { discovery_url: 'https://other.example/.well-known/openid-configuration' }],
    ['providers of its own', { providers: [{ issuer: 'https://other.example' }] }],
    ['another token endpoint', { token_endpoint: 'https://other.example/token' }],
    ['another UserInfo', { validation_endpoint: 'https://other.example/me' }],
    ['other keys', { jwks_uri: 'https://other.example/keys' }],
  ];
  for (const [title, host] of strangers) {
    it(`is not inherited by a host with ${title}: it says so`, () => {
      const own = { client_id: 'other', client_secret_file: secretFile('other') };
      const hosts = { 'b.example': 'providers' in host ? host : { ...own, ...host } };
      assert.ok(problems({ ...top, hosts }).some((each) => /user_lookup: is missing/.test(each)));
      const known = { 'b.example': { ...hosts['b.example'], user_exists: true } };
      assert.equal(lookupOf({ ...top, hosts: known }, 'b.example'), undefined);
    });
  }

  it('is inherited by a host of the same provider, and replaced as a whole by one of its own', () => {
    const mine = { type: 'scim', url: 'https://mine.example' };
    const config = { ...top, hosts: { 'a.example': {}, 'b.example': { user_lookup: mine } } };
    assert.equal(lookupOf(config, 'a.example')?.as.kind, 'token');
    const own = lookupOf(config, 'b.example');
    assert.deepEqual(
      [own?.url, own?.as.kind],
      ['https://mine.example', 'client'],
      'no token of the other one',
    );
  });

  it('stands beside a list of providers, not in one of them, and uses the client of the first', () => {
    const { issuer, ...client } = provider;
    const providers = [
      { issuer, ...client },
      { issuer: 'https://other.example', client_id: 'b' },
    ];
    const config = { user_exists: 'lookup', user_lookup: scim, providers };
    assert.deepEqual(problems(config), []);
    assert.equal(lookupOf(config)?.as.kind, 'client');
    const inside = { user_exists: 'lookup', providers: [{ issuer, ...client, user_lookup: scim }] };
    assert.ok(
      problems(inside).some((each) =>
        /^providers\.0\.user_lookup: holds for the whole virtual host/.test(each),
      ),
    );
  });
});
