// Connections to the daemon that do not go on: by a clock of the test's own, over real sockets.
import assert from 'node:assert/strict';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Connection, createConnection } from '../src/daemon/connection.ts';
import { createMetricsServer } from '../src/daemon/metrics-server.ts';
import { createDovecotSession } from '../src/dovecot/session.ts';
import { createSession } from '../src/extauth/session.ts';
import { frame, temporaryFolder } from './support/bridge.ts';
import { connectPeer, connectTo, greet, type Peer } from './support/peer.ts';

/** A few seconds after 30 s at the latest: the daemon looks every 5 s. */
const PATIENCE = 30_000;

describe('a connection that does not go on', () => {
  const place = join(temporaryFolder(), 's.sock');
  let server: Server;
  let accept: (socket: Socket) => Connection;
  let accepted: Promise<Connection>;
  let clock = 0;
  const now = (): number => clock;
  before(async () => {
    server = createServer({ allowHalfOpen: true, pauseOnConnect: true }).listen(place);
    await new Promise((resolve) => server.once('listening', resolve));
  });
  after(() => server.close());

  function expectOne(): void {
    accepted = new Promise((resolve) => {
      server.once('connection', (socket) => {
        const connection = accept(socket);
        socket.resume();
        resolve(connection);
      });
    });
  }

  async function open(): Promise<{ peer: Peer; connection: Connection }> {
    expectOne();
    const peer = connectPeer(place);
    return { peer, connection: await accepted };
  }

  /** Whether it is closed when somebody looks. */
  async function closes({ peer, connection }: { peer: Peer; connection: Connection }): Promise<boolean> {
    connection.expire(clock);
    return await Promise.race([peer.closed.then(() => true), sleep(50, false)]);
  }

  function extauth(socket: Socket): Connection {
    return createConnection(socket, {
      now,
      onClose: () => {},
      onStranger: () => {},
      converse: (flow) => createSession({ ...flow, protocol: 'auto', now, answer: () => 'no' }),
    });
  }

  function dovecot(socket: Socket): Connection {
    return createConnection(socket, {
      now,
      onClose: () => {},
      onStranger: () => {},
      converse: (flow) =>
        createDovecotSession({
          ...flow,
          now,
          answer: () => ({ outcome: 'refused' }),
          mechanisms: () => ['PLAIN'],
          onFault: () => {},
          ids: { pid: 1, connection: 1, cookie: '' },
        }),
    });
  }

  it('is closed 30 s after the first byte of a request that is not all here', async () => {
    accept = extauth;
    const both = await open();
    both.peer.send(frame('auth:a:b:c').subarray(0, 5));
    await sleep(20);
    clock += PATIENCE - 1;
    // That more of it comes makes no difference.
    both.peer.send(frame('auth:a:b:c').subarray(5, 7));
    await sleep(20);
    assert.equal(await closes(both), false);
    clock += 2;
    assert.equal(await closes(both), true);
  });

  it('is closed the same while its first bytes may still be a command', async () => {
    accept = extauth;
    const both = await open();
    both.peer.send('aut');
    await sleep(20);
    clock += PATIENCE + 1;
    assert.equal(await closes(both), true);
  });

  it('is closed at once when it speaks HTTP: a web page that knows a port of its reader', async () => {
    accept = extauth;
    const { peer } = await open();
    peer.send('POST /x HTTP/1.1\r\nContent-Type: text/plain\r\n\r\nauth:alice:a.example:guess\n');
    assert.equal((await peer.closed).length, 0);
  });

  it('stays when it asks nothing: ejabberd has workers that nobody needs for hours', async () => {
    accept = extauth;
    const both = await open();
    assert.equal(await both.peer.ask('auth:a:b:c'), 0);
    clock += 1000 * PATIENCE;
    assert.equal(await closes(both), false);
    assert.equal(await both.peer.ask('auth:a:b:c'), 0);
    both.peer.leave();
  });

  it('is closed 30 s after it has stopped to take its answers', async () => {
    accept = extauth;
    expectOne();
    const deaf = connectTo(place);
    const closed = new Promise((resolve) => deaf.on('close', resolve));
    deaf.on('error', () => {});
    deaf.pause();
    const connection = await accepted;
    // Answers are twice as long as the empty requests: more than the kernel holds.
    deaf.write(Buffer.alloc(600_000));
    // On a busy machine it takes a while until the kernel is full.
    for (let n = 0; n < 5; n++) {
      await sleep(200);
      clock += PATIENCE + 1;
      connection.expire(clock);
    }
    deaf.resume();
    assert.equal(await Promise.race([closed.then(() => 'closed'), sleep(2000, 'open')]), 'closed');
  });

  it('is closed when no greeting has come, or half a line', async () => {
    accept = dovecot;
    const silent = await open();
    const half = await open();
    await greet(half.peer);
    const idle = await open();
    await greet(idle.peer);
    half.peer.send('AUTH\t1');
    await sleep(20);
    clock += PATIENCE + 1;
    assert.deepEqual([await closes(silent), await closes(half), await closes(idle)], [true, true, false]);
    idle.peer.leave();
  });

  it('is closed after 10 s when it asks for metrics and does not say so', async () => {
    const http = createMetricsServer(() => undefined, now);
    accept = (socket) => http.accept(socket, () => {});
    const [silent, half] = [await open(), await open()];
    half.peer.send('GET /metr');
    await sleep(20);
    assert.equal(await closes(silent), false);
    clock += 10_001;
    assert.deepEqual([await closes(silent), await closes(half)], [true, true]);
    const whole = await open();
    whole.peer.send('GET / HTTP/1.1\r\nhost: x\r\n\r\n');
    assert.match((await whole.peer.closed).toString(), /^HTTP\/1\.1 404 .*connection: close/is);
  });
});
