// The token that our client gets itself to look users up: one for many questions, renewed when it must be and no more, and
// sent to the directory and nobody else. And what a daemon shows of lookups.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createOwnToken } from '../src/oauth/client-credentials.ts';
import { ProviderError } from '../src/oauth/errors.ts';
import { type Bridge, startBridge, temporaryFolder } from './support/bridge.ts';
import { startDaemon } from './support/daemon.ts';
import { connectPeer } from './support/peer.ts';
import { type Behaviour, type Scripted, startScripted } from './support/scripted-provider.ts';

const HOST = 'chat.example';
const secret = 'canarySecret-7f3a';
const signal = AbortSignal.timeout(60_000);

describe("our client's own token", () => {
  let time = 0;
  let granted = 0;
  const lifetime = 10_000;
  const open = () =>
    createOwnToken(
      async () => {
        await sleep(1);
        return { accessToken: `t${++granted}`, lifetime };
      },
      () => time,
    );

  it('is got once for all who want it at the same time, and kept for most of its life', async () => {
    granted = 0;
    const own = open();
    const tokens = await Promise.all(Array.from({ length: 20 }, () => own.get(signal)));
    assert.deepEqual(new Set(tokens), new Set(['t1']));
    time += 8999;
    assert.equal(await own.get(signal), 't1');
    time += 2;
    assert.equal(await own.get(signal), 't2');
  });

  it('is renewed once when many were refused with it', async () => {
    granted = 0;
    const own = createOwnToken(
      async () => ({ accessToken: `t${++granted}`, lifetime: 3_600_000 }),
      () => time,
    );
    const old = await own.get(signal);
    assert.equal(own.drop(old), false, 'that is new, so its age is not why');
    assert.equal(await own.get(signal), 't1');
    time += 10_000;
    const renewed: string[] = [];
    for (let n = 0; n < 16; n++) {
      assert.equal(own.drop(old), true);
      renewed.push(await own.get(signal));
    }
    assert.deepEqual(new Set(renewed), new Set(['t2']));
    assert.equal(granted, 2);
  });

  it('is asked for again after a failure', async () => {
    let fails = true;
    const own = createOwnToken(
      async () => {
        if (fails) throw new ProviderError('provider_error', 'no');
        return { accessToken: 't', lifetime };
      },
      () => time,
    );
    await assert.rejects(own.get(signal), ProviderError);
    fails = false;
    assert.equal(await own.get(signal), 't');
  });
});

describe('a program that looks users up as its own client', () => {
  let provider: Scripted;
  let elsewhere: Scripted;
  let granted = 0;
  let refuses = (_token: string): boolean => false;
  let grant: (token: string) => Behaviour = (token) => ({
    body: { access_token: token, token_type: 'Bearer' },
  });

  before(async () => {
    provider = await startScripted();
    elsewhere = await startScripted();
    provider.set('token', () => grant(`canaryOwn-${++granted}`));
    provider.set('directory', ({ headers }) => {
      const token = headers.authorization?.replace('Bearer ', '') ?? '';
      return refuses(token) ? { status: 401, body: {} } : { body: { totalResults: 0, Resources: [] } };
    });
  });
  after(async () => {
    await provider?.stop();
    await elsewhere?.stop();
  });

  function open(context: TestContext, more: Record<string, unknown> = {}): Bridge {
    provider.seen.length = 0;
    elsewhere.seen.length = 0;
    granted = 0;
    refuses = () => false;
    grant = (token) => ({ body: { access_token: token, token_type: 'Bearer' } });
    const client_secret_file = join(temporaryFolder(), 'secret');
    writeFileSync(client_secret_file, secret, { mode: 0o600 });
    const bridge = startBridge({
      config: {
        token_endpoint: provider.endpoints.token,
        validation_endpoint: provider.endpoints.userinfo,
        client_id: 'xmpp',
        client_secret_file,
        user_exists: 'lookup',
        user_lookup: { type: 'scim', url: provider.endpoints.directory, scope: 'read:users' },
        deadline: '3s',
        http: { timeout: '400ms', retries: 0 },
        log: { level: 'debug' },
        ...more,
      },
    });
    context.after(async () => {
      await sleep(150);
      const log = bridge.log();
      await bridge.stop();
      for (const canary of [secret, 'canaryOwn-', Buffer.from(secret).toString('base64').slice(0, -4)])
        assert.ok(!log.includes(canary), canary);
    });
    return bridge;
  }
  const requests = (endpoint: string): number =>
    provider.seen.filter((each) => each.endpoint === endpoint).length;

  it('gets one token for many questions, with the scope that it is told to', async (context) => {
    const bridge = open(context);
    for (let n = 0; n < 20; n++) assert.equal(await bridge.ask(`isuser:u${n}:${HOST}`), 0);
    assert.deepEqual([requests('token'), requests('directory')], [1, 20]);
    const form = new URLSearchParams(provider.seen[0]?.body);
    assert.deepEqual([form.get('grant_type'), form.get('scope')], ['client_credentials', 'read:users']);
  });

  it('gets another one when it has expired', async (context) => {
    const bridge = open(context);
    grant = (token) => ({ body: { access_token: token, token_type: 'Bearer', expires_in: 1 } });
    assert.equal(await bridge.ask(`isuser:a:${HOST}`), 0);
    assert.equal(await bridge.ask(`isuser:b:${HOST}`), 0);
    await sleep(1000);
    assert.equal(await bridge.ask(`isuser:c:${HOST}`), 0);
    assert.deepEqual([requests('token'), requests('directory')], [2, 3]);
  });

  it('asks once and gets one token where none is taken, however often', async (context) => {
    const bridge = open(context);
    refuses = () => true;
    for (let n = 0; n < 5; n++) assert.equal(await bridge.ask(`isuser:u${n}:${HOST}`), 1);
    assert.deepEqual([requests('token'), requests('directory')], [1, 5]);
  });

  const troubles: [title: string, behaviour: Behaviour, says: RegExp][] = [
    [
      'refuses our client',
      { status: 401, body: { error: 'invalid_client' } },
      /gives our client no token of its own \(invalid_client\)/,
    ],
    [
      'does not allow the grant',
      { status: 400, body: { error: 'unauthorized_client' } },
      /\(unauthorized_client\).*service accounts/,
    ],
    [
      'quotes what it got',
      { status: 400, body: { error: `x ${secret}`, error_description: secret } },
      /\(status 400\)/,
    ],
    ['gives an empty token', { body: { access_token: '' } }, /no token: is token_endpoint right\?/],
    ['gives one that is no text', { body: { access_token: { a: 1 } } }, /no token/],
    ['gives one that no header can hold', { body: { access_token: 'canaryOwn-\r\nx: y' } }, /user_lookup/],
    ['sends us elsewhere', { status: 307, headers: { location: '/directory' } }, /status 307/],
    ['shows a page', { body: '<html>' }, /no token/],
  ];
  for (const [title, behaviour, says] of troubles) {
    it(`says yes, and why, when the token endpoint ${title}`, async (context) => {
      const bridge = open(context);
      grant = () => behaviour;
      assert.equal(await bridge.ask(`isuser:a:${HOST}`), 1);
      assert.equal(requests('directory'), 0, 'nobody is asked without a token');
      await sleep(150);
      const line = bridge.logLines().find(({ event }) => event === 'unsafe');
      assert.match(String(line?.message), says);
    });
  }

  it('sends no token after a redirect', async (context) => {
    const bridge = open(context);
    provider.set('directory', { status: 301, headers: { location: elsewhere.endpoints.directory } });
    assert.equal(await bridge.ask(`isuser:a:${HOST}`), 1);
    assert.equal(elsewhere.seen.length, 0);
    provider.set('directory', { body: { totalResults: 0, Resources: [] } });
  });

  it('remembers in an outage, and takes who has logged in for somebody', async (context) => {
    provider.set('directory', ({ url }) => ({
      body: url.includes('alice')
        ? { totalResults: 1, Resources: [{ userName: 'alice' }] }
        : { totalResults: 0, Resources: [] },
    }));
    const bridge = open(context, {
      resource_owner_password: false,
      credential: 'token',
      state: `lmdb:${temporaryFolder()}/state`,
    });
    assert.equal(await bridge.ask(`isuser:alice:${HOST}`), 1);
    assert.equal(await bridge.ask(`isuser:bob:${HOST}`), 0);
    provider.set('directory', { stall: true });
    assert.equal(await bridge.ask(`isuser:alice:${HOST}`), 1);
    assert.equal(await bridge.ask(`isuser:bob:${HOST}`), 0);
    assert.equal(await bridge.ask(`isuser:carol:${HOST}`), 1);
    const started = performance.now();
    for (let n = 0; n < 100; n++) await bridge.ask(`isuser:alice:${HOST}`);
    assert.ok(performance.now() - started < 1000);
  });

  it('shows no name in the metrics of a daemon', async () => {
    const folder = temporaryFolder();
    const [path, metrics] = [join(folder, 'extauth'), join(folder, 'metrics')];
    provider.set('directory', { status: 404 });
    const daemon = await startDaemon({
      config: {
        token_endpoint: provider.endpoints.token,
        validation_endpoint: provider.endpoints.userinfo,
        user_exists: 'lookup',
        user_lookup: {
          type: 'http',
          url: `${provider.endpoints.directory}/{host}/{localpart}?name={localpart}`,
        },
        listen: [{ path, protocol: 'extauth' }],
        metrics: { path: metrics },
        log: { level: 'debug', users: 'hashed' },
      },
    });
    try {
      const peer = connectPeer(path);
      assert.equal(await peer.ask(`isuser:zebulon:${HOST}`), 0);
      const scrape = connectPeer(metrics);
      scrape.send('GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n');
      const text = (await scrape.closed).toString();
      assert.match(
        text,
        /extauth_oauth_provider_request_seconds_count\{method="GET",endpoint="[^"]*\/directory\/",outcome="404"\} 1/,
      );
      assert.ok(!text.includes('zebulon'));
      assert.ok(provider.seen.some(({ url }) => url === `/directory/${HOST}/zebulon?name=zebulon`));
    } finally {
      await daemon.stop();
    }
    assert.match(daemon.log(), /\/directory\/"/);
    assert.ok(!daemon.log().includes('zebulon'));
  });
});
