// A real OpenID provider and the bridge as a real process: tokens judged by keys, by introspection and at UserInfo, our
// client proving itself in every way there is, and keys that change under the users' feet.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Bridge, startBridge, temporaryFolder } from './support/bridge.ts';
import { type ClientName, certificateSubject, startProvider, type TestProvider } from './support/provider.ts';
import { alice, selfSigned, startScripted } from './support/scripted-provider.ts';
import { createSigner } from './support/signer.ts';

const ALGORITHMS = ['RS256', 'PS256', 'ES256', 'EdDSA'];
const users = { alice: { password: 'alice-password' }, bob: { password: 'bob-password' } };
const HOST = 'chat.example';

/** Asks one bridge at a time and reads the reason from its log. */
function asking(bridge: () => Bridge): (user: string, secret: string) => Promise<string> {
  let asked = 0;
  return async (user, secret) => {
    const answer = await bridge().ask(`auth:${user}:${HOST}:${secret}`);
    const line = await logLine(bridge(), asked++);
    assert.equal(answer, line.verdict === 'accepted' ? 1 : 0, JSON.stringify(line));
    return line.verdict === 'accepted' ? `${line.method} ${line.cache}` : `${line.reason}`;
  };
}

async function logLine(bridge: Bridge, index: number): Promise<Record<string, unknown>> {
  for (const until = Date.now() + 3000; Date.now() < until; await sleep(10)) {
    const line = bridge.logLines().filter(({ event }) => event === 'request')[index];
    if (line !== undefined) return line;
  }
  throw new Error(`no log line ${index}: ${bridge.log()}`);
}

describe('a real provider whose tokens are JWTs', () => {
  let provider: TestProvider;
  let bridge: Bridge;
  const ask = asking(() => bridge);
  const jwt = (user: string, more: object = {}): Promise<string> =>
    provider.token(user, { format: 'jwt', audience: 'chat', ...more });
  const asked = (path: string): number => provider.requests.filter((seen) => seen.path === path).length;

  before(async () => {
    provider = await startProvider({ users, algorithms: ALGORITHMS });
    bridge = startBridge({
      config: { issuer: provider.issuer, audience: 'chat', log: { level: 'debug' } },
    });
  });
  after(async () => {
    await bridge.stop();
    await provider.stop();
  });

  for (const algorithm of ALGORITHMS) {
    it(`lets in a token signed with ${algorithm}, its owner alone, and asks nobody about it`, async () => {
      const token = await jwt('alice', { algorithm });
      const before = provider.requests.length - asked('/jwks') - asked('/.well-known/openid-configuration');
      assert.equal(await ask('alice', token), 'jwt miss');
      assert.equal(await ask('bob', token), 'user_mismatch');
      assert.equal(await ask('alice', token), 'jwt miss', 'what comes twice is remembered');
      assert.equal(await ask('alice', token), 'jwt hit');
      assert.equal(await ask('bob', token), 'user_mismatch', 'also when it is remembered for alice');
      const now = provider.requests.length - asked('/jwks') - asked('/.well-known/openid-configuration');
      assert.equal(now, before);
    });
  }

  it('has its keys fetched once, before anybody logged in or with the first', () => {
    assert.equal(asked('/jwks'), 1);
  });

  it('refuses a token that has expired, one for others and one that was tampered with', async () => {
    assert.equal(await ask('alice', await jwt('alice', { ttl: -60 })), 'expired');
    assert.equal(await ask('alice', await jwt('alice', { audience: 'elsewhere' })), 'aud_mismatch');
    const [header, claims = '', signature] = (await jwt('alice')).split('.');
    const bob = Buffer.from(claims, 'base64url').toString().replace('"alice"', '"bob"');
    const forged = `${header}.${Buffer.from(bob).toString('base64url')}.${signature}`;
    assert.equal(await ask('bob', forged), 'bad_signature');
  });

  it('forgets a remembered token when it expires', async () => {
    const token = await jwt('alice', { ttl: -28 });
    assert.equal(await ask('alice', token), 'jwt miss', 'within the skew of 30 s');
    assert.equal(await ask('alice', token), 'jwt miss');
    assert.equal(await ask('alice', token), 'jwt hit');
    await sleep(2100);
    assert.equal(await ask('alice', token), 'expired');
  });
});

describe('a real provider that changes its keys', () => {
  it('is believed at once, and what the old ones had signed is forgotten', async () => {
    const provider = await startProvider({ users });
    const bridge = startBridge({ config: { issuer: provider.issuer, audience: 'chat' } });
    const ask = asking(() => bridge);
    const token = (): Promise<string> => provider.token('bob', { format: 'jwt', audience: 'chat' });
    try {
      const old = await token();
      assert.equal(await ask('bob', old), 'jwt miss');
      assert.equal(await ask('bob', old), 'jwt miss');
      assert.equal(await ask('bob', old), 'jwt hit');
      await provider.rotateKeys({ sameKid: false });
      assert.equal(await ask('bob', await token()), 'jwt miss');
      assert.equal(await ask('bob', old), 'kid_unknown');
    } finally {
      await bridge.stop();
      await provider.stop();
    }
  });

  it('under their old names is believed at once, too, and the old ones no more', async () => {
    const provider = await startProvider({ users });
    const bridge = startBridge({ config: { issuer: provider.issuer, audience: 'chat' } });
    const ask = asking(() => bridge);
    try {
      const old = await provider.token('alice', { format: 'jwt', audience: 'chat' });
      assert.equal(await ask('alice', old), 'jwt miss');
      await provider.rotateKeys({ sameKid: true });
      const renewed = await provider.token('alice', { format: 'jwt', audience: 'chat' });
      assert.equal(await ask('alice', renewed), 'jwt miss');
      assert.equal(await ask('alice', old), 'bad_signature');
      await provider.stop();
      assert.equal(await ask('alice', renewed), 'jwt miss');
      assert.equal(await ask('alice', renewed), 'jwt hit');
      const other = createSigner('RS256', 'nobody');
      assert.equal(await ask('alice', await other.token({ iss: provider.issuer })), 'kid_unknown');
    } finally {
      await bridge.stop();
      await provider.stop();
    }
  });
});

describe('a real provider whose tokens are opaque', () => {
  let provider: TestProvider;
  before(async () => {
    provider = await startProvider({ users, algorithms: ALGORITHMS });
  });
  after(() => provider.stop());

  async function withBridge<Result>(
    client: ClientName,
    options: object,
    use: (ask: (user: string, secret: string) => Promise<string>, bridge: Bridge) => Promise<Result>,
  ): Promise<Result> {
    const { id, secret } = provider.clients[client];
    const bridge = startBridge({
      config: { issuer: provider.issuer, client_id: id, credential: 'token', ...options },
      env: secret === undefined ? {} : { EXTAUTH_OAUTH_CLIENT_SECRET: secret },
    });
    try {
      return await use(
        asking(() => bridge),
        bridge,
      );
    } finally {
      await bridge.stop();
    }
  }

  it('introspects them for us: one of another client is refused, until it is accepted', async () => {
    const [own, other] = [await provider.token('alice'), await provider.token('alice', { client: 'other' })];
    await withBridge('post', {}, async (ask) => {
      assert.equal(await ask('alice', own), 'introspection miss');
      assert.equal(await ask('bob', own), 'user_mismatch');
      assert.equal(await ask('alice', other), 'aud_mismatch');
      assert.equal(await ask('alice', 'garbage'), 'token_inactive');
    });
    const accepted_clients = [provider.clients.other.id];
    await withBridge('post', { accepted_clients }, async (ask) => {
      assert.equal(await ask('alice', other), 'introspection miss');
      assert.equal(await ask('alice', own), 'client_not_accepted');
    });
  });

  it('refuses by introspection what has been revoked', async () => {
    const token = await provider.token('alice');
    const options = { validation: 'introspection', cache: { token_ttl: 0 } };
    await withBridge('post', options, async (ask) => {
      assert.equal(await ask('alice', token), 'introspection off');
      await provider.revoke(token);
      assert.equal(await ask('alice', token), 'token_inactive');
    });
  });

  it('signs its introspection answers, and we take no other where we say so', async () => {
    const token = await provider.token('alice');
    const options = { introspection_signed: true, validation: 'introspection', accepted_clients: ['xmpp'] };
    await withBridge('signed', options, async (ask) => {
      assert.equal(await ask('alice', token), 'introspection miss');
      assert.equal(await ask('bob', token), 'user_mismatch');
      assert.equal(await ask('alice', 'garbage'), 'token_inactive');
    });
  });

  it('signs its UserInfo, and what it signs for one client is not for another', async () => {
    const signed = await provider.token('alice', { client: 'signed' });
    await withBridge('signed', { validation: 'userinfo' }, async (ask) => {
      assert.equal(await ask('alice', signed), 'userinfo miss');
      assert.equal(await ask('bob', signed), 'user_mismatch');
    });
    await withBridge('post', { validation: 'userinfo' }, async (ask) => {
      assert.equal(await ask('alice', signed), 'aud_mismatch');
    });
  });

  it('is asked at UserInfo where our client has no secret, with a warning to the operator', async () => {
    const token = await provider.token('alice');
    await withBridge('public', { cache: { token_ttl: 0 } }, async (ask, bridge) => {
      assert.equal(await ask('alice', token), 'userinfo off');
      assert.equal(await ask('alice', token), 'userinfo off');
      await sleep(200);
      const warnings = bridge.logLines().filter(({ event }) => event === 'unsafe');
      assert.equal(warnings.length, 1, 'once');
      assert.match(
        String(warnings[0]?.message),
        /any other application of this provider.*introspection_endpoint/,
      );
    });
  });

  it('knows a wrong client secret from a bad token', async () => {
    const token = await provider.token('alice');
    await withBridge('post', { client_secret: 'wrong' }, async (ask) => {
      assert.equal(await ask('alice', token), 'client_refused');
    });
  });

  it('takes the client by HTTP Basic, encoded, for introspection alone', async () => {
    const token = await provider.token('alice', { client: 'reserved' });
    await withBridge('reserved', { introspection_auth_method: 'basic' }, async (ask) => {
      assert.equal(await ask('alice', token), 'introspection miss');
    });
    await withBridge('reserved', { introspection_auth_method: 'basic_raw' }, async (ask) => {
      assert.equal(await ask('alice', token), 'client_refused');
    });
  });

  it('takes a client that signs (private_key_jwt), for passwords, introspection and revocation', async () => {
    const { id, key = '' } = provider.clients.key;
    const file = join(temporaryFolder(), 'key.pem');
    writeFileSync(file, key, { mode: 0o600 });
    const options = {
      client_auth_method: 'private_key_jwt',
      client_key_file: file,
      client_key_id: 'assertions',
      credential: 'auto',
      token_prefix: 'token:',
      resource_owner_password: true,
      scope: 'openid profile offline_access',
    };
    const token = await provider.token('alice', { client: 'key' });
    await withBridge('key', options, async (ask, bridge) => {
      assert.equal(await ask('alice', `token:${token}`), 'introspection miss');
      assert.equal(await ask('alice', 'alice-password'), 'password off');
      assert.equal(await ask('alice', 'wrong'), 'not_authorized');
      for (let waited = 0; provider.tokensAlive('bob') > 0 && waited < 2000; waited += 50) await sleep(50);
      assert.ok(!bridge.log().includes(key.split('\n')[1] ?? key), 'the key is not in the log');
    });
    const stranger = join(temporaryFolder(), 'stranger.pem');
    const pem = createSigner('ES256').privateKey.export({ type: 'pkcs8', format: 'pem' });
    writeFileSync(stranger, pem, { mode: 0o600 });
    await withBridge('key', { ...options, client_key_file: stranger }, async (ask) => {
      assert.equal(await ask('alice', `token:${token}`), 'client_refused');
      assert.equal(await ask('alice', 'alice-password'), 'client_refused');
    });
    assert.equal(id, 'xmpp-key');
  });

  it('is asked once for a password: token and signature say who it is', async () => {
    const options = {
      credential: 'auto',
      resource_owner_password: true,
      scope: 'openid profile offline_access',
    };
    const seen = (path: string): number =>
      provider.requests.filter((request) => request.path === path).length;
    await withBridge('post', options, async (ask) => {
      assert.equal(await ask('alice', 'alice-password'), 'password off');
      const before = [seen('/token'), seen('/me'), seen('/token/introspection')];
      assert.equal(await ask('bob', 'bob-password'), 'password off');
      assert.equal(await ask('bob', 'alice-password'), 'not_authorized');
      assert.deepEqual(
        [seen('/token'), seen('/me'), seen('/token/introspection')],
        [(before[0] ?? 0) + 2, before[1], before[2]],
      );
    });
    await withBridge('post', { ...options, validation: 'userinfo' }, async (ask) => {
      const before = seen('/me');
      assert.equal(await ask('bob', 'bob-password'), 'password off');
      assert.equal(seen('/me'), before + 1);
    });
    await withBridge('post', { ...options, validation: 'introspection' }, async (ask) => {
      const before = seen('/token/introspection');
      assert.equal(await ask('bob', 'bob-password'), 'password off');
      assert.equal(seen('/token/introspection'), before + 1);
    });
    await withBridge('post', { ...options, require: { email_verified: true } }, async (ask) => {
      assert.equal(
        await ask('bob', 'bob-password'),
        'rule_failed',
        'what the ID token does not say is asked for',
      );
    });
    await withBridge('post', { ...options, required_scopes: 'profile' }, async (ask) => {
      assert.equal(await ask('bob', 'bob-password'), 'password off');
    });
    await withBridge('post', { ...options, required_scopes: 'admin' }, async (ask) => {
      assert.equal(await ask('bob', 'bob-password'), 'scope_missing');
    });
  });

  it('gets the one-time code that stands behind a password', async () => {
    provider.users.otto = { password: 'otto-123456', totp: '654321' };
    const options = {
      credential: 'auto',
      resource_owner_password: true,
      scope: 'openid profile',
      password_otp_digits: 6,
    };
    await withBridge('post', options, async (ask) => {
      assert.equal(await ask('otto', 'otto-123456654321'), 'password off');
      assert.equal(await ask('otto', 'otto-123456654322'), 'not_authorized');
      assert.equal(await ask('bob', 'bob-password'), 'password off', 'who has none, types none');
    });
    const cache = { password_ttl: '1m', unavailable_grace: '1h' };
    await withBridge('post', { ...options, cache }, async (ask) => {
      for (let n = 0; n < 2; n++)
        assert.equal(await ask('otto', 'otto-123456654321'), 'password off', 'never twice');
      for (const how of ['miss', 'hit']) assert.equal(await ask('bob', 'bob-password'), `password ${how}`);
    });
  });
});

describe('a revocation endpoint that never answers', () => {
  it('holds up no login, neither the one whose token it is nor the next ones', async () => {
    const scripted = await startScripted();
    scripted.set('revocation', { stall: true });
    const { token, userinfo, revocation } = scripted.endpoints;
    const bridge = startBridge({
      config: {
        token_endpoint: token,
        validation_endpoint: userinfo,
        revocation_endpoint: revocation,
        client_id: 'xmpp',
        deadline: '2s',
      },
    });
    try {
      const started = performance.now();
      for (let login = 0; login < 30; login++) {
        assert.equal(await bridge.ask(`auth:${alice.name}:${HOST}:${alice.password}`), 1);
      }
      assert.ok(performance.now() - started < 2500, 'thirty logins');
      assert.ok(scripted.seen.some(({ endpoint }) => endpoint === 'revocation'));
      assert.deepEqual(await bridge.stop(1000), { code: 0, signal: null });
    } finally {
      await bridge.stop();
      await scripted.stop();
    }
  });
});

describe('a real provider behind TLS', () => {
  it('takes a client that shows a certificate (RFC 8705), and none without', async () => {
    const server = selfSigned('127.0.0.1');
    const client = selfSigned(certificateSubject.slice('CN='.length));
    const stranger = selfSigned('stranger');
    const provider = await startProvider({ users, tls: { ...server, ca: client.cert } });
    const folder = temporaryFolder();
    const file = (name: string, text: string): string => {
      writeFileSync(join(folder, name), text, { mode: 0o600 });
      return join(folder, name);
    };
    const ca_file = file('ca.pem', server.cert);
    const login = async (http: object): Promise<string[]> => {
      const bridge = startBridge({
        config: {
          issuer: provider.issuer,
          client_id: provider.clients.certificate.id,
          client_auth_method: 'tls',
          resource_owner_password: true,
          token_prefix: 'token:',
          scope: 'openid profile',
          http: { ca_file, ...http },
        },
      });
      const ask = asking(() => bridge);
      try {
        const token = await provider.token('alice', { client: 'certificate' });
        return [await ask('alice', 'alice-password'), await ask('alice', `token:${token}`)];
      } finally {
        await bridge.stop();
      }
    };
    try {
      const own = { cert_file: file('c.pem', client.cert), key_file: file('k.pem', client.key) };
      assert.deepEqual(await login(own), ['password off', 'introspection miss']);
      const other = { cert_file: file('sc.pem', stranger.cert), key_file: file('sk.pem', stranger.key) };
      assert.deepEqual(await login(other), ['client_refused', 'client_refused']);
    } finally {
      await provider.stop();
    }
  });
});
