// The Dovecot authentication protocol over the daemon's socket, and what becomes of connections that are not used for it.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { after, before, beforeEach, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { type Connection, createConnection } from '../src/daemon/connection.ts';
import { createDovecotSession } from '../src/dovecot/session.ts';
import { temporaryFolder } from './support/bridge.ts';
import { type Daemon, startDaemon } from './support/daemon.ts';
import { auth, base64, oauthBearer, plain } from './support/sasl.ts';
import { alice, type Scripted, startScripted } from './support/scripted-provider.ts';

const HELLO = 'VERSION\t1\t1\nCPID\t42\n';
const right = plain('alice', alice.password);
const wrong = plain('alice', 'wrong-password');

interface Client {
  readonly socket: Socket;
  /** All that was said, the greeting too. */
  heard(): string;
  /** Resolves with what is said after the greeting, when it is so many lines. */
  lines(count: number): Promise<string[]>;
  /** Resolves when the other side has closed the connection. */
  readonly closed: Promise<unknown>;
}

/** Connects, and says `said`. */
function open(path: string, said = HELLO): Client {
  const socket = connect({ path, allowHalfOpen: true });
  let text = '';
  let wake = (): void => {};
  socket.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
    wake();
  });
  socket.on('error', () => {});
  const closed = new Promise((resolve) => socket.once('end', resolve).once('close', resolve));
  socket.write(said);
  return {
    socket,
    closed,
    heard: () => text,
    async lines(count) {
      for (;;) {
        const [, after = ''] = text.split('\nDONE\n');
        const lines = after.split('\n').slice(0, -1);
        if (lines.length >= count) return lines;
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    },
  };
}

describe('the daemon', () => {
  const path = join(temporaryFolder(), 'dovecot.sock');
  let provider: Scripted;
  let daemon: Daemon;
  before(async () => {
    provider = await startScripted();
    const { endpoints, origin } = provider;
    daemon = await startDaemon({
      config: {
        issuer: origin,
        client_id: 'xmpp',
        client_secret: 'client-secret',
        token_endpoint: endpoints.token,
        validation_endpoint: endpoints.userinfo,
        introspection_endpoint: endpoints.introspection,
        resource_owner_password: true,
        revoke_after_login: false,
        hosts: { 'chat.example': {} },
        listen: [{ path, protocol: 'dovecot', host: 'chat.example' }],
        deadline: '1s',
      },
    });
  });
  after(async () => {
    await daemon.stop();
    await provider.stop();
  });
  beforeEach(() => provider.reset());

  it('greets each of its connections by another number, and answers each on its own', async () => {
    const [one, two] = [open(path), open(path)];
    one.socket.write(auth(7, 'PLAIN', right));
    two.socket.write(auth(7, 'PLAIN', wrong));
    assert.deepEqual(await one.lines(1), ['OK\t7\tuser=alice']);
    assert.deepEqual(await two.lines(1), ['FAIL\t7\tuser=alice']);
    const numbers = [one, two].map((client) => /^CUID\t(\d+)$/m.exec(client.heard())?.[1]);
    assert.notEqual(numbers[0], numbers[1]);
    for (const { socket } of [one, two]) socket.destroy();
  });

  it('answers what comes in one write, each by its number, when it is decided', async () => {
    // Whoever asks first waits longest.
    provider.set('token', ({ body }) => {
      const name = new URLSearchParams(body).get('username') ?? '';
      return { status: 400, body: { error: 'invalid_grant' }, delay: 100 * (4 - Number(name.slice(1))) };
    });
    const { socket, lines } = open(path, '');
    const asks = [0, 1, 2, 3].map((id) => auth(id, 'PLAIN', plain(`u${id}`, 'x')));
    socket.write(HELLO + asks.join('') + auth(9, 'OAUTHBEARER', oauthBearer('two words')));
    const heard = await lines(5);
    assert.match(heard[0] ?? '', /^CONT\t9\t/, 'nobody has to be asked about that');
    assert.deepEqual(
      heard.slice(1),
      [3, 2, 1, 0].map((id) => `FAIL\t${id}\tuser=u${id}`),
    );
    socket.destroy();
  });

  it('says what is wrong with a token before it refuses it', async () => {
    const { socket, lines } = open(path);
    socket.write(auth(1, 'OAUTHBEARER', oauthBearer('stolen')));
    const [challenge = ''] = await lines(1);
    assert.deepEqual(JSON.parse(Buffer.from(challenge.split('\t')[2] ?? '', 'base64').toString()), {
      status: 'invalid_token',
      scope: 'openid',
      'openid-configuration': `${provider.origin}/.well-known/openid-configuration`,
    });
    socket.write(`CONT\t1\t${base64('\x01')}\n`);
    assert.equal((await lines(2))[1], 'FAIL\t1\treason=token_inactive');
    socket.write(auth(2, 'OAUTHBEARER', oauthBearer(alice.token)));
    assert.equal((await lines(3))[2], 'OK\t2\tuser=alice');
    socket.destroy();
  });

  it('answers within its deadline, whatever the provider does', async () => {
    provider.set('token', { stall: true });
    const { socket, lines } = open(path);
    const startedAt = performance.now();
    socket.write(auth(1, 'PLAIN', right));
    assert.deepEqual(await lines(1), ['FAIL\t1\tuser=alice\treason=deadline\tcode=temp_fail\ttemp']);
    assert.ok(performance.now() - startedAt < 1400);
    socket.destroy();
  });

  it('answers all that was asked by a client that has closed its side', async () => {
    const { socket, lines, closed } = open(path, '');
    const malformed = Array.from({ length: 300 }, (_, id) => auth(id, 'OAUTHBEARER', 'none'));
    socket.end(HELLO + auth(999, 'PLAIN', right) + malformed.join(''));
    await closed;
    const heard = await lines(301);
    assert.equal(heard.length, 301);
    assert.ok(heard.includes('OK\t999\tuser=alice'));
    socket.destroy();
  });

  const strangers: [title: string, said: string][] = [
    ['does not say which version it speaks', auth(1, 'PLAIN', right)],
    ['speaks another version', `VERSION\t2\t0\n${auth(1, 'PLAIN', right)}`],
    ['speaks HTTP', `POST / HTTP/1.1\r\nHost: localhost\r\n\r\n${HELLO}${auth(1, 'PLAIN', right)}`],
    ['speaks extauth', `auth:alice:chat.example:${alice.password}\n`],
  ];
  for (const [title, said] of strangers) {
    it(`hangs up on a client that ${title}, without an answer`, async () => {
      const { socket, heard, closed } = open(path, said);
      await closed;
      // Where it closes while something is unread, the greeting may be lost.
      assert.match(heard(), /^(?:VERSION\t1\t2\n(?:.+\n)*DONE\n)?$/);
      assert.deepEqual(provider.seen, [], 'nobody was asked');
      assert.doesNotMatch(daemon.log(), new RegExp(alice.password));
      socket.destroy();
    });
  }

  it('goes on for everybody else', async () => {
    const silent = open(path, '');
    const { socket, lines } = open(path);
    open(path, 'NOISE\n');
    socket.write(auth(1, 'PLAIN', right));
    assert.deepEqual(await lines(1), ['OK\t1\tuser=alice']);
    for (const client of [silent.socket, socket]) client.destroy();
  });
});

describe('a connection', () => {
  /** One accepted connection, whose clock stands where a test sets it. */
  async function accept(
    said: string,
  ): Promise<{ client: Client; connection: Connection; at(ms: number): void }> {
    let clock = 0;
    const path = join(temporaryFolder(), 's');
    const server = createServer({ allowHalfOpen: true }).listen(path);
    await once(server, 'listening');
    const client = open(path, said);
    const [socket] = (await once(server, 'connection')) as [Socket];
    const connection = createConnection(socket, {
      now: () => clock,
      onClose: () => server.close(),
      onStranger: () => {},
      converse: ({ close, ...flow }) =>
        createDovecotSession({
          ...flow,
          close: () => close(),
          answer: () => ({ outcome: 'accepted', user: 'alice' }),
          mechanisms: () => ['PLAIN'],
          onFault() {},
          now: () => clock,
          ids: { pid: 1, connection: 1, cookie: 'c' },
        }),
    });
    // The bytes are on their way when the client has heard the greeting.
    await client.lines(0);
    await pause(20);
    return {
      client,
      connection,
      at(ms) {
        clock = ms;
        connection.expire(ms);
      },
    };
  }

  const table: [title: string, said: string, expires: boolean][] = [
    ['that never says which version it speaks', '', true],
    ['that says half of it', 'VERSION\t1', true],
    ['that leaves a line unfinished', `${HELLO}AUTH\t1\tPLAIN`, true],
    ['that has nothing to ask', HELLO, false],
    ['that has been asked for its message', `${HELLO}AUTH\t1\tPLAIN\n`, false],
  ];
  for (const [title, said, expires] of table) {
    it(`${title} is ${expires ? 'closed after half a minute' : 'kept'}`, async () => {
      const { client, at } = await accept(said);
      at(30_000);
      await pause(20);
      assert.equal(client.socket.readableEnded, false, 'not before');
      at(30_001);
      const isClosed = await Promise.race([client.closed.then(() => true), pause(50, false)]);
      assert.equal(isClosed, expires);
      client.socket.destroy();
    });
  }
});
