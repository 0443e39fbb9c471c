// Against a real OpenID provider: the straight line as a whole, and what it leaves behind.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Bridge, program, startBridge, writeConfig } from './support/bridge.ts';
import { startProvider, type TestProvider } from './support/provider.ts';

describe('a real OpenID provider', () => {
  let provider: TestProvider;
  let bridge: Bridge;
  let config: Record<string, unknown>;
  before(async () => {
    provider = await startProvider({
      users: {
        alice: { password: 'alice:pass word ✓' },
        bob: { password: 'bob-password' },
        dora: { password: 'dora-password', disabled: true },
        jörg: { password: 'pässwörd' },
        'mail@corp.example': { password: 'mail-password', email: 'mail@corp.example', email_verified: true },
      },
    });
    config = {
      issuer: provider.issuer,
      client_id: provider.clientId,
      resource_owner_password: true,
      scope: 'openid profile email offline_access',
      token_prefix: 'token:',
      cache: { token_ttl: 0 },
      log: { level: 'debug' },
    };
    bridge = startBridge({ config, env: { EXTAUTH_OAUTH_CLIENT_SECRET: provider.clientSecret } });
  });
  after(async () => {
    await bridge.stop();
    await provider.stop();
  });

  async function ask(user: string, secret: string): Promise<number> {
    return bridge.ask(`auth:${user}:chat.example:${secret}`);
  }

  const passwords: [title: string, user: string, password: string, answer: number][] = [
    ['with the right password of colons, spaces and more', 'alice', 'alice:pass word ✓', 1],
    ['with a wrong password', 'alice', 'alice:pass word', 0],
    ['with the password of somebody else', 'alice', 'bob-password', 0],
    ['that nobody is', 'mallory', 'bob-password', 0],
    ['that is disabled', 'dora', 'dora-password', 0],
    ['of another script', 'jörg', 'pässwörd', 1],
    ['whose password comes in NFD', 'jörg', 'pässwörd'.normalize('NFD'), 1],
    ['with an escaped name', 'mail\\40corp.example', 'mail-password', 1],
    ['with the first part of a name', 'mail', 'mail-password', 0],
  ];
  for (const [title, user, password, answer] of passwords) {
    it(`${answer ? 'lets in' : 'refuses'} a user ${title}`, async () =>
      assert.equal(await ask(user, password), answer));
  }

  it('lets a token in for its owner, and for nobody else', async () => {
    const token = await provider.token('alice');
    assert.equal(await ask('alice', `token:${token}`), 1);
    assert.equal(await ask('bob', `token:${token}`), 0);
    await provider.revoke(token);
    assert.equal(await ask('alice', `token:${token}`), 0, 'revoked');
    assert.equal(await ask('alice', `token:${await provider.token('alice', { ttl: -60 })}`), 0, 'expired');
    assert.equal(await ask('alice', `token:${await provider.token('alice', { length: 8192 })}`), 1, '8 KB');
  });

  it('is not asked about a JWT of another client, of another issuer, or an ID token', async () => {
    const asked = (): number => provider.requests.length;
    const other = await provider.token('alice', { format: 'jwt', client: 'other', audience: 'urn:other' });
    const before = asked();
    assert.equal(await ask('alice', other), 0);
    const [header, claims = '', signature] = other.split('.');
    const forged = {
      ...JSON.parse(Buffer.from(claims, 'base64url').toString()),
      iss: 'https://evil.example',
      aud: provider.clientId,
    };
    assert.equal(
      await ask(
        'alice',
        [header, Buffer.from(JSON.stringify(forged)).toString('base64url'), signature].join('.'),
      ),
      0,
    );
    assert.equal(asked(), before);
    await sleep(200);
    const reasons = bridge.logLines().map(({ reason }) => reason);
    assert.ok(reasons.includes('aud_mismatch') && reasons.includes('iss_mismatch'), String(reasons));
  });

  it('keeps no token of a password login', async () => {
    for (let round = 0; round < 5; round++) assert.equal(await ask('bob', 'bob-password'), 1);
    for (let waited = 0; provider.tokensAlive('bob') > 0 && waited < 2000; waited += 50) await sleep(50);
    assert.equal(provider.tokensAlive('bob'), 0);
  });

  it('is looked at by `check`, which finds nothing wrong, and then a wrong secret', async () => {
    const fine = await run(['check'], '');
    assert.equal(fine.code, 0, fine.out);
    assert.match(fine.out, /^ok +discovery/m);
    assert.match(fine.out, /^ok +password grant/m);
    const wrong = await run(['check'], '', { EXTAUTH_OAUTH_CLIENT_SECRET: 'wrong' });
    assert.equal(wrong.code, 1, wrong.out);
    assert.match(wrong.out, /^ERROR +password grant .*client_id, the client secret/m);
  });

  async function run(
    args: string[],
    input: string,
    env: Record<string, string> = {},
  ): Promise<{ code: number | null; out: string }> {
    const child = spawn(process.execPath, [program, ...args], {
      env: {
        PATH: process.env.PATH ?? '',
        EXTAUTH_OAUTH_CONFIG: writeConfig(config),
        EXTAUTH_OAUTH_CLIENT_SECRET: provider.clientSecret,
        ...env,
      },
    });
    let out = '';
    child.stdout.on('data', (chunk) => {
      out += chunk;
    });
    child.stderr.on('data', (chunk) => {
      out += chunk;
    });
    child.stdin.end(input);
    const code = await new Promise<number | null>((resolve) => child.on('close', resolve));
    return { code, out };
  }

  const logins: [title: string, jid: string, secret: string, code: number, out: RegExp][] = [
    [
      'shows every step of a good one',
      'bob@chat.example',
      'bob-password\n',
      0,
      /password grant[\s\S]*ID token[\s\S]*accepted \(password\)/,
    ],
    ['prepares the name as a server would', 'BOB@Chat.Example', 'bob-password', 0, /localpart +bob\n/],
    [
      'says why a bad one is bad',
      'bob@chat.example',
      'not-his-own\n',
      1,
      /NO +password grant [\s\S]*NO .*refused \(not_authorized\)\n +what to do .*sasl_username_mapping/,
    ],
    ['says whose token it is not', 'bob@chat.example', 'TOKEN', 1, /refused \(user_mismatch\)/],
    ['wants a JID', 'bob', 'x', 2, /is no JID/],
  ];
  for (const [title, jid, secret, code, out] of logins) {
    it(`logs in by \`login\`, which ${title}`, async () => {
      const input = secret === 'TOKEN' ? `token:${await provider.token('alice')}` : secret;
      const result = await run(['login', jid, '--stdin'], input);
      assert.equal(result.code, code, result.out);
      assert.match(result.out, out);
      if (input.length > 1) assert.ok(!result.out.includes(input.trim()), 'the secret is not shown');
    });
  }
});
