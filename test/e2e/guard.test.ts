// The guard as a provider sees it: many processes, as XMPP servers start them, and no more requests than there must be.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { chmodSync, writeFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { frame, temporaryFolder } from '../support/bridge.ts';
import { startDaemon } from '../support/daemon.ts';
import { connectTo } from '../support/peer.ts';
import { type Pool, startPool } from '../support/pool.ts';
import { type Behaviour, type Scripted, startScripted } from '../support/scripted-provider.ts';
import { startRedis } from './support/redis.ts';

const host = 'example.org';
/** As many as a pool of ejabberd's on a machine with eight CPUs. */
const poolSize = 8;

// One phone, all day long: an hour is 1.8 seconds, and whatever takes time in the configuration is that much shorter, too.
const scale = 2000;
const day = 86_400_000 / scale;
const minutes = (count: number): string => `${(count * 60_000) / scale}ms`;
const phoneLogins = 10_000;
/** After 5 minutes, 10, 20, 40 and then every hour, and some for a store that is away for a moment. */
const mostRequests = 60;
/** Fewer, and what was refused was not asked again when it should have been. */
const fewestRequests = 20;

// Everybody at once: each takes the provider so many milliseconds.
const stormUsers = Number(process.env.STORM_USERS ?? 400);
const answerTime = 200;
/** How much longer than by arithmetic everybody may take: processes start, and two CPUs do all of this. */
const slower = 1.5;
/**
 * A machine that stands still for a quarter of a second is a store that does not answer, and for another half one that is
 * not asked: what the provider says to a process meanwhile stays there.
 */
const loginsPerOutage = 5;
/** Pairs of connections to the daemon: what it asks the provider at a time. */
const pairs = 32;

/** Milliseconds until other processes know what one has been told. */
const writtenWithin = 250;

/** A provider with the users that a test makes up: passwords by name, and a token that says its owner's name. */
interface Directory {
  readonly provider: Scripted;
  readonly passwords: Map<string, string>;
  /** The most requests to the token endpoint that were under way at a time. */
  crowd(): number;
}

const tokenOf = (user: string): string => `token-of-${user}`;

async function startDirectory(context: TestContext, { delay = 0 } = {}): Promise<Directory> {
  const provider = await startScripted();
  context.after(() => provider.stop());
  const passwords = new Map<string, string>();
  let inside = 0;
  let most = 0;
  provider.set('token', ({ body }): Behaviour => {
    most = Math.max(most, ++inside);
    setTimeout(() => inside--, delay);
    const form = new URLSearchParams(body);
    const user = form.get('username') ?? '';
    return passwords.get(user) === form.get('password')
      ? { delay, body: { access_token: tokenOf(user), token_type: 'Bearer' } }
      : { delay, status: 400, body: { error: 'invalid_grant' } };
  });
  provider.set('introspection', ({ body }): Behaviour => {
    const [, user] = /^token-of-(.+)$/.exec(new URLSearchParams(body).get('token') ?? '') ?? [];
    const told = { active: true, client_id: 'xmpp', sub: user, preferred_username: user };
    return { delay, body: user === undefined ? { active: false } : told };
  });
  return { provider, passwords, crowd: () => most };
}

function settings({ provider }: Directory, more: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    // Without metadata to be fetched, every request is one of a login.
    token_endpoint: provider.endpoints.token,
    introspection_endpoint: provider.endpoints.introspection,
    validation: 'introspection',
    client_id: 'xmpp',
    client_secret: 'guard-secret',
    resource_owner_password: true,
    revoke_after_login: false,
    token_prefix: 'oauth:',
    ...more,
  };
}

/** So many processes with the same settings. */
async function open(context: TestContext, config: unknown, size: number = poolSize): Promise<Pool> {
  const pool = await startPool(
    host,
    Array.from({ length: size }, () => config),
  );
  context.after(() => pool.stop());
  return pool;
}

const lmdb = (): string => `lmdb:${temporaryFolder()}`;

describe('a phone that repeats an old password all day', { concurrency: true }, () => {
  /** What the day lasts for the guard. */
  const scaled = {
    cache: { negative_ttl: minutes(5) },
    limits: { wrong_passwords: `5/${minutes(15)}` },
    // A line for each login is not what is looked at.
    log: { level: 'warn' },
  };

  async function liveThrough(context: TestContext, directory: Directory, pool: Pool): Promise<void> {
    const { provider, passwords } = directory;
    passwords.set('alice', 'new-password');
    const startedAt = performance.now();
    let latest = 0;
    const answers: Promise<number>[] = [];
    for (let count = 0; count < phoneLogins; count++) {
      const at = startedAt + (count * day) / phoneLogins;
      const early = at - performance.now();
      if (early > 0) await sleep(early);
      latest = Math.max(latest, -early);
      answers.push(pool.login('alice', 'old-password'));
    }
    const refused = (await Promise.all(answers)).filter((answer) => answer === 0).length;
    const lasted = performance.now() - startedAt;
    const requests = provider.seen.length;
    context.diagnostic(
      `${requests} requests for ${phoneLogins} logins in ${(lasted / 1000).toFixed(1)} s (a day is ${day / 1000} s; the latest was ${Math.round(latest)} ms late), ${pool.outages()} outages of the store`,
    );
    assert.equal(refused, phoneLogins);
    assert.ok(requests <= mostRequests, `${requests} requests`);
    assert.ok(requests >= fewestRequests, `only ${requests} requests`);

    const everybody = pool.bridges.map(() => 1);
    assert.deepEqual(await pool.loginThroughAll('alice', 'new-password'), everybody, 'the new one, at once');
    passwords.set('alice', 'old-password');
    await sleep(Number.parseInt(minutes(60), 10) + 50);
    assert.deepEqual(
      await pool.loginThroughAll('alice', 'old-password'),
      everybody,
      'the old one, right again',
    );
    assert.deepEqual(pool.complaints(), []);
  }

  it('is in few requests where there is one process', async (context) => {
    const directory = await startDirectory(context);
    const pool = await open(context, settings(directory, scaled), 1);
    await liveThrough(context, directory, pool);
  });

  it('is in as few where there are eight processes with an LMDB', async (context) => {
    const directory = await startDirectory(context);
    const pool = await open(context, settings(directory, { ...scaled, state: lmdb() }));
    await liveThrough(context, directory, pool);
  });

  it('is in as few where there are two machines with a Redis', async (context) => {
    const directory = await startDirectory(context);
    const redis = await startRedis();
    context.after(() => redis.stop());
    const key = `${randomBytes(32).toString('base64')}\n`;
    const machines = [0, 1].map(() =>
      settings(directory, {
        ...scaled,
        state: `redis://127.0.0.1:${redis.port}`,
        state_key_file: copyOf(key),
      }),
    );
    const pool = await startPool(
      host,
      Array.from({ length: poolSize }, (_, place) => machines[place % 2]),
    );
    context.after(() => pool.stop());
    await liveThrough(context, directory, pool);
  });
});

describe(`${stormUsers} users at once`, () => {
  const users = Array.from({ length: stormUsers }, (_, index) => `user-${index}`);
  const keepLong = { cache: { token_ttl: '10m' } };
  const all = (answers: readonly number[]): boolean => answers.every((answer) => answer === 1);

  it('are one request each, and none through other processes afterwards', async (context) => {
    const directory = await startDirectory(context, { delay: answerTime });
    const { seen } = directory.provider;
    const pool = await open(context, settings(directory, { ...keepLong, state: lmdb() }));

    async function storm(shift: number): Promise<{ answers: number[]; took: number; times: number[] }> {
      const startedAt = performance.now();
      const times: number[] = [];
      const answers = await Promise.all(
        users.map(async (user, index) => {
          const answer = await pool.loginThrough((index + shift) % poolSize, user, `oauth:${tokenOf(user)}`);
          times.push(performance.now() - startedAt);
          return answer;
        }),
      );
      return { answers, took: performance.now() - startedAt, times: times.sort((a, b) => a - b) };
    }

    const first = await storm(0);
    const expected = (part: number): number => Math.ceil((part * stormUsers) / poolSize) * answerTime;
    const compared = (part: number): string => {
      const time = first.times[Math.ceil(part * stormUsers) - 1] ?? Number.NaN;
      return `${(time / 1000).toFixed(2)} s (${(expected(part) / 1000).toFixed(2)} s by arithmetic)`;
    };
    context.diagnostic(`p50 ${compared(0.5)}, p99 ${compared(0.99)}, all ${compared(1)}`);
    assert.ok(all(first.answers));
    assert.equal(seen.length, stormUsers);
    assert.ok(first.took <= slower * expected(1), `it took ${Math.round(first.took)} ms`);

    const second = await storm(1);
    const again = seen.length - stormUsers;
    const outages = pool.outages();
    context.diagnostic(
      `the same through other processes: ${again} requests, ${Math.round(second.took)} ms, ${outages} outages of the store`,
    );
    assert.ok(all(second.answers));
    assert.ok(again <= outages * loginsPerOutage, `${again} requests again, ${outages} outages`);
    assert.deepEqual(pool.complaints(), []);
    await pool.stop();
    const hits = pool.requests().filter(({ cache }) => cache === 'hit').length;
    assert.equal(hits, stormUsers - again);
  });

  it('are one request each through a daemon, however often each comes at once', async (context) => {
    const directory = await startDirectory(context, { delay: answerTime });
    const path = join(temporaryFolder(), 'extauth.sock');
    const daemon = await startDaemon({
      config: {
        hosts: { [host]: null },
        ...settings(directory, keepLong),
        listen: [{ path, protocol: 'extauth' }],
        log: { level: 'warn' },
      },
    });
    context.after(() => daemon.stop());
    const waiting = [...users];
    const startedAt = performance.now();
    const answers = await Promise.all(
      Array.from({ length: pairs }, async () => {
        const connections = await Promise.all([connect(path), connect(path)]);
        const received: number[] = [];
        for (let user = waiting.shift(); user !== undefined; user = waiting.shift()) {
          const request = frame(`auth:${user}:${host}:oauth:${tokenOf(user)}`);
          received.push(...(await Promise.all(connections.map(({ ask }) => ask(request)))));
        }
        for (const { socket } of connections) socket.destroy();
        return received;
      }),
    );
    const expected = Math.ceil(stormUsers / pairs) * answerTime;
    context.diagnostic(
      `${Math.round(performance.now() - startedAt)} ms (${expected} ms by arithmetic) for ${answers.flat().length} logins`,
    );
    assert.equal(answers.flat().length, 2 * stormUsers);
    assert.ok(all(answers.flat()), daemon.log());
    assert.equal(directory.provider.seen.length, stormUsers);
  });
});

describe('processes that share an LMDB', () => {
  it('use what another has been told, be it yes or no', async (context) => {
    const directory = await startDirectory(context);
    directory.passwords.set('alice', 'right');
    const pool = await open(context, settings(directory, { state: lmdb() }), 2);
    const logins = [
      ['alice', `oauth:${tokenOf('alice')}`, 1, 'introspection'],
      ['alice', 'wrong', 0, 'password'],
    ] as const;
    for (const [user, secret, answer] of logins) {
      assert.equal(await pool.loginThrough(0, user, secret), answer);
      // An answer does not wait for the disk.
      await sleep(writtenWithin);
      assert.equal(await pool.loginThrough(1, user, secret), answer);
    }
    assert.equal(directory.provider.seen.length, 2);
    await pool.stop();
    assert.deepEqual(
      pool.requests().map(({ verdict, reason, cache, method }) => [verdict, reason, cache, method]),
      ['miss', 'hit'].flatMap((cache) => [
        ['accepted', undefined, cache, 'introspection'],
        ['refused', 'not_authorized', cache, 'password'],
      ]),
    );
  });

  it('spend one budget of wrong passwords, and tokens are outside of it', async (context) => {
    const directory = await startDirectory(context);
    directory.passwords.set('alice', 'right');
    directory.passwords.set('bob', 'right');
    const { seen } = directory.provider;
    const pool = await open(context, settings(directory, { state: lmdb() }), 6);
    for (let place = 0; place < 5; place++)
      assert.equal(await pool.loginThrough(place, 'alice', `wrong-${place}`), 0);
    assert.equal(seen.length, 5);
    assert.equal(await pool.loginThrough(5, 'alice', 'wrong-5'), 0);
    assert.equal(await pool.loginThrough(5, 'alice', 'right'), 0, 'the provider would count this one, too');
    assert.equal(seen.length, 5);
    assert.equal(await pool.loginThrough(5, 'alice', `oauth:${tokenOf('alice')}`), 1);
    assert.equal(await pool.loginThrough(5, 'bob', 'right'), 1, 'another user has another budget');
    await pool.stop();
    const reasons = pool.requests().map(({ reason }) => reason);
    const wrong = Array.from({ length: 5 }, () => 'not_authorized');
    assert.deepEqual(reasons, [...wrong, 'budget_exhausted', 'budget_exhausted', undefined, undefined]);
  });

  it('send no more wrong passwords than that where all come at once', async (context) => {
    const directory = await startDirectory(context, { delay: 50 });
    const pool = await open(context, settings(directory, { state: lmdb() }));
    await Promise.all(pool.bridges.map((_, place) => pool.loginThrough(place, 'alice', `wrong-${place}`)));
    assert.equal(directory.provider.seen.length, 5, `${pool.outages()} outages of the store`);
    assert.equal(directory.crowd(), 1, 'one after the other');
    await pool.stop();
    const spent = pool.requests().filter(({ reason }) => reason === 'budget_exhausted').length;
    assert.equal(spent, poolSize - 5);
  });

  it('send one wrong password once, however many of them are asked at once', async (context) => {
    const directory = await startDirectory(context, { delay: 50 });
    const pool = await open(context, settings(directory, { state: lmdb() }));
    assert.deepEqual(
      await pool.loginThroughAll('alice', 'wrong'),
      pool.bridges.map(() => 0),
    );
    assert.equal(directory.provider.seen.length, 1, `${pool.outages()} outages of the store`);
  });
});

/** Another machine's file with the same key. */
function copyOf(key: string): string {
  const file = join(temporaryFolder(), 'state.key');
  writeFileSync(file, key);
  chmodSync(file, 0o600);
  return file;
}

/** A connection to the daemon that asks one thing after the other. */
async function connect(path: string): Promise<{ socket: Socket; ask(request: Buffer): Promise<number> }> {
  const socket = connectTo(path);
  await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject));
  let answered = (_answer: number): void => {};
  socket.on('data', (data: Buffer) => answered(data.length === 4 ? data.readUInt32BE() - 0x20000 : -1));
  socket.on('close', () => answered(-2));
  return {
    socket,
    ask: (request) =>
      new Promise((resolve) => {
        answered = resolve;
        socket.write(request);
      }),
  };
}
