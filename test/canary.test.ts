// Nothing that is secret may leave by another door than the one it is meant for. Planted, used in every way, looked for.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { program, startBridge, temporaryFolder, writeConfig } from './support/bridge.ts';
import { type Behaviour, type Scripted, startScripted } from './support/scripted-provider.ts';
import { createSigner } from './support/signer.ts';

const canaries = {
  password: 'canaryPassword-7f3a',
  otherPassword: 'canaryOther-91bc',
  accessToken: 'canaryAccess-5d2e',
  refreshToken: 'canaryRefresh-c04f',
  userToken: 'canaryUserToken-aa17',
  clientSecret: 'canaryClientSecret-e8b6',
};

/** Secrets in every form in which they might appear. */
function forms(secret: string): string[] {
  return [
    secret,
    Buffer.from(secret).toString('base64').slice(0, -4),
    Buffer.from(`xmpp:${secret}`).toString('base64').slice(0, -4),
    encodeURIComponent(secret),
  ];
}

function assertClean(text: string, where: string): void {
  for (const [name, secret] of Object.entries(canaries)) {
    for (const form of forms(secret)) assert.ok(!text.includes(form), `${name} in ${where}`);
  }
}

describe('no secret', () => {
  let provider: Scripted;
  before(async () => {
    provider = await startScripted();
  });
  after(() => provider.stop());

  /** What a provider may send back that quotes what it was sent. */
  const echo = canaries.password + canaries.userToken + canaries.clientSecret;
  const token: Behaviour[] = [
    {
      body: {
        access_token: canaries.accessToken,
        refresh_token: canaries.refreshToken,
        token_type: 'Bearer',
      },
    },
    { status: 400, body: { error: 'invalid_grant', error_description: echo } },
    { status: 400, body: { error: echo, error_description: echo } },
    { status: 401, body: { error: 'invalid_client', error_description: echo } },
    { status: 400, body: echo },
    { status: 302, headers: { location: `http://127.0.0.1:1/?${echo}` } },
    { status: 500, body: echo },
    { body: `{"access_token": "${canaries.accessToken}" broken` },
    { body: { access_token: canaries.accessToken, token_type: echo } },
    { raw: `HTTP/1.1 200 ${echo}\r\nx: \x01${echo}\r\n\r\n` },
    { reset: 'midBody', body: echo },
    {
      headers: { 'x-echo': echo },
      body: { access_token: `${canaries.accessToken}\r\nx: y`, token_type: 'bearer' },
    },
  ];
  const userinfo: Behaviour[] = [
    { body: { sub: '1', preferred_username: 'alice', echo } },
    { body: { sub: '1', preferred_username: canaries.userToken } },
    { body: { sub: '1', email: echo } },
    { status: 401, headers: { 'www-authenticate': `Bearer error="${echo}"` }, body: echo },
    { status: 500, body: echo },
    { body: `<html>${echo}` },
    { reset: 'beforeHeaders' },
  ];

  for (const client_auth_method of ['post', 'basic', 'basic_raw']) {
    it(`is in the log, on stdout or among the arguments, whatever the provider does, with ${client_auth_method}`, async () => {
      const secret = join(temporaryFolder(), 'secret');
      writeFileSync(secret, canaries.clientSecret, { mode: 0o600 });
      const bridge = startBridge({
        config: {
          token_endpoint: provider.endpoints.token,
          validation_endpoint: provider.endpoints.userinfo,
          revocation_endpoint: provider.endpoints.revocation,
          client_id: 'xmpp',
          client_secret_file: secret,
          client_auth_method,
          token_prefix: 'token:',
          http: { timeout: '500ms' },
          log: { level: 'debug' },
        },
      });
      try {
        for (const behaviour of token) {
          provider.set('token', behaviour);
          for (const answer of userinfo) {
            provider.set('userinfo', answer);
            await bridge.ask(`auth:alice:example.org:${canaries.password}`);
          }
        }
        for (const answer of userinfo) {
          provider.set('userinfo', answer);
          await bridge.ask(`auth:alice:example.org:token:${canaries.userToken}`);
          await bridge.ask(`auth:alice:example.org:token:${canaries.userToken}\r\nx: y`);
        }
        for (const op of ['setpass', 'tryregister', 'removeuser3', 'certauth', 'auth:', 'nonsense']) {
          await bridge.ask(`${op}:alice:example.org:${canaries.otherPassword}`);
        }
        assertClean(readFileSync(`/proc/${bridge.child.pid}/cmdline`, 'latin1'), 'the arguments');
        assertClean(readFileSync(`/proc/${bridge.child.pid}/environ`, 'latin1'), 'the environment');
        await sleep(200);
        const used = provider.seen.map(({ headers, body }) => JSON.stringify(headers) + body).join('');
        for (const name of ['password', 'userToken', 'accessToken', 'refreshToken'] as const) {
          assert.ok(used.includes(canaries[name]), `${name} was in use`);
        }
        assert.equal(bridge.unread().length, 0);
        assert.ok(bridge.logLines().length > 80);
      } finally {
        await bridge.stop();
        provider.reset();
      }
      assertClean(bridge.log(), 'the log');
    });
  }

  for (const method of ['post', 'basic', 'private_key_jwt']) {
    it(`is in the log when tokens are introspected and JWTs judged, whatever the answers say, with ${method}`, async () => {
      const file = join(temporaryFolder(), 'secret');
      const signer = createSigner('ES256', 'k');
      const pem = String(signer.privateKey.export({ type: 'pkcs8', format: 'pem' }));
      const signs = method === 'private_key_jwt';
      writeFileSync(file, signs ? pem : canaries.clientSecret, { mode: 0o600 });
      const { origin, endpoints } = provider;
      const bridge = startBridge({
        config: {
          issuer: origin,
          client_id: 'xmpp',
          [signs ? 'client_key_file' : 'client_secret_file']: file,
          client_auth_method: method,
          introspection_endpoint: endpoints.introspection,
          jwks_uri: endpoints.jwks,
          resource_owner_password: true,
          token_prefix: 'token:',
          http: { timeout: '500ms' },
          log: { level: 'debug' },
        },
      });
      const said = { iss: origin, aud: 'xmpp', exp: 4e9, sub: '1', preferred_username: canaries.accessToken };
      const jwts = [
        await signer.token({ ...said, [echo]: echo }),
        await signer.token(said, { kid: echo }),
        await signer.token(said, { typ: echo }),
        await signer.token({ ...said, iss: echo }),
        await signer.token({ ...said, aud: echo, azp: echo }),
        await signer.token({ ...said, preferred_username: 5 }),
        createSigner('ES256', 'k').forge(said, { alg: 'ES256', kid: 'k' }),
        signer.forge(said, { alg: echo, kid: 'k' }),
      ];
      const introspection: Behaviour[] = [
        { body: { active: true, client_id: 'xmpp', preferred_username: canaries.userToken } },
        { body: { active: true, client_id: echo } },
        { body: { active: echo } },
        { body: echo },
        { status: 401, body: echo },
        { status: 302, headers: { location: `http://127.0.0.1:1/?${echo}` } },
        { headers: { 'content-type': 'application/token-introspection+jwt' }, body: `${jwts[0]}` },
        { headers: { 'content-type': 'application/token-introspection+jwt' }, body: echo },
        { reset: 'beforeHeaders' },
      ];
      try {
        for (const keys of [{ body: { keys: [signer.jwk] } }, { body: echo }]) {
          provider.set('jwks', keys);
          for (const answer of introspection) {
            provider.set('introspection', answer);
            await bridge.ask(`auth:alice:example.org:token:${canaries.userToken}`);
            for (const jwt of jwts) await bridge.ask(`auth:alice:example.org:${jwt}`);
          }
          for (const id_token of [...jwts, echo]) {
            const body = { access_token: canaries.accessToken, token_type: 'Bearer', id_token };
            provider.set('token', { body });
            await bridge.ask(`auth:alice:example.org:${canaries.password}`);
          }
        }
        await sleep(200);
        assert.ok(bridge.logLines().filter(({ event }) => event === 'request').length >= 180);
        const used = provider.seen.map(({ headers, body }) => JSON.stringify(headers) + body).join('');
        assert.ok(used.includes(canaries.userToken) && used.includes(canaries.password), 'they were in use');
        if (signs) assert.ok(used.includes('client_assertion='), 'the key was in use');
      } finally {
        await bridge.stop();
        provider.reset();
      }
      assertClean(bridge.log(), 'the log');
      for (const jwt of jwts) {
        for (const part of jwt.split('.'))
          assert.ok(part.length < 20 || !bridge.log().includes(part), 'a part of a token');
      }
      for (const line of pem.split('\n').slice(1, -2)) assert.ok(!bridge.log().includes(line), 'the key');
    });
  }

  it("is where a password has no business: no password in a header, no user's token at the token endpoint", async () => {
    const bridge = startBridge({
      config: {
        token_endpoint: provider.endpoints.token,
        validation_endpoint: provider.endpoints.userinfo,
        client_id: 'xmpp',
        token_prefix: 'token:',
      },
    });
    await bridge.ask(`auth:alice:example.org:${canaries.password}`);
    await bridge.ask(`auth:alice:example.org:token:${canaries.userToken}`);
    await bridge.stop();
    for (const { endpoint, url, headers, body } of provider.seen) {
      const head = url + JSON.stringify(headers);
      assert.ok(!head.includes(canaries.password), 'a password in a header or URL');
      if (endpoint === 'token')
        assert.ok(!(head + body).includes(canaries.userToken), 'a token at the token endpoint');
      else assert.ok(!body.includes(canaries.password), 'a password at another endpoint');
    }
    provider.reset();
  });

  it('is in what `check` and `login` print, or in the temporary folder they run in', async () => {
    const folder = temporaryFolder();
    const config = writeConfig({
      token_endpoint: provider.endpoints.token,
      validation_endpoint: provider.endpoints.userinfo,
      client_id: 'xmpp',
      client_secret: canaries.clientSecret,
      token_prefix: 'token:',
    });
    // What a child says that the server would have started; test/e2e/login-as.test.ts looks at the whole machine.
    const throughChildren = ['ejabberd', 'prosody'].map(
      (server) => [['login', 'alice@example.org', '--stdin', '--as', server], canaries.password] as const,
    );
    for (const behaviour of token.slice(0, 4)) {
      provider.set('token', behaviour);
      for (const [args, input] of [
        [['check'], ''],
        [['login', 'alice@example.org', '--stdin'], canaries.password],
        [['login', 'alice@example.org', '--stdin', '--bogus'], `token:${canaries.userToken}`],
        ...(behaviour === token[1] ? throughChildren : []),
      ] as const) {
        const child = spawn(process.execPath, [program, ...args], {
          cwd: folder,
          env: { PATH: process.env.PATH ?? '', EXTAUTH_OAUTH_CONFIG: config, TMPDIR: folder },
        });
        let out = '';
        for (const stream of [child.stdout, child.stderr]) {
          stream.on('data', (chunk) => {
            out += chunk;
          });
        }
        child.stdin.on('error', () => {});
        child.stdin.end(input);
        await new Promise((resolve) => child.on('close', resolve));
        assertClean(out, args.join(' '));
      }
    }
    assert.deepEqual(readdirSync(folder), []);
    provider.reset();
  });
});
