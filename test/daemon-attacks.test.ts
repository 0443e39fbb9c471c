// What a hostile peer of `extauth-oauth serve` may try: each of these once did harm to others.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { lstatSync, readdirSync, statSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { dirname, join } from 'node:path';
import { after, afterEach, before, describe, it } from 'node:test';
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises';
import { parseConfig } from '../src/config/parse.ts';
import type { Connection } from '../src/daemon/connection.ts';
import { createListeners, type Listeners, type Served } from '../src/daemon/listeners.ts';
import { createMetricsServer } from '../src/daemon/metrics-server.ts';
import type { SaslAnswer } from '../src/dovecot/logins.ts';
import { createDovecotSession } from '../src/dovecot/session.ts';
import { ByteQueue } from '../src/extauth/byte-queue.ts';
import { temporaryFolder, writeConfig } from './support/bridge.ts';
import { type Daemon, startDaemon, startHeldDaemon } from './support/daemon.ts';
import { type Scripted, startScripted } from './support/scripted-provider.ts';

describe('a request that drips in byte by byte', () => {
  it('is taken off the queue as fast as one that came whole', () => {
    const queue = new ByteQueue();
    const byte = Buffer.from('a');
    for (let at = 0; at < 150_000; at++) queue.push(byte, at);
    queue.push(Buffer.from('\nb'), 150_000);
    const began = performance.now();
    queue.skip(100_000);
    assert.equal(queue.arrivedAt, 100_000);
    queue.skip(50_001);
    assert.equal(queue.arrivedAt, 150_000);
    assert.equal(queue.length, 1);
    assert.ok(performance.now() - began < 500, `${performance.now() - began} ms`);
  });
});

const greeting = 'VERSION\t1\t1\nCPID\t1\n';

function auth(id: number, password = 'secret'): string {
  const message = Buffer.from(`\0alice\0${password}`).toString('base64');
  return `AUTH\t${id}\tPLAIN\tservice=xmpp\tresp=${message}\n`;
}

/** A session that has said hello, and the answers to what it is asked. */
function converse(answer: SaslAnswer): {
  session: ReturnType<typeof createDovecotSession>;
  feed(text: string): void;
  answers(): string[];
} {
  let written = '';
  const session = createDovecotSession({
    answer,
    mechanisms: () => ['PLAIN'],
    write(bytes) {
      written += bytes;
    },
    pause() {},
    resume() {},
    close() {},
    onFault() {},
    now: () => performance.now(),
    ids: { pid: 1, connection: 1, cookie: 'c' },
  });
  const feed = (text: string): void => session.feed(Buffer.from(text));
  feed(greeting);
  return {
    session,
    feed,
    answers: () => written.split('\n').filter((line) => /^(OK|FAIL|CONT)\t/.test(line)),
  };
}

describe('logins that are cancelled', () => {
  it('count among those that are judged until they have been', async () => {
    const judged: (() => void)[] = [];
    const { session, feed, answers } = converse(
      () => new Promise((resolve) => judged.push(() => resolve({ outcome: 'refused' }))),
    );
    for (let id = 1; id <= 300; id++) {
      feed(`${auth(id)}CANCEL\t${id}\n`);
      await turn();
    }
    assert.equal(judged.length, 256);
    assert.equal(answers().length, 300 - 256);
    assert.match(answers()[0] ?? '', /^FAIL\t257\treason=too many logins at a time\tcode=temp_fail\ttemp$/);
    for (const conclude of judged) conclude();
    await session.idle();
    feed(auth(301));
    assert.equal(judged.length, 257);
    // Nothing is said of what was cancelled.
    assert.equal(answers().length, 300 - 256);
  });

  it('may not say more than 4 MiB together', async () => {
    const seen: number[] = [];
    const { feed, answers } = converse(({ message }) => {
      seen.push(message.secret.length);
      return new Promise(() => {});
    });
    for (let id = 1; id <= 100; id++) {
      feed(auth(id, 'x'.repeat(60_000)));
      await turn();
    }
    await turn();
    assert.ok(seen.length < 60, `${seen.length}`);
    assert.equal(answers().length, 100 - seen.length);
  });
});

it('a session with lines that wait for their turn is not idle', async () => {
  const { session, feed, answers } = converse(() => ({ outcome: 'refused' }));
  feed(Array.from({ length: 200 }, (_, id) => auth(id)).join(''));
  assert.ok(answers().length < 200);
  await session.idle();
  assert.equal(answers().length, 200);
});

it('a connection for metrics ends with its one answer, and without when it is not asked for in time', async () => {
  let now = 0;
  const metrics = { text: async () => 'up 1\n', contentType: 'text/plain', measure() {}, observe() {} };
  const { accept } = createMetricsServer(
    () => metrics,
    () => now,
  );
  const accepted: Connection[] = [];
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => {
    accepted.push(accept(socket, () => {}));
    socket.resume();
  });
  const path = join(temporaryFolder(), 'metrics.sock');
  await once(server.listen(path), 'listening');
  const request = 'GET /metrics HTTP/1.1\r\nHost: localhost\r\n';
  const [whole, half, none] = await Promise.all([open(path), open(path), open(path)]);
  let text = '';
  whole.on('data', (chunk) => {
    text += chunk;
  });
  const ended = [whole, half, none].map((peer) =>
    once(peer.resume(), 'close', { signal: AbortSignal.timeout(5000) }),
  );
  whole.write(`${request}\r\n`);
  half.write(request);
  await ended[0];
  assert.match(text, /^HTTP\/1\.1 200 OK\r\n.*\r\n\r\n.*up 1\n/s);

  now = 10_000;
  for (const connection of accepted) connection.expire(now);
  await sleep(20);
  assert.equal(half.destroyed || none.destroyed, false);
  now = 10_001;
  for (const connection of accepted) connection.expire(now);
  await Promise.all(ended);
  server.close();
});

describe('a socket file', () => {
  const open: Listeners[] = [];
  function listeners(): Listeners {
    const accept = (): never => assert.fail('nobody connects');
    const loadLibc = (): Promise<never> => Promise.reject(new Error('none'));
    const created = createListeners({ passed: new Map(), loadLibc, accept, onTurnedAway() {}, now: () => 0 });
    open.push(created);
    return created;
  }
  afterEach(async () => {
    for (const each of open.splice(0)) await each.close();
  });
  const at = (path: string, mode = 0o660): Served => ({
    path,
    mode,
    protocol: 'extauth',
    max_connections: 1,
  });

  it('that another daemon has put in the place of ours stays when ours ends', async () => {
    const path = join(temporaryFolder(), 's');
    const ours = listeners();
    await ours.apply([at(path)]);
    unlinkSync(path);
    const other = listeners();
    await other.apply([at(path)]);
    await ours.close();
    assert.ok(lstatSync(path).isSocket());
    await other.close();
    assert.deepEqual(readdirSync(dirname(path)), []);
  });

  it('that cannot be opened keeps no other from being opened, changed or tried again', async () => {
    const folder = temporaryFolder();
    const [first, second] = [join(folder, 's'), join(folder, 't')];
    symlinkSync(join(folder, 'loop'), join(folder, 'loop'));
    const ours = listeners();
    await ours.apply([at(first)]);
    await assert.rejects(ours.apply([at(join(folder, 'loop/s')), at(first, 0o600), at(second)]), {
      name: 'ListenError',
      message: `${join(folder, 'loop/s')}: cannot be opened (ELOOP)`,
    });
    assert.equal(lstatSync(first).mode & 0o777, 0o600);
    assert.ok(lstatSync(second).isSocket());
    await ours.apply([at(second)]);
    assert.throws(() => lstatSync(first));
  });

  it('gets its permissions, and no file that a link in its place points to', async () => {
    const folder = temporaryFolder();
    const [path, victim] = [join(folder, 's'), join(folder, 'victim')];
    writeFileSync(victim, 'secret', { mode: 0o600 });
    const ours = listeners();
    await ours.apply([at(path)]);
    await ours.apply([at(path, 0o666)]);
    assert.equal(lstatSync(path).mode & 0o777, 0o666);
    unlinkSync(path);
    symlinkSync(victim, path);
    await assert.rejects(ours.apply([at(path)]), { name: 'ListenError', message: /something else/ });
    assert.equal(statSync(victim).mode & 0o777, 0o600);
  });
});

it('a port that everybody on the machine may try passwords at is worth a warning', () => {
  const config = { issuer: 'https://id.example', client_id: 'xmpp' };
  const warned = (socket: object): string[] =>
    parseConfig({ ...config, listen: [{ protocol: 'extauth', ...socket }] }).warnings.map(({ path }) => path);
  assert.deepEqual(warned({ address: '127.0.0.1:1234' }), ['listen.0.address']);
  assert.deepEqual(warned({ path: '/run/s' }), []);
});

it('a socket of systemd that was given back is not looked for at its old number', async () => {
  const named = (name: string): { path: string; name: string; protocol: string } => ({
    name,
    path: join(temporaryFolder(), 's'),
    protocol: 'extauth',
  });
  const [first, second] = [named('a'), named('b')];
  const config = { issuer: 'http://127.0.0.1:9', client_id: 'xmpp', hosts: { 'h.example': {} } };
  const file = writeConfig({ ...config, listen: [first, second] });
  const daemon = await startHeldDaemon({
    config: { ...config, listen: [first, second] },
    env: { EXTAUTH_OAUTH_CONFIG: file },
  });
  async function says(text: string): Promise<void> {
    for (let turns = 0; !daemon.log().includes(text); turns++) {
      assert.ok(turns < 400, `${text} is not in the log:\n${daemon.log()}`);
      await sleep(25);
    }
  }
  try {
    await says('"listening"');
    writeFileSync(file, JSON.stringify({ ...config, listen: [first] }));
    await says('systemd has opened a socket called b, and nothing under listen has this name');
    // Who is connected now has the number that b had.
    const peers = [await open(first.path), await open(first.path), await open(first.path)];
    writeFileSync(file, JSON.stringify({ ...config, listen: [first, second] }));
    await says("systemd's b was given back before");
    for (const peer of peers) {
      peer.write('isuser:alice:h.example\n');
      assert.equal(String((await once(peer, 'data'))[0]), '1\n');
      peer.destroy();
    }
  } finally {
    await daemon.stop();
  }
});

describe('the daemon', () => {
  const folder = temporaryFolder();
  const extauth = join(folder, 'extauth.sock');
  const dovecot = join(folder, 'dovecot.sock');
  const host = 'h.example';
  let provider: Scripted;
  let daemon: Daemon;

  before(async () => {
    provider = await startScripted();
    daemon = await startDaemon({
      config: {
        issuer: provider.origin,
        client_id: 'xmpp',
        client_secret: 'a-secret',
        resource_owner_password: true,
        deadline: '1s',
        hosts: { [host]: {} },
        listen: [
          { path: extauth, protocol: 'extauth' },
          { path: dovecot, protocol: 'dovecot', host, max_connections: 1 },
        ],
      },
    });
  });

  after(async () => {
    await daemon.stop();
    await provider.stop();
  });

  it('begins none of the requests that a peer has left behind', async () => {
    provider.set('token', { status: 400, body: { error: 'invalid_grant' }, delay: 50 });
    const peer = await open(extauth);
    peer.write(Array.from({ length: 100 }, (_, id) => `auth:user${id}:${host}:secret\n`).join(''));
    while (provider.seen.length === 0) await sleep(5);
    peer.destroy();
    await sleep(200);
    const before = provider.seen.length;
    await sleep(500);
    assert.equal(provider.seen.length, before);
    provider.reset();
  });

  it('counts a connection until what came over it has been judged', async () => {
    provider.set('token', { stall: true });
    const peer = await open(dovecot);
    peer.write(`${greeting}${auth(1)}`);
    while (!provider.seen.some(({ endpoint }) => endpoint === 'token')) await sleep(5);
    peer.destroy();
    await sleep(50);
    assert.equal(await greets(dovecot), false);
    // Its deadline.
    await sleep(1200);
    assert.equal(await greets(dovecot), true);
    provider.reset();
  });
});

function open(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(path, () => resolve(socket));
    socket.on('error', reject);
  });
}

/** Whether who connects is told anything, and not turned away. */
async function greets(path: string): Promise<boolean> {
  const socket = await open(path);
  return await new Promise((resolve) => {
    socket.once('data', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('close', () => resolve(false));
  });
}
