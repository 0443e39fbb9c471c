import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { type Config, loadConfig, locateConfig } from '../src/config/load.ts';
import { ConfigError } from '../src/config/problems.ts';
import type { ProviderSettings } from '../src/config/provider-settings.ts';
import { createHosts } from '../src/hosts.ts';
import { temporaryFolder, writeConfig } from './support/bridge.ts';
import { selfSigned } from './support/scripted-provider.ts';
import { createSigner } from './support/signer.ts';

const provider = { issuer: 'https://id.example', client_id: 'xmpp' };

function load(config: unknown, env: NodeJS.ProcessEnv = {}): Config {
  return loadConfig({ config: writeConfig(config), env });
}

function settings(config: object, env: NodeJS.ProcessEnv = {}): ProviderSettings {
  const [host] = load({ ...provider, ...config }, env).hosts;
  assert.ok(host);
  return host.providers[0];
}

/** The problems of a configuration as `path: message`. */
function problems(config: unknown, env: NodeJS.ProcessEnv = {}): string[] {
  try {
    load(config, env);
    return [];
  } catch (error) {
    assert.ok(error instanceof ConfigError);
    return error.problems.map(({ path, message }) => `${path}: ${message}`);
  }
}

function secretFile(secret: string, mode = 0o600): string {
  const file = join(temporaryFolder(), 'secret');
  writeFileSync(file, secret);
  chmodSync(file, mode);
  return file;
}

function keySetFile(text = JSON.stringify({ keys: [createSigner('ES256').jwk] })): string {
  const file = join(temporaryFolder(), 'jwks.json');
  writeFileSync(file, text);
  return file;
}

function privateKeyFile({ mode = 0o600, bits = 2048 } = {}): string {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: bits });
  return secretFile(String(privateKey.export({ type: 'pkcs8', format: 'pem' })), mode);
}

function certificateFile(): string {
  return secretFile(selfSigned('xmpp').cert);
}

describe('a configuration', () => {
  it('needs no more than an issuer', () => {
    const { hosts, process, warnings } = load({ issuer: 'https://id.example' });
    assert.equal(hosts.length, 1);
    assert.equal(process.protocol, 'auto');
    assert.ok(
      warnings.some(({ unsafe }) => unsafe),
      'nothing says for whom a token must be',
    );
  });

  const same: [title: string, config: object, expected: Partial<ProviderSettings>][] = [
    [
      'durations become milliseconds',
      { clock_skew: '1m', http: { timeout: '2s', connect_timeout: '250ms' } },
      { clock_skew: 60_000 },
    ],
    ['0 is a duration', { clock_skew: 0 }, { clock_skew: 0 }],
    ['"0" is a duration', { clock_skew: '0' }, { clock_skew: 0 }],
    ['one username_field is a list of one', { username_field: 'nickname' }, { username_field: ['nickname'] }],
    [
      'an alias of mod_auth_oauth_external is taken',
      { oauth_external_username_field: 'nickname', oauth_external_scope: 'x' },
      { username_field: ['nickname'], scope: 'x' },
    ],
    [
      'a token endpoint of its own switches passwords on',
      { token_endpoint: 'https://id.example/token' },
      { passwords: true },
    ],
    [
      'unless they are switched off',
      { token_endpoint: 'https://id.example/token', resource_owner_password: false },
      { passwords: false },
    ],
    ['discovery alone never switches passwords on', {}, { passwords: false }],
    [
      'http on the loopback interface is fine',
      { issuer: 'http://127.0.0.1:8080/realm' },
      { issuer: 'http://127.0.0.1:8080/realm' },
    ],
  ];
  for (const [title, config, expected] of same) {
    it(title, () => {
      const found = settings(config);
      for (const [key, value] of Object.entries(expected))
        assert.deepEqual(found[key as keyof ProviderSettings], value);
    });
  }

  const wrong: [title: string, config: unknown, ...messages: RegExp[]][] = [
    [
      'an unknown option, with a suggestion',
      { ...provider, client_idd: 'x' },
      /^client_idd: unknown option; did you mean client_id\?$/,
    ],
    ['an unknown option unlike any other', { ...provider, frobnicate: 1 }, /^frobnicate: unknown option$/],
    [
      'an unknown option inside http',
      { ...provider, http: { timout: '1s' } },
      /^http\.timout: unknown option; did you mean timeout\?$/,
    ],
    [
      'an unknown option inside log',
      { ...provider, log: { levle: 'info' } },
      /^log\.levle: unknown option; did you mean level\?$/,
    ],
    [
      'an unknown option of a host',
      { hosts: { 'a.example': { ...provider, isuer: 'x' } } },
      /^hosts\."a\.example"\.isuer: unknown option; did you mean issuer\?$/,
    ],
    [
      'a prototype in disguise',
      '{"issuer":"https://id.example","client_id":"x","__proto__":{"http":1}}',
      /__proto__: unknown option/,
    ],
    [
      'an option of the process inside a host',
      { hosts: { 'a.example': { ...provider, protocol: 'auto' } } },
      /protocol: holds for the whole process/,
    ],
    [
      'a validation that there is not',
      { ...provider, validation: 'jwks' },
      /^validation: must be auto, jwt, introspection, userinfo, jwt\+introspection or jwt\+userinfo$/,
    ],
    ['a wrong type', { ...provider, client_id: 12 }, /^client_id: must be text/],
    ['a wrong duration', { ...provider, clock_skew: '5 minutes' }, /^clock_skew: must be a duration such as/],
    ['too much clock skew', { ...provider, clock_skew: '10m' }, /^clock_skew: must not be more than 5m$/],
    ["a deadline beyond the server's", { ...provider, deadline: '40s' }, /^deadline: must be less than 30s/],
    [
      'several at once, each with its path',
      { issuer: 'ftp://x', client_id: '', bogus: 1 },
      /^issuer: must be a URL/,
      /^client_id: must not be empty/,
      /^bogus: unknown option/,
    ],
    [
      'a wrong value and contradictions among the others',
      {
        ...provider,
        algorithms: ['HS256'],
        client_auth_method: 'tls',
        username_mapping: 'split',
        username_domains: '*',
      },
      /^algorithms: must not have HS256/,
      /^http\.cert_file: is missing/,
      /^username_domains: must be whole domains/,
    ],
    ['no provider', { client_id: 'x' }, /^issuer: is missing/],
    [
      'passwords without a token endpoint',
      { validation_endpoint: 'https://id.example/me', client_id: 'x', resource_owner_password: true },
      /^token_endpoint: is missing/,
    ],
    [
      'plain http beyond this machine',
      { ...provider, issuer: 'http://id.example' },
      /^issuer: must begin with https/,
    ],
    [
      'plain http to what only looks like this machine',
      { ...provider, issuer: 'http://127.0.0.1.example' },
      /^issuer: must begin with https/,
    ],
    [
      'a password in a URL',
      { ...provider, issuer: 'https://me:pw@id.example' },
      /^issuer: must not hold a user name/,
    ],
    [
      'an option and its alias',
      { ...provider, scope: 'a', oauth_external_scope: 'b' },
      /oauth_external_scope: is also given as scope/,
    ],
    [
      'two secrets',
      { ...provider, client_secret: 'x', client_secret_file: secretFile('x') },
      /^client_secret: is given, and client_secret_file too/,
    ],
    [
      'a secret without a client',
      { issuer: 'https://id.example', client_secret: 'x' },
      /^client_secret: is given without client_id/,
    ],
    [
      'only passwords, and those switched off',
      { ...provider, credential: 'password' },
      /^credential: is password, but/,
    ],
    [
      'basic without a secret',
      { ...provider, resource_owner_password: true, client_auth_method: 'basic' },
      /^client_secret_file: is missing/,
    ],
    [
      'a symmetric algorithm',
      { ...provider, algorithms: ['RS256', 'HS256'] },
      /^algorithms: must not have HS256: whoever can check such a token could make one$/,
    ],
    [
      'the algorithm none',
      { ...provider, algorithms: 'none' },
      /^algorithms: must not have none: anybody could/,
    ],
    [
      'an algorithm that there is not',
      { ...provider, algorithms: 'RS255' },
      /^algorithms: must be of RS256, /,
    ],
    [
      'keys of two places',
      { ...provider, jwks_uri: 'https://id.example/keys', jwks_file: keySetFile() },
      /^jwks_file: is given, and jwks_uri too/,
    ],
    [
      'keys of nobody',
      { validation_endpoint: 'https://id.example/me', client_id: 'x', jwks_file: keySetFile() },
      /^jwks_file: needs an issuer, too/,
    ],
    [
      'JWTs of nobody',
      { validation_endpoint: 'https://id.example/me', client_id: 'x', validation: 'jwt' },
      /^validation: needs an issuer, too/,
    ],
    ['keys that are not there', { ...provider, jwks_file: '/nonexistent' }, /^jwks_file: .*does not exist/],
    ['keys that are none', { ...provider, jwks_file: keySetFile('{}') }, /^jwks_file: .* holds no JWK Set/],
    [
      'an empty key set',
      { ...provider, jwks_file: keySetFile('{"keys":[]}') },
      /^jwks_file: .* holds no JWK Set/,
    ],
    [
      'plain http for keys',
      { ...provider, jwks_uri: 'http://id.example/keys' },
      /^jwks_uri: must begin with https/,
    ],
    [
      'introspection without a secret',
      { ...provider, validation: 'introspection' },
      /^validation: is introspection, which needs client_id and a secret or key/,
    ],
    [
      'introspection without a client',
      { issuer: provider.issuer, validation: 'jwt+introspection' },
      /^validation: is jwt\+introspection, which needs client_id/,
    ],
    [
      'introspection without an endpoint',
      {
        validation_endpoint: 'https://id.example/me',
        client_id: 'x',
        client_secret: 'x',
        validation: 'introspection',
      },
      /^validation: is introspection: set introspection_endpoint/,
    ],
    [
      'private_key_jwt without a key',
      { ...provider, client_auth_method: 'private_key_jwt' },
      /^client_key_file: is missing: private_key_jwt signs with it/,
    ],
    [
      'a key that is not used',
      { ...provider, client_key_file: privateKeyFile() },
      /^client_key_file: has no effect without client_auth_method: private_key_jwt/,
    ],
    [
      'a private key that others can read',
      {
        ...provider,
        client_auth_method: 'private_key_jwt',
        client_key_file: privateKeyFile({ mode: 0o640 }),
      },
      /^client_key_file: .* can be read by group or others: chmod 600/,
    ],
    [
      'a private key that is none',
      { ...provider, client_auth_method: 'private_key_jwt', client_key_file: secretFile('planted') },
      /^client_key_file: .* holds no private key/,
    ],
    [
      'a weak private key',
      { ...provider, client_auth_method: 'private_key_jwt', client_key_file: privateKeyFile({ bits: 1024 }) },
      /^client_key_file: .* holds an RSA key of less than 2048 bits/,
    ],
    [
      'a secret beside a key',
      {
        ...provider,
        client_auth_method: 'private_key_jwt',
        client_key_file: privateKeyFile(),
        client_secret: 'x',
      },
      /^client_auth_method: is private_key_jwt, but a client secret is given/,
    ],
    [
      'tls without a certificate',
      { ...provider, client_auth_method: 'tls' },
      /^http\.cert_file: is missing: client_auth_method tls shows it/,
    ],
    [
      'half a certificate',
      { ...provider, http: { cert_file: '/etc/c.pem' } },
      /^http\.key_file: is missing: http\.cert_file is one half of the two/,
    ],
    [
      'a certificate and the key of another',
      { ...provider, http: { cert_file: certificateFile(), key_file: privateKeyFile() } },
      /^http\.key_file: .* is not the private key .* of /,
    ],
    [
      'split for every domain',
      { ...provider, username_mapping: 'split', username_domains: '*' },
      /^username_domains: must be whole domains/,
    ],
    [
      'a one-time code without passwords',
      { ...provider, password_otp_digits: 6 },
      /^password_otp_digits: has no effect without resource_owner_password/,
    ],
    ['rules that are no mapping', { ...provider, require: ['x'] }, /^require: must be a mapping of claims/],
    [
      'a rule that is no value',
      { ...provider, require: { groups: { any: 'x' } } },
      /^require\.groups: must be a value or a list of values/,
    ],
    ['a rule with no value', { ...provider, require: { groups: [] } }, /^require\.groups: /],
    [
      'signed introspection beside other ways',
      { ...provider, client_secret: 'x', introspection_signed: true },
      /^introspection_signed: needs validation: introspection or jwt\+introspection/,
    ],
    [
      'a trusted host with a port',
      { ...provider, trusted_endpoint_hosts: ['keys.example:443'] },
      /^trusted_endpoint_hosts: must be host names/,
    ],
    [
      'a secret beside a list of providers',
      { client_secret: 'x', providers: [{ ...provider, client_secret: 'y' }] },
      /^client_secret: stands beside providers: put it into the one that it is for/,
    ],
    [
      'an endpoint beside a list of providers of a host',
      { hosts: { 'a.example': { token_endpoint: 'https://id.example/token', providers: [provider] } } },
      /^hosts\."a\.example"\.token_endpoint: stands beside providers/,
    ],
    ['providers that are no list', { providers: provider }, /^providers: must be a list of providers/],
    ['no providers', { providers: [] }, /^providers: must not be empty/],
    ['a provider that is no mapping', { providers: ['x'] }, /^providers\.0: must be a mapping/],
    [
      'a provider without an issuer',
      { providers: [provider, { discovery_url: 'https://b.example/.well-known/openid-configuration' }] },
      /^providers\.1\.issuer: is missing: among several providers/,
    ],
    [
      'the same provider twice',
      { providers: [provider, provider] },
      /^providers\.1\.issuer: is that of another provider in the list/,
    ],
    [
      'passwords for the second provider',
      { providers: [provider, { issuer: 'https://b.example', resource_owner_password: true }] },
      /^providers\.1\.resource_owner_password: is for the first provider only/,
    ],
    [
      'an option of the host in a provider',
      { providers: [{ ...provider, credential: 'token' }] },
      /^providers\.0\.credential: holds for the whole virtual host/,
    ],
    [
      'an unknown option in a provider',
      { hosts: { 'a.example': { providers: [{ ...provider, isuer: 'x' }] } } },
      /^hosts\."a\.example"\.providers\.0\.isuer: unknown option; did you mean issuer\?$/,
    ],
    ['hosts that are no mapping', { hosts: ['a.example'] }, /^hosts: must be a mapping/],
    ['a list', [], /must be a mapping/],
    [
      'a relative log file',
      { ...provider, log: { destination: 'bridge.log' } },
      /^log\.destination: must be auto, stderr or an absolute path/,
    ],
  ];
  for (const [title, config, ...messages] of wrong) {
    it(`is refused for ${title}`, () => {
      const found = problems(config);
      assert.equal(found.length, messages.length, found.join('\n'));
      for (const message of messages)
        assert.ok(
          found.some((problem) => message.test(problem)),
          `${message} in\n${found.join('\n')}`,
        );
    });
  }
});

describe('the sockets of serve', () => {
  const socket = { path: '/run/a.sock', protocol: 'extauth' };
  const port = { address: '127.0.0.1:4000', protocol: 'extauth' };
  /** A configuration with one socket, without the problems it has but for those of the sockets. */
  const one = (each: object): object => ({ ...provider, listen: [each] });
  const measured = (metrics: object): object => ({ ...provider, listen: [socket], metrics });

  it('has permissions for owner and group, and room for 2048 connections, when nothing else is said', () => {
    const { listen } = load(one(socket)).process;
    assert.deepEqual(listen, [{ ...socket, mode: 0o660, max_connections: 2048 }]);
  });

  for (const [title, mode, expected] of [
    ['as text', '0660', 0o660],
    ['as text without the zero', '600', 0o600],
    // YAML 1.2 reads 0660 without quotes as the number 660.
    ['as a number of the same digits', 660, 0o660],
  ] as const) {
    it(`takes a mode ${title}`, () =>
      assert.equal(load(one({ ...socket, mode })).process.listen?.[0]?.mode, expected));
  }

  for (const [address, expected] of [
    ['127.0.0.1:4000', { host: '127.0.0.1', port: 4000 }],
    ['127.8.9.10:1', { host: '127.8.9.10', port: 1 }],
    ['[::1]:4000', { host: '::1', port: 4000 }],
    ['localhost:4000', { host: 'localhost', port: 4000 }],
  ] as const) {
    it(`takes ${address}`, () =>
      assert.deepEqual(load(one({ address, protocol: 'extauth' })).process.listen?.[0]?.address, expected));
  }

  for (const [key, value, expected] of [
    ['allow_uids', 'prosody', ['prosody']],
    ['allow_gids', [4, 'adm'], [4, 'adm']],
    ['allow_uids', 0, [0]],
  ] as const) {
    it(`takes ${JSON.stringify(value)} for ${key}`, () =>
      assert.deepEqual(load(one({ ...socket, [key]: value })).process.listen?.[0]?.[key], expected));
  }

  for (const [title, config, warned] of [
    ['a mode that lets everybody in is warned of', one({ ...socket, mode: '0666' }), true],
    ['also at metrics', measured({ path: '/run/m.sock', mode: '0666' }), true],
    ['not where allow_uids decides', one({ ...socket, mode: '0666', allow_uids: 'prosody' }), false],
    ['not at a mode for a group', one({ ...socket, mode: '0660' }), false],
  ] as const) {
    it(title, () => {
      const { warnings } = load(config);
      assert.equal(
        warnings.some(({ path, message }) => /\.mode$/.test(path) && /everybody/.test(message)),
        warned,
      );
    });
  }

  for (const [title, listener, provider, warned] of [
    [
      'tokens by OAUTHBEARER where only UserInfo judges them are warned of',
      {},
      { validation: 'userinfo' },
      true,
    ],
    ['not where only PLAIN is offered', { mechanisms: ['PLAIN'] }, { validation: 'userinfo' }, false],
    ['nor where introspection says for whom they are', {}, {}, false],
  ] as const) {
    it(title, () => {
      const client = { issuer: 'https://id.example', client_id: 'xmpp', client_secret: 's' };
      const dovecot = { path: '/run/d', protocol: 'dovecot', host: 'a.example', ...listener };
      const { warnings } = load({ ...client, ...provider, listen: [dovecot] });
      assert.equal(
        warnings.some(({ path, message }) => path === 'credential' && /opaque token/.test(message)),
        warned,
      );
    });
  }

  const beyond = /^listen\.0\.address: must be of the loopback interface/;
  const noPlace = /^listen\.0: needs path, address or name: where to listen$/;
  const oddMode = /^listen\.0\.mode: must be permissions such as "0660"/;
  const wrong: [title: string, config: unknown, ...messages: RegExp[]][] = [
    ['no place', one({ protocol: 'extauth' }), noPlace],
    ['no place for metrics', measured({}), /^metrics: needs path, address or name/],
    [
      'a path and an address',
      one({ ...socket, ...port }),
      /^listen\.0\.address: is given, and path too: keep one of the two$/,
    ],
    ['no protocol', one({ path: '/run/a.sock' }), /^listen\.0\.protocol: /],
    ['another protocol', one({ ...socket, protocol: 'http' }), /^listen\.0\.protocol: must be /],
    ['a list in the place of a socket', one([]), /^listen\.0/],
    ['one socket without a list', { ...provider, listen: socket }, /^listen: must be a list of sockets$/],
    ['no sockets', { ...provider, listen: [] }, /^listen: must not be empty$/],
    ['every interface', one({ ...port, address: '0.0.0.0:4000' }), beyond],
    ['every interface of IPv6', one({ ...port, address: '[::]:4000' }), beyond],
    ['a private network', one({ ...port, address: '192.168.1.5:4000' }), beyond],
    ['a name that may be anywhere', one({ ...port, address: 'xmpp.example:4000' }), beyond],
    ['a name that begins like loopback', one({ ...port, address: '127.0.0.1.example:4000' }), beyond],
    ['IPv4 within IPv6', one({ ...port, address: '[::ffff:10.0.0.1]:4000' }), beyond],
    ['IPv6 without brackets', one({ ...port, address: '::1:4000' }), beyond],
    [
      'an address without a port',
      one({ ...port, address: '127.0.0.1' }),
      /^listen\.0\.address: must be an address and a port/,
    ],
    [
      'a port that there is not',
      one({ ...port, address: '127.0.0.1:70000' }),
      /^listen\.0\.address: must be an address and a port/,
    ],
    [
      'metrics for the whole network',
      measured({ address: '0.0.0.0:9100' }),
      /^metrics\.address: must be of the loopback interface/,
    ],
    [
      'a path that is not absolute',
      one({ ...socket, path: 'a.sock' }),
      /^listen\.0\.path: must be an absolute/,
    ],
    [
      'a path longer than the kernel takes',
      one({ ...socket, path: `/${'x'.repeat(107)}` }),
      /^listen\.0\.path: must not be longer than 107 bytes$/,
    ],
    [
      'a path of as many characters and more bytes',
      one({ ...socket, path: `/${'ü'.repeat(60)}` }),
      /^listen\.0\.path: must not be longer than 107 bytes$/,
    ],
    // What YAML makes of 0o660.
    ['a mode that is octal for YAML', one({ ...socket, mode: 0o660 }), oddMode],
    ['a mode that is octal for YAML and for all', one({ ...socket, mode: 0o666 }), oddMode],
    ['a mode that the owner cannot use', one({ ...socket, mode: '0460' }), oddMode],
    ['a mode with more than permissions', one({ ...socket, mode: '1660' }), oddMode],
    ['a mode in letters', one({ ...socket, mode: 'rw-rw----' }), oddMode],
    ['a mode of two digits', one({ ...socket, mode: '66' }), oddMode],
    [
      'a virtual host of extauth',
      one({ ...socket, host: 'a.example' }),
      /^listen\.0\.host: is for protocol: dovecot/,
    ],
    [
      'mechanisms of extauth',
      one({ ...socket, mechanisms: ['PLAIN'] }),
      /^listen\.0\.mechanisms: is for protocol: dovecot$/,
    ],
    [
      'a mechanism that there is not',
      one({ ...socket, protocol: 'dovecot', mechanisms: ['SCRAM-SHA-1'] }),
      /^listen\.0\.mechanisms\.0: must be of PLAIN/,
    ],
    [
      'a virtual host that is not listed',
      {
        hosts: { 'a.example': provider, '*.b.example': provider },
        listen: [
          { path: '/run/a', protocol: 'dovecot', host: 'A.example' },
          { path: '/run/b', protocol: 'dovecot', host: 'x.b.example' },
          { path: '/run/c', protocol: 'dovecot', host: 'c.example' },
        ],
      },
      /^listen\.2\.host: is not listed under hosts, so nobody could log in$/,
    ],
    [
      'more than one virtual host',
      {
        hosts: { '*.b.example': provider },
        listen: [{ path: '/run/a', protocol: 'dovecot', host: '*.b.example' }],
      },
      /^listen\.0\.host: must be one virtual host/,
    ],
    [
      'an unknown option',
      one({ ...socket, allow_uid: 'x' }),
      /^listen\.0\.allow_uid: unknown option; did you mean allow_uids\?$/,
    ],
    [
      'an unknown option of metrics',
      measured({ path: '/run/m.sock', grup: 'x' }),
      /^metrics\.grup: unknown option; did you mean group\?$/,
    ],
    [
      'a protocol of metrics',
      measured({ path: '/run/m.sock', protocol: 'extauth' }),
      /^metrics\.protocol: unknown option/,
    ],
    [
      'one path twice',
      { ...provider, listen: [socket, socket] },
      /^listen\.1: listens where another one does$/,
    ],
    [
      'one address twice',
      { ...provider, listen: [port, port] },
      /^listen\.1: listens where another one does$/,
    ],
    [
      'one name twice',
      {
        ...provider,
        listen: [
          { name: 'a', protocol: 'extauth' },
          { name: 'a', protocol: 'dovecot' },
        ],
      },
      /^listen\.1: listens where another one does$/,
    ],
    [
      'metrics where logins are',
      measured({ path: '/run/a.sock' }),
      /^metrics: listens where another one does$/,
    ],
    [
      'allow_uids at a port',
      one({ ...port, allow_uids: [0] }),
      /^listen\.0\.allow_uids: needs path: TCP does not say who connects$/,
    ],
    [
      'allow_gids at a port',
      one({ ...port, allow_gids: ['adm'] }),
      /^listen\.0\.allow_gids: needs path: TCP does not say who connects$/,
    ],
    [
      'a group at a port',
      one({ ...port, group: 'adm' }),
      /^listen\.0\.group: needs path: a port belongs to nobody$/,
    ],
    ['nobody allowed', one({ ...socket, allow_uids: [] }), /^listen\.0\.allow_uids/],
    ['a negative number', one({ ...socket, allow_uids: -1 }), /^listen\.0\.allow_uids/],
    ['no connections', one({ ...socket, max_connections: 0 }), /^listen\.0\.max_connections: /],
    [
      'a socket of one virtual host',
      { hosts: { 'a.example': { ...provider, listen: [socket] } } },
      /listen: holds for the whole process/,
    ],
    ['several mistakes', one({ mode: 1, protocl: 'extauth' }), /protocl: unknown/, /mode/, /protocol: /],
  ];
  for (const [title, config, ...messages] of wrong) {
    it(`are refused for ${title}`, () => {
      const found = problems(config);
      assert.equal(found.length, messages.length, found.join('\n'));
      for (const message of messages)
        assert.ok(
          found.some((problem) => message.test(problem)),
          `${message} in\n${found.join('\n')}`,
        );
    });
  }
});

describe('virtual hosts', () => {
  const hosts = createHosts(
    load({
      ...provider,
      http: { timeout: '1s', retries: 2 },
      hosts: {
        'a.example': { client_id: 'a', http: { retries: 0 } },
        '*.example': { client_id: 'any' },
        '*.deep.example': null,
        'B.example': { client_id: 'b' },
      },
    }),
    { afterwards() {} },
  );
  const table: [name: string, client: string | undefined][] = [
    ['a.example', 'a'],
    ['b.example', 'b'],
    ['c.example', 'any'],
    ['x.y.example', 'any'],
    ['x.deep.example', 'xmpp'],
    ['deep.example', 'any'],
    ['example', undefined],
    ['a.example.org', undefined],
    ['badexample', undefined],
    ['*.nowhere', undefined],
  ];
  for (const [name, client] of table) {
    it(`${name} has ${client === undefined ? 'no settings' : `those of client ${client}`}`, () => {
      assert.equal(hosts.find(name)?.settings.providers[0].client_id, client);
    });
  }
  it('inherit key by key, inside http too', () => {
    const { timeout, retries } = hosts.find('a.example')?.settings.providers[0].http ?? {};
    assert.deepEqual({ timeout, retries }, { timeout: 1000, retries: 0 });
    assert.equal(hosts.find('a.example')?.settings.providers[0].issuer, provider.issuer);
  });
});

describe('a client secret', () => {
  it('comes from a file, less its newline', () => {
    assert.equal(settings({ client_secret_file: secretFile('s3cret\n') }).clientSecret?.reveal(), 's3cret');
  });
  for (const mode of [0o640, 0o604, 0o660]) {
    it(`is refused from a file of mode ${mode.toString(8)}`, () => {
      const file = secretFile('s3cret', mode);
      assert.deepEqual(problems({ ...provider, client_secret_file: file }), [
        `client_secret_file: ${file} can be read by group or others: chmod 600`,
      ]);
    });
  }
  it('is refused from a file that is not there, empty, or of two lines', () => {
    assert.match(
      problems({ ...provider, client_secret_file: '/nonexistent/secret' })[0] ?? '',
      /does not exist/,
    );
    assert.match(
      problems({ ...provider, client_secret_file: secretFile('\n') })[0] ?? '',
      /must hold one line/,
    );
    assert.match(
      problems({ ...provider, client_secret_file: secretFile('a\nb') })[0] ?? '',
      /must hold one line/,
    );
  });
  it('comes from the variable', () => {
    assert.equal(
      settings({}, { EXTAUTH_OAUTH_CLIENT_SECRET: 'variable' }).clientSecret?.reveal(),
      'variable',
    );
  });
  it('comes from systemd, the one of the host before the one of all', () => {
    const folder = temporaryFolder();
    for (const name of ['client_secret', 'client_secret.a.example']) {
      writeFileSync(join(folder, name), name, { mode: 0o400 });
    }
    const { hosts } = load(
      { ...provider, hosts: { 'a.example': null, 'b.example': null } },
      { CREDENTIALS_DIRECTORY: folder },
    );
    assert.deepEqual(
      hosts.map(({ providers }) => providers[0].clientSecret?.reveal()),
      ['client_secret.a.example', 'client_secret'],
    );
  });
  it('comes from systemd as systemd shows it, to a group by its access list', () => {
    const folder = temporaryFolder();
    writeFileSync(join(folder, 'client_secret'), 'credential');
    chmodSync(join(folder, 'client_secret'), 0o440);
    assert.equal(settings({}, { CREDENTIALS_DIRECTORY: folder }).clientSecret?.reveal(), 'credential');
  });
  it('is missed where systemd has one that cannot be read', () => {
    const folder = temporaryFolder();
    symlinkSync('client_secret', join(folder, 'client_secret'));
    const found = problems(provider, { CREDENTIALS_DIRECTORY: folder });
    assert.equal(found.length, 1);
    assert.match(found[0] ?? '', /client_secret cannot be read/);
  });
  it('shows nothing, however it is printed', async () => {
    const { clientSecret } = settings({ client_secret: 'planted' });
    const { inspect } = await import('node:util');
    for (const shown of [
      `${clientSecret}`,
      JSON.stringify({ clientSecret }),
      inspect({ clientSecret }, { showHidden: true, depth: 9 }),
    ]) {
      assert.ok(!shown.includes('planted'), shown);
    }
  });
});

describe('what is said of one provider', () => {
  const top = { ...provider, token_endpoint: 'https://id.example/token', client_secret: 'of-the-top' };
  const other = { issuer: 'https://other.example', resource_owner_password: true };
  const hostOf = (config: object): ProviderSettings => settings(config);
  it('is not used for a host with another: no endpoint, no secret', () => {
    const host = hostOf({
      ...top,
      validation_endpoint: 'https://id.example/me',
      hosts: { 'b.example': other },
    });
    assert.equal(host.token_endpoint, undefined);
    assert.equal(host.validation_endpoint, undefined);
    assert.equal(host.clientSecret, undefined);
  });
  it('keeps its secret from a host with another client or endpoint', () => {
    for (const own of [{ client_id: 'b' }, { token_endpoint: 'https://b.example/token' }]) {
      assert.equal(hostOf({ ...top, hosts: { 'b.example': own } }).clientSecret, undefined);
    }
  });
  it('is inherited by a host that says nothing else', () => {
    const host = hostOf({ ...top, hosts: { 'b.example': { scope: 'x' } } });
    assert.equal(host.clientSecret?.reveal(), 'of-the-top');
    assert.equal(host.token_endpoint, top.token_endpoint);
  });
  it('is not used for a host with several others, nor for one of those with a name of its own', () => {
    const { hosts } = load({
      ...top,
      jwks_file: keySetFile(),
      scope: 'of-the-top',
      resource_owner_password: true,
      hosts: {
        'b.example': {
          providers: [
            { issuer: 'https://b.example', client_secret: 'of-b' },
            { issuer: 'https://c.example', scope: 'of-c' },
          ],
        },
      },
    });
    const [b, c] = hosts[0]?.providers ?? [];
    assert.deepEqual(
      [b?.token_endpoint, b?.keys, b?.clientSecret?.reveal(), b?.scope, b?.passwords],
      [undefined, undefined, 'of-b', 'of-the-top', true],
    );
    assert.deepEqual(
      [c?.token_endpoint, c?.keys, c?.clientSecret, c?.scope, c?.passwords],
      [undefined, undefined, undefined, 'of-c', false],
    );
  });
  it('is no credential for the others, when it has the name of the host', () => {
    const folder = temporaryFolder();
    writeFileSync(join(folder, 'client_secret.chat.example'), 'of-the-host', { mode: 0o400 });
    const providers = [provider, { issuer: 'https://stranger.example', client_id: 'xmpp' }];
    const { hosts } = load({ hosts: { 'chat.example': { providers } } }, { CREDENTIALS_DIRECTORY: folder });
    assert.deepEqual(
      hosts[0]?.providers.map(({ clientSecret }) => clientSecret?.reveal()),
      ['of-the-host', undefined],
    );
  });
  it('is no certificate for a host with another', () => {
    const { cert, key } = selfSigned('xmpp');
    const http = { cert_file: secretFile(cert), key_file: secretFile(key) };
    const { hosts } = load({
      ...provider,
      http: { ...http, timeout: '2s' },
      hosts: { 'a.example': null, 'b.example': { issuer: 'https://b.example' } },
    });
    const [a, b] = hosts.map(({ providers }) => providers[0]);
    assert.ok(a?.certificate);
    assert.deepEqual([b?.certificate, b?.http.cert_file, b?.http.timeout], [undefined, undefined, 2000]);
  });
  it('is no secret of the process for another revocation endpoint', () => {
    const hosts = { 'a.example': null, 'b.example': { revocation_endpoint: 'https://b.example/revoke' } };
    assert.match(
      problems({ ...provider, hosts }, { EXTAUTH_OAUTH_CLIENT_SECRET: 'x' })[0] ?? '',
      /one secret for all/,
    );
  });
  it('is no secret for several of them', () => {
    const hosts = {
      'a.example': { issuer: 'https://a.example' },
      'b.example': { issuer: 'https://b.example' },
    };
    const env = { EXTAUTH_OAUTH_CLIENT_SECRET: 'x' };
    assert.match(problems({ client_id: 'x', hosts }, env)[0] ?? '', /one secret for all/);
    assert.deepEqual(problems({ ...provider, hosts: { 'a.example': null, 'b.example': null } }, env), []);
  });
});

describe('the file', () => {
  it('is looked for where the contract says, and never in the working directory', () => {
    const home = temporaryFolder();
    const { places } = locateConfig({ env: { XDG_CONFIG_HOME: home } });
    assert.deepEqual(places, [
      ...['yml', 'yaml', 'json'].map((ending) => join(home, `extauth-oauth/config.${ending}`)),
      ...['yml', 'yaml', 'json'].map((ending) => `/etc/extauth-oauth/config.${ending}`),
    ]);
    assert.equal(locateConfig({ config: '/a', env: { EXTAUTH_OAUTH_CONFIG: '/b' } }).file, '/a');
    assert.equal(locateConfig({ env: { EXTAUTH_OAUTH_CONFIG: '/b', XDG_CONFIG_HOME: home } }).file, '/b');
    assert.equal(
      locateConfig({ env: { HOME: home } }).places[0],
      join(home, '.config/extauth-oauth/config.yml'),
    );
    mkdirSync(join(home, 'extauth-oauth'));
    writeFileSync(join(home, 'extauth-oauth/config.yaml'), '');
    assert.equal(
      locateConfig({ env: { XDG_CONFIG_HOME: home } }).file,
      join(home, 'extauth-oauth/config.yaml'),
    );
  });

  function problemOf(name: string, content: string, prepare: (file: string) => void = () => {}): string {
    const file = join(temporaryFolder(), name);
    writeFileSync(file, content, { mode: 0o600 });
    prepare(file);
    try {
      loadConfig({ config: file, env: {} });
      return 'none';
    } catch (error) {
      return (error as Error).message.replace(file, name);
    }
  }
  const yaml = 'issuer: https://id.example\nclient_id: xmpp\n';
  const table: [
    title: string,
    problem: RegExp,
    name: string,
    content: string,
    prepare?: (file: string) => void,
  ][] = [
    ['YAML', /^none$/, 'config.yml', yaml],
    ['a script', /is data, never code/, 'config.js', 'throw 1'],
    ['TypeScript', /is data, never code/, 'config.ts', 'throw 1'],
    [
      'broken YAML',
      /is not valid YAML: .* in line 2/,
      'config.yml',
      'issuer: x\n  client_secret: planted: x',
    ],
    [
      'a key twice',
      /is not valid YAML: duplicated mapping key in line 2/,
      'config.yml',
      'issuer: a\nissuer: b',
    ],
    ['a secret that is a YAML tag', /is not valid YAML: /, 'config.yml', 'client_secret: !plan^ted'],
    ['a secret that is a YAML alias', /is not valid YAML: /, 'config.yml', 'client_secret: *planted"x'],
    ['broken JSON', /is not valid JSON: see line 2/, 'config.json', '{"client_secret":"planted",\n}'],
    ['nothing', /is empty/, 'config.yml', ' \n'],
    [
      'a file everybody can write',
      /can be written by everybody/,
      'config.yml',
      yaml,
      (file) => chmodSync(file, 0o602),
    ],
    [
      'a secret everybody can read',
      /can be read by everybody/,
      'config.yml',
      `${yaml}client_secret: planted\n`,
      (file) => chmodSync(file, 0o644),
    ],
    ['no secret, and everybody can read', /^none$/, 'config.yml', yaml, (file) => chmodSync(file, 0o644)],
    ['$import of a script', /\$import.*unknown option/, 'config.yml', `${yaml}$import: ./evil.js\n`],
  ];
  for (const [title, problem, name, content, prepare] of table) {
    it(`with ${title}: ${problem.source}`, () => {
      const found = problemOf(name, content, prepare);
      assert.match(found, problem);
      assert.ok(!found.includes('planted'), found);
    });
  }
  it('of another user is refused', () => {
    const file = writeConfig(provider);
    const read = (): { text: string; mode: number; owner: number } => ({
      text: '{}',
      mode: 0o600,
      owner: 12_345,
    });
    assert.throws(() => loadConfig({ config: file, env: {} }, { read }), /belongs to another user/);
  });
  it('named by a relative path is refused', () => {
    assert.throws(() => loadConfig({ config: 'config.yml', env: {} }), /must be an absolute path/);
  });
  it('leaves scripts of the working directory alone', () => {
    const folder = temporaryFolder();
    const proof = join(folder, 'executed');
    mkdirSync(join(folder, '.config'));
    for (const name of [
      '.config/config.js',
      '.config/config.cjs',
      '.config/config.mjs',
      'extauth-oauth.config.js',
      '.extauth-oauthrc.js',
      'config.js',
    ]) {
      writeFileSync(join(folder, name), `require('fs').writeFileSync(${JSON.stringify(proof)}, '')`);
    }
    const before = process.cwd();
    process.chdir(folder);
    try {
      load(provider);
      loadConfigOf(folder);
    } finally {
      process.chdir(before);
    }
    assert.ok(!existsSync(proof));
  });
});

function loadConfigOf(home: string): void {
  assert.throws(() => loadConfig({ env: { XDG_CONFIG_HOME: join(home, 'nothing') } }), ConfigError);
}
