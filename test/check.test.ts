// `check`, of our own side: the configuration, its files and sockets, the provider, our client there, a sample token.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { dirname, join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import type { Finding } from '../src/check/finding.ts';
import { check } from '../src/commands/check.ts';
import { temporaryFolder, writeConfig } from './support/bridge.ts';
import { type Behaviour, type Scripted, selfSigned, startScripted } from './support/scripted-provider.ts';
import { createSigner } from './support/signer.ts';

interface Ran {
  readonly code: number;
  readonly findings: readonly Finding[];
  /** What is not in order: level and thing. */
  readonly wrong: readonly string[];
}

/** A machine without XMPP servers, with the accounts that a test names. */
function emptyMachine(passwd = ''): string {
  const folder = temporaryFolder();
  mkdirSync(join(folder, 'etc'));
  writeFileSync(join(folder, 'etc/passwd'), passwd);
  return folder;
}

async function run(
  config: unknown,
  {
    token,
    machine = emptyMachine(),
    ...options
  }: { token?: string; machine?: string; prosody?: string; ejabberd?: string } = {},
): Promise<Ran> {
  const lines: string[] = [];
  const code = await check({
    config: typeof config === 'string' ? config : writeConfig(config),
    json: true,
    root: machine,
    readToken: async () => token,
    print: (line) => lines.push(line),
    ...options,
  });
  const { findings, ...counts } = JSON.parse(lines.join('\n')) as { code: number; findings: Finding[] };
  assert.equal(counts.code, code);
  return {
    code,
    findings,
    wrong: findings.filter(({ level }) => level !== 'ok').map(({ level, what }) => `${level} ${what}`),
  };
}

/** All that is said of one thing. */
function textOf({ findings }: Ran, what: string): string {
  const found = findings.filter((each) => each.what === what);
  return found.map(({ found, why, line }) => [found, why, line].join(' ')).join(' ');
}

function metadataOf({ origin, endpoints }: Scripted, more: object = {}): Behaviour {
  return {
    body: {
      issuer: origin,
      token_endpoint: endpoints.token,
      userinfo_endpoint: endpoints.userinfo,
      introspection_endpoint: endpoints.introspection,
      revocation_endpoint: endpoints.revocation,
      jwks_uri: endpoints.jwks,
      ...more,
    },
  };
}

/** A provider whose tokens are JWTs, as most are. */
function publishKeys(provider: Scripted): void {
  provider.set('discovery', metadataOf(provider));
  provider.set('jwks', { body: { keys: [signer.jwk] } });
}

const signer = createSigner('ES256');

describe('check', () => {
  let provider: Scripted;
  before(async () => {
    provider = await startScripted();
  });
  beforeEach(() => {
    provider.reset();
    publishKeys(provider);
  });
  after(() => provider.stop());

  const SECRET = 'canary-of-the-client-secret';
  const passwords = (more: object = {}): object => ({
    issuer: provider.origin,
    client_id: 'xmpp',
    client_secret: SECRET,
    resource_owner_password: true,
    scope: 'openid profile',
    ...more,
  });
  const tokens = (more: object = {}): object => ({ issuer: provider.origin, client_id: 'xmpp', ...more });

  it('finds nothing wrong with what is right, but the password grant itself', async () => {
    const ran = await run(passwords());
    assert.deepEqual(ran.wrong, ['warning resource_owner_password']);
    assert.equal(ran.code, 0);
    const things = ran.findings.map(({ what }) => what);
    for (const what of [
      'configuration',
      'discovery',
      'clock',
      'keys',
      'introspection',
      'UserInfo',
      'password grant',
    ])
      assert.ok(things.includes(what), what);
  });

  it('prints a table for people, whose lines to copy are not broken', async () => {
    const lines: string[] = [];
    const config = writeConfig(passwords({ scope: 'openid' }));
    const code = await check({
      config,
      root: emptyMachine(),
      columns: 90,
      print: (line) => lines.push(line),
    });
    assert.equal(code, 0);
    assert.ok(
      lines.every((line) => line.length <= 90 || line.includes('->') || !line.includes(' ', 44)),
      lines.join('\n'),
    );
    assert.match(
      lines.join('\n'),
      /^warning {2}scope {30}openid: most providers[\s\S]*^ {44}-> scope: openid profile$/m,
    );
  });

  describe('of the configuration', () => {
    it('tells all problems at once, with what may have been meant', async () => {
      const ran = await run(tokens({ usrname_field: 'x', deadline: 'soon' }));
      assert.equal(ran.code, 78);
      assert.deepEqual(ran.wrong, ['ERROR deadline', 'ERROR usrname_field']);
      assert.match(textOf(ran, 'usrname_field'), /did you mean username_field\? .*username_field: \.\.\.$/);
    });

    it('calls unsafe what lets strangers in, and says what closes it', async () => {
      const ran = await run({ issuer: provider.origin });
      assert.equal(ran.code, 78);
      assert.ok(ran.wrong.includes('ERROR audience'), ran.wrong.join());
      assert.match(textOf(ran, 'audience'), /any other website .*client_id/);
    });

    it('finds a secret that others can read, and how to hide it', async () => {
      const file = join(temporaryFolder(), 'secret');
      writeFileSync(file, SECRET);
      chmodSync(file, 0o644);
      const ran = await run(tokens({ client_secret_file: file }));
      assert.equal(ran.code, 78);
      assert.match(textOf(ran, 'client_secret_file'), new RegExp(`chmod 600 ${file}$`));
    });

    it('finds a secret that the user of the server cannot read', async () => {
      const folder = temporaryFolder();
      for (const each of [folder, dirname(folder)]) chmodSync(each, 0o755);
      const file = join(folder, 'secret');
      writeFileSync(file, SECRET, { mode: 0o600 });
      const config = join(folder, 'config.json');
      writeFileSync(config, JSON.stringify(tokens({ client_secret_file: file })));
      chmodSync(config, 0o644);
      const machine = emptyMachine('prosody:x:64002:64002::/var/lib/prosody:/bin/false\n');
      mkdirSync(join(machine, 'etc/prosody'));
      writeFileSync(
        join(machine, 'etc/prosody/prosody.cfg.lua'),
        'authentication = "external_insecure"\nVirtualHost "chat.example"\n',
      );
      const ran = await run(config, { machine });
      assert.match(
        textOf(ran, file),
        new RegExp(`cannot be read by prosody.* is 0600 .* chown prosody ${file}$`),
      );
      chownSync(file, 64002, 64002);
      // As root, whose own check of it holds all the same.
      const repaired = await run(config, { machine });
      assert.ok(!repaired.wrong.includes(`ERROR ${file}`), repaired.wrong.join());
    });
  });

  describe('of the state', () => {
    it('finds a folder that the user of the server does not own', async () => {
      const folder = temporaryFolder();
      chownSync(folder, 64003, 64003);
      const machine = emptyMachine('prosody:x:64002:64002::/var/lib/prosody:/bin/false\n');
      mkdirSync(join(machine, 'etc/prosody'));
      writeFileSync(
        join(machine, 'etc/prosody/prosody.cfg.lua'),
        'authentication = "external_insecure"\nVirtualHost "chat.example"\n',
      );
      const ran = await run(tokens({ state: `lmdb:${folder}` }), { machine });
      assert.match(
        textOf(ran, 'state'),
        new RegExp(`another user than prosody.*chown -R prosody ${folder}$`),
      );
      chownSync(folder, 64002, 64002);
      assert.ok(!(await run(tokens({ state: `lmdb:${folder}` }), { machine })).wrong.includes('ERROR state'));
    });

    it('warns where known users are forgotten with each start', async () => {
      const ran = await run(tokens({ user_exists: 'known' }));
      assert.deepEqual(ran.wrong, ['warning user_exists']);
    });

    it('asks the directory of user_lookup for somebody who does not exist', async () => {
      const lookup = (path: string): object => ({
        user_exists: 'lookup',
        user_lookup: { type: 'http', url: `${provider.origin}${path}?name={localpart}` },
      });
      assert.deepEqual((await run(tokens(lookup('/nobody')))).wrong, []);
      provider.set('revocation', ({ url }) => ({
        body: { username: new URL(url, 'http://x').searchParams.get('name') },
      }));
      const ran = await run(tokens(lookup('/revoke')));
      assert.deepEqual(ran.wrong, ['ERROR user_lookup']);
      assert.match(textOf(ran, 'user_lookup'), /found a user that nobody is/);
    });
  });

  describe('of the sockets', () => {
    const servers: Server[] = [];
    afterEach(() => {
      for (const server of servers.splice(0)) server.close();
    });
    const listening = async (path: string, mode: number): Promise<void> => {
      const server = createServer((socket) => socket.destroy());
      servers.push(server);
      server.listen(path);
      await once(server, 'listening');
      chmodSync(path, mode);
    };
    const listen = (path: string, more: object = {}): object =>
      tokens({ listen: [{ protocol: 'extauth', path, ...more }] });

    it('finds nothing wrong where somebody listens with the right mode', async () => {
      const path = join(temporaryFolder(), 's');
      await listening(path, 0o660);
      assert.deepEqual((await run(listen(path))).wrong, []);
    });

    const faults: [string, RegExp, (folder: string) => Promise<object> | object][] = [
      [
        'a folder that is not there',
        /folder .*\/none does not exist .*install -d/,
        (folder) => listen(join(folder, 'none/s')),
      ],
      [
        'a path that is too long',
        /not be longer than 107 bytes/,
        (folder) => listen(join(folder, 'x'.repeat(100))),
      ],
      [
        'a file in its place',
        /is there and no socket/,
        (folder) => {
          writeFileSync(join(folder, 's'), '');
          return listen(join(folder, 's'));
        },
      ],
      [
        'a socket that is not there',
        /is not there: serve does not run/,
        (folder) => listen(join(folder, 's')),
      ],
      [
        'another mode',
        /is 0600, and the configuration says 0660/,
        async (folder) => {
          await listening(join(folder, 's'), 0o600);
          return listen(join(folder, 's'));
        },
      ],
      [
        'another group',
        /is of group \d+, and the configuration says 1/,
        async (folder) => {
          await listening(join(folder, 's'), 0o660);
          return listen(join(folder, 's'), { group: 1 });
        },
      ],
      [
        'a group that does not exist',
        /there is no group nowhere-at-all/,
        async (folder) => {
          await listening(join(folder, 's'), 0o660);
          return listen(join(folder, 's'), { group: 'nowhere-at-all' });
        },
      ],
      [
        'a stale socket',
        /is stale: a daemon has left it behind/,
        (folder) => {
          const path = join(folder, 's');
          // Ended without closing: the name stays.
          const script = `require('net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`;
          try {
            execFileSync(process.execPath, ['-e', script], { stdio: 'ignore' });
          } catch {
            // By its own signal.
          }
          return listen(path);
        },
      ],
    ];
    for (const [title, says, config] of faults) {
      it(`finds ${title}`, async () => {
        const { findings } = await run(await config(temporaryFolder()));
        const wrong = findings.filter(({ level }) => level !== 'ok');
        assert.equal(wrong.length, 1, JSON.stringify(wrong));
        assert.match(wrong.map(({ found, line }) => `${found} ${line}`).join(), says);
      });
    }
  });

  describe('of the provider', () => {
    it('finds a clock that is wrong, by how much, and when tokens fail for it', async () => {
      const off = (seconds: number): Behaviour => ({
        headers: { date: new Date(Date.now() + seconds * 1000).toUTCString() },
        body: { keys: [signer.jwk] },
      });
      provider.set('jwks', off(-120));
      const ahead = await run(tokens());
      assert.deepEqual(ahead.wrong, ['ERROR clock']);
      assert.match(textOf(ahead, 'clock'), /is 1(?:19|20|21) s ahead of .*clock_skew \(30 s\)/);
      provider.set('jwks', off(15));
      assert.deepEqual((await run(tokens())).wrong, ['warning clock']);
      provider.set('jwks', { ...off(-60), headers: { ...off(-60).headers, age: '60' } });
      assert.deepEqual((await run(tokens())).wrong, [], "a cache's answer");
    });

    it('finds metadata of another issuer', async () => {
      provider.set('discovery', { body: { issuer: `${provider.origin}/` } });
      const ran = await run(tokens());
      assert.deepEqual(ran.wrong, ['ERROR discovery']);
      assert.match(textOf(ran, 'discovery'), /own spelling/);
      assert.equal(ran.code, 1);
    });

    const metadata = (more: object): Behaviour => metadataOf(provider, more);

    it('finds an endpoint on another host, and what to write if that is right', async () => {
      provider.set('discovery', metadata({ userinfo_endpoint: 'https://elsewhere.example/me' }));
      const ran = await run(tokens());
      assert.deepEqual(ran.wrong, ['ERROR validation_endpoint']);
      assert.match(textOf(ran, 'validation_endpoint'), /trusted_endpoint_hosts: \[elsewhere\.example\]$/);
    });

    it('finds an endpoint without https', async () => {
      provider.set('discovery', metadata({ token_endpoint: 'http://id.example/token' }));
      const ran = await run(passwords({ trusted_endpoint_hosts: ['id.example'] }));
      assert.deepEqual(ran.wrong, ['warning resource_owner_password', 'ERROR token_endpoint']);
      assert.match(textOf(ran, 'token_endpoint'), /without https/);
    });

    it('finds keys that cannot be had', async () => {
      provider.set('jwks', { status: 500 });
      assert.deepEqual((await run(tokens({ validation: 'jwt' }))).wrong, ['ERROR keys']);
    });

    it('finds that nothing revokes what passwords leave behind', async () => {
      provider.set('discovery', metadata({ revocation_endpoint: undefined }));
      assert.deepEqual((await run(passwords())).wrong, [
        'warning resource_owner_password',
        'warning revocation_endpoint',
      ]);
    });

    it('finds the scope without openid, which UserInfo needs', async () => {
      const ran = await run(passwords({ scope: 'profile' }));
      assert.deepEqual(ran.wrong, ['warning resource_owner_password', 'warning scope']);
      assert.match(textOf(ran, 'scope'), /scope: openid profile$/);
    });
  });

  describe('of the certificate', () => {
    const withTls = async (
      cert: { key: string; cert: string },
      config: (origin: string, ca: string) => object,
    ): Promise<Ran> => {
      const secure = await startScripted({ tls: cert });
      publishKeys(secure);
      const ca = join(temporaryFolder(), 'ca.pem');
      writeFileSync(ca, cert.cert);
      try {
        return await run(config(secure.origin, ca));
      } finally {
        await secure.stop();
      }
    };
    const ofDays = (days: number): { key: string; cert: string } => {
      const folder = temporaryFolder();
      const [key, cert] = [join(folder, 'key'), join(folder, 'cert')];
      const subject = ['-subj', '/CN=check', '-addext', 'subjectAltName=IP:127.0.0.1'];
      execFileSync(
        'openssl',
        [
          'req',
          '-x509',
          '-newkey',
          'ec',
          '-pkeyopt',
          'ec_paramgen_curve:prime256v1',
          '-nodes',
          '-days',
          `${days}`,
          ...subject,
          '-keyout',
          key,
          '-out',
          cert,
        ],
        { stdio: 'pipe' },
      );
      return { key: readFileSync(key, 'utf8'), cert: readFileSync(cert, 'utf8') };
    };
    const trusting = (origin: string, ca_file: string): object => ({
      issuer: origin,
      client_id: 'xmpp',
      http: { ca_file },
    });

    it('counts its days, and warns when there are few', async () => {
      assert.deepEqual((await withTls(ofDays(90), trusting)).wrong, []);
      const ran = await withTls(ofDays(20), trusting);
      assert.match(ran.wrong.join(), /^warning certificate of 127\.0\.0\.1:\d+$/);
      assert.match(
        ran.findings.map(({ found }) => found).join(),
        /1 in its chain, good for (?:19|20) days yet/,
      );
    });

    it('finds one that is not accepted, and why', async () => {
      const ran = await withTls(selfSigned('127.0.0.1'), (issuer) => ({ issuer, client_id: 'xmpp' }));
      assert.match(ran.wrong.join(), /^ERROR certificate of [^,]*,ERROR discovery$/);
      assert.match(
        ran.findings.map(({ found, line }) => `${found} ${line}`).join(),
        /signed itself \(DEPTH_ZERO_SELF_SIGNED_CERT\) http: \{ ca_file:/,
      );
      const other = await withTls(selfSigned('id.example'), trusting);
      assert.match(
        other.findings.map(({ found }) => found).join(),
        /another name \(ERR_TLS_CERT_ALTNAME_INVALID\)/,
      );
    });
  });

  describe('of our client at the token endpoint', () => {
    const refusal = (
      error: string | undefined,
      status = 400,
      error_description = 'canary of a description',
    ): Behaviour => ({
      status,
      body: error === undefined ? '' : { error, error_description },
    });
    const cases: [title: string, Behaviour, level: string, RegExp][] = [
      [
        'a wrong secret',
        refusal('invalid_client', 401),
        'ERROR',
        /or its secret is wrong \(invalid_client\)/,
      ],
      [
        'a wrong secret, in the words of Keycloak',
        refusal('unauthorized_client', 401),
        'ERROR',
        /or its secret is wrong/,
      ],
      [
        'a grant that is not for it',
        refusal('unauthorized_client'),
        'ERROR',
        /knows our client and its secret.*Direct access grants/,
      ],
      [
        'a grant that is for nobody',
        refusal('unsupported_grant_type'),
        'ERROR',
        /does not offer the password grant.*resource_owner_password: false/,
      ],
      ['that consent is missing', refusal('consent_required'), 'ERROR', /wants the users' consent/],
      [
        'that consent is missing, in the words of Entra ID',
        refusal('invalid_grant', 400, 'AADSTS65001: the user has not'),
        'ERROR',
        /wants the users' consent/,
      ],
      ['that a browser is wanted', refusal('interaction_required'), 'ERROR', /come with a browser/],
      ['a scope that is not known', refusal('invalid_scope'), 'ERROR', /does not know the scope/],
      [
        'a request that is not understood',
        refusal('invalid_request'),
        'ERROR',
        /does not understand the request/,
      ],
      ['a refusal without a reason', refusal(undefined, 401), 'warning', /without a reason/],
      [
        'a login page',
        { status: 302, headers: { location: '/login' } },
        'ERROR',
        /answered with status 302: is token_endpoint right\?/,
      ],
      [
        'a token for nobody',
        { body: { access_token: 'canary of a token', token_type: 'Bearer' } },
        'ERROR',
        /anybody could log in as anybody/,
      ],
    ];
    for (const [title, answer, level, says] of cases) {
      it(`finds ${title}`, async () => {
        provider.set('token', answer);
        const ran = await run(passwords());
        assert.deepEqual(ran.wrong, ['warning resource_owner_password', `${level} password grant`]);
        assert.match(textOf(ran, 'password grant'), says);
        assert.ok(!JSON.stringify(ran.findings).includes('canary'), 'quoted');
      });
    }

    it('finds that the provider wants the secret elsewhere', async () => {
      provider.set('token', ({ headers }) =>
        headers.authorization === undefined ? refusal('invalid_client', 401) : refusal('invalid_grant'),
      );
      const ran = await run(passwords());
      assert.match(textOf(ran, 'password grant'), /knows it by basic .*client_auth_method: basic$/);
    });
  });

  describe('of a sample token', () => {
    it('shows the names of its claims, not what they say, and who it would be', async () => {
      const now = Math.floor(Date.now() / 1000);
      const token = await signer.token({
        iss: provider.origin,
        aud: 'xmpp',
        exp: now + 600,
        sub: 'canary-of-a-subject',
        email: 'canary@example.org',
        preferred_username: 'alice',
      });
      const ran = await run(tokens(), { token: `${token}\n` });
      assert.deepEqual(ran.wrong, []);
      assert.match(textOf(ran, 'its claims'), /iss, aud, exp, sub, email, preferred_username/);
      assert.match(textOf(ran, 'its user'), /^alice logs in with it \(judged by jwt\)/);
      const all = JSON.stringify(ran.findings);
      assert.ok(!all.includes('canary') && !all.includes(token), all);
    });

    it('tells the claims of an opaque one as the provider has them', async () => {
      const ran = await run(tokens({ validation: 'userinfo' }), { token: 'alice-token' });
      assert.match(textOf(ran, 'its claims'), /^sub, preferred_username \(UserInfo\)/);
      assert.match(textOf(ran, 'its user'), /^alice logs in/);
    });

    it('says why one is refused', async () => {
      const exp = Math.floor(Date.now() / 1000) + 600;
      const token = await signer.token({
        iss: provider.origin,
        aud: 'website',
        exp,
        preferred_username: 'alice',
      });
      const ran = await run(tokens(), { token });
      assert.deepEqual(ran.wrong, ['ERROR its user']);
      assert.match(textOf(ran, 'its user'), /^refused \(aud_mismatch\)/);
      assert.equal(ran.code, 1);
    });
  });
});
