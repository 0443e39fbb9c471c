// The daemon as a process: its sockets, who gets in, what systemd hears, and what becomes of connections when it is told
// to change or to end.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { request } from 'node:http';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { atExit } from './support/at-exit.ts';
import { frame, root, startBridge, temporaryFolder } from './support/bridge.ts';
import {
  type Daemon,
  type DaemonConfig,
  launchDaemon,
  startDaemon,
  startHeldDaemon,
} from './support/daemon.ts';
import { connectPeer, connectTo, greet, plain } from './support/peer.ts';
import { type Scripted, startScripted } from './support/scripted-provider.ts';
import { createSigner } from './support/signer.ts';

const good = 'auth:alice:example.org:alice-password';
const bad = 'auth:alice:example.org:wrong';
const byToken = 'auth:alice:example.org:token:alice-token';
const malformed = 'nonsense';

/** `nobody` and `nogroup` of Debian. */
const NOBODY = 65_534;

let provider: Scripted;
let settings: Record<string, unknown>;
before(async () => {
  provider = await startScripted();
  provider.set('token', ({ body }) => {
    const password = new URLSearchParams(body).get('password') ?? '';
    const granted = { body: { access_token: 'alice-token', token_type: 'Bearer' } };
    if (password === 'hang') return { stall: true };
    if (password.startsWith('slow-')) return { ...granted, delay: 400 };
    return password === 'alice-password' ? granted : { status: 400, body: { error: 'invalid_grant' } };
  });
  settings = {
    hosts: { 'example.org': null, 'other.example': null },
    token_endpoint: provider.endpoints.token,
    validation_endpoint: provider.endpoints.userinfo,
    client_id: 'xmpp',
    client_secret: 'daemon-secret',
    token_prefix: 'token:',
  };
});
after(() => provider.stop());

/** A folder that every user can reach. */
function openFolder(): string {
  const folder = temporaryFolder();
  chmodSync(dirname(folder), 0o755);
  chmodSync(folder, 0o755);
  return folder;
}

function socketPath(): string {
  return join(openFolder(), 's.sock');
}

function extauthAt(path: string, more: object = {}): DaemonConfig {
  return { ...settings, listen: [{ path, protocol: 'extauth', ...more }] };
}

function dovecotAt(path: string, more: object = {}): DaemonConfig {
  return { ...settings, listen: [{ path, protocol: 'dovecot', host: 'example.org', ...more }] };
}

/** With a daemon that is ended afterwards, and must end well. */
async function withDaemon(
  options: Parameters<typeof startDaemon>[0],
  use: (daemon: Daemon) => Promise<void>,
): Promise<void> {
  const daemon = await startDaemon(options);
  try {
    await use(daemon);
  } finally {
    assert.deepEqual(await daemon.stop(), { code: 0, signal: null }, daemon.log());
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function soon(isSo: () => boolean | Promise<boolean>, what: string, within = 3000): Promise<void> {
  for (const until = Date.now() + within; !(await isSo()); await sleep(5)) {
    if (Date.now() > until) assert.fail(`not within ${within} ms: ${what}`);
  }
}

/** The log is written a tenth of a second later. */
function logged(daemon: { log(): string }, what: RegExp): Promise<void> {
  return soon(() => what.test(daemon.log()), `${what} in\n${daemon.log()}`);
}

let slowLogins = 0;

/** A login with a right password that the provider takes 400 ms to look at, told apart from all others by the password. */
function slowLogin(): { request: string; password: string; reached(): Promise<void> } {
  const password = `slow-${++slowLogins}`;
  return {
    request: `auth:alice:example.org:${password}`,
    password,
    reached: () =>
      soon(() => provider.seen.some(({ body }) => body.includes(`${password}&`)), 'it reaches the provider'),
  };
}

/** And one that the provider never answers. */
const hanging = 'auth:alice:example.org:hang';

// Starting takes most of the time, and what is alike can do so side by side.
describe('serve ends at once', { concurrency: 3 }, () => {
  const table: [title: string, config: () => unknown, code: number, said: RegExp][] = [
    ['without a configuration', () => undefined, 78, /EXTAUTH_OAUTH_CONFIG|nonexistent/],
    ['with a broken one', () => '{"listen": [', 78, /is not valid JSON/],
    ['with one that is not used', () => ({ ...settings, listen: 'x' }), 78, /must be a list of sockets/],
    ['without sockets', () => settings, 78, /serve needs at least one socket/],
    [
      'when the folder of a socket is missing',
      () => extauthAt('/nonexistent/folder/s.sock'),
      1,
      /\/nonexistent\/folder\/s\.sock: the folder does not exist/,
    ],
    [
      'when a file is in the way',
      () => {
        const path = socketPath();
        writeFileSync(path, 'precious');
        return extauthAt(path);
      },
      1,
      /s\.sock is there and no socket/,
    ],
    [
      'when there is no such group',
      () => extauthAt(socketPath(), { group: 'no-such-group' }),
      1,
      /there is no group no-such-group on this machine/,
    ],
    [
      'when there is no such user',
      () => extauthAt(socketPath(), { allow_uids: ['no-such-user'] }),
      1,
      /there is no user no-such-user on this machine/,
    ],
    [
      'when systemd has not passed a socket that has no other place',
      () => ({ ...settings, listen: [{ name: 'xmpp', protocol: 'extauth' }] }),
      1,
      /systemd has passed no socket called xmpp/,
    ],
  ];
  for (const [title, config, code, said] of table) {
    it(`${title}: exit code ${code}`, async () => {
      const daemon = launchDaemon({ config: config() });
      assert.deepEqual(await daemon.exited, { code, signal: null });
      assert.match(daemon.log(), said);
      await logged(daemon, /"level":"error"/);
    });
  }

  it('and leaves no socket behind when the second one cannot be opened', async () => {
    const path = socketPath();
    const { listen } = extauthAt(path);
    const daemon = launchDaemon({
      config: { ...settings, listen: [...listen, { path: '/nonexistent/s.sock', protocol: 'extauth' }] },
    });
    assert.equal((await daemon.exited).code, 1);
    assert.ok(!existsSync(path));
  });

  it('where its user may not make, look at or replace a socket, and names the path', async () => {
    const folder = openFolder();
    const closed = join(folder, 'closed');
    mkdirSync(closed, { mode: 0o700 });
    const sticky = join(folder, 'sticky');
    mkdirSync(sticky);
    chmodSync(sticky, 0o1777);
    const stale = join(sticky, 's.sock');
    await leaveStale(stale);
    for (const path of [join(folder, 's.sock'), join(closed, 's.sock'), stale]) {
      const daemon = launchDaemon({
        config: extauthAt(path),
        through: ['setpriv', `--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups'],
      });
      chownSync(dirname(daemon.file), NOBODY, NOBODY);
      chownSync(daemon.file, NOBODY, NOBODY);
      assert.equal((await daemon.exited).code, 1, daemon.log());
      assert.match(daemon.log(), new RegExp(`"event":"listen".*${path}: this user may not`));
    }
    assert.ok(existsSync(stale));
  });

  it('when another daemon listens there, which notices nothing', async () => {
    const path = socketPath();
    await withDaemon({ config: extauthAt(path) }, async () => {
      const peer = connectPeer(path);
      const { ino } = lstatSync(path);
      const second = launchDaemon({ config: extauthAt(path) });
      assert.equal((await second.exited).code, 1);
      assert.ok(second.log().includes(`${path}: another process listens there`));
      assert.equal(lstatSync(path).ino, ino);
      assert.equal(await peer.ask(good), 1);
      const third = connectPeer(path);
      assert.equal(await third.ask(good), 1);
      for (const each of [peer, third]) each.leave();
    });
  });
});

/** What a daemon that was killed leaves. */
async function leaveStale(path: string): Promise<void> {
  const script = `require('node:net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`;
  const child = spawn(process.execPath, ['-e', script]);
  await new Promise((resolve) => child.on('exit', resolve));
  assert.ok(lstatSync(path).isSocket());
}

describe('the file of a socket', { concurrency: 3 }, () => {
  it('replaces one that nobody listens at, and is gone when the daemon has ended', async () => {
    const path = socketPath();
    await leaveStale(path);
    await withDaemon({ config: extauthAt(path) }, async () => {
      const peer = connectPeer(path);
      assert.equal(await peer.ask(good), 1);
      peer.leave();
    });
    assert.ok(!existsSync(path));
  });

  it('stays when another process has put its own there', async () => {
    const path = socketPath();
    const first = await startDaemon({ config: extauthAt(path) });
    await logged(first, /"event":"listening"/);
    rmSync(path);
    await withDaemon({ config: extauthAt(path) }, async () => {
      assert.equal((await first.stop()).code, 0);
      const peer = connectPeer(path);
      assert.equal(await peer.ask(good), 1);
      peer.leave();
    });
  });

  it('has mode and group as configured, and before that is for nobody else', async () => {
    const path = socketPath();
    const daemon = launchDaemon({ config: extauthAt(path, { group: 'adm', mode: '0620' }) });
    // A look costs microseconds: what the file is on the way there does not escape.
    const seen = new Set<string>();
    for (const until = Date.now() + 5000; Date.now() < until; ) {
      for (let looks = 0; looks < 2000; looks++) {
        const found = lstatSync(path, { throwIfNoEntry: false });
        if (found !== undefined) seen.add(`${(found.mode & 0o777).toString(8)} ${found.gid}`);
      }
      if (daemon.log().includes('"listening"')) break;
      await sleep(0);
    }
    const { gid } = lstatSync(path);
    assert.equal(gid, groupNumber('adm'));
    assert.ok(seen.delete(`620 ${gid}`), [...seen].join());
    for (const each of seen) assert.match(each, /^600 /);
    assert.equal((await daemon.stop()).code, 0);
  });

  it('does not depend on the umask', async () => {
    const path = socketPath();
    await withDaemon(
      {
        config: extauthAt(path, { mode: '0666', allow_uids: 0 }),
        through: ['sh', '-c', 'umask 077; exec "$@"', 'sh'],
      },
      async () => assert.equal(lstatSync(path).mode & 0o777, 0o666),
    );
  });
});

function groupNumber(name: string): number {
  return Number(new RegExp(`^${name}:[^:]*:(\\d+)`, 'm').exec(readFileSync('/etc/group', 'utf8'))?.[1]);
}

describe('over a connection', { concurrency: 3 }, () => {
  let daemon: Daemon;
  let places: { unix: string; tcp: string; tcp6: string; dovecot: string; dovecotTcp: string };
  before(async () => {
    places = {
      unix: socketPath(),
      tcp: `127.0.0.1:${await freePort()}`,
      tcp6: `[::1]:${await freePort()}`,
      dovecot: socketPath(),
      dovecotTcp: `127.0.0.1:${await freePort()}`,
    };
    daemon = await startDaemon({
      config: {
        ...settings,
        listen: [
          { path: places.unix, protocol: 'extauth' },
          { address: places.tcp, protocol: 'extauth' },
          { address: places.tcp6, protocol: 'extauth' },
          { path: places.dovecot, protocol: 'dovecot', host: 'example.org' },
          { address: places.dovecotTcp, protocol: 'dovecot', host: 'example.org' },
        ],
      },
    });
  });
  after(async () => assert.equal((await daemon.stop()).code, 0));

  for (const place of ['unix', 'tcp', 'tcp6'] as const) {
    it(`${place} carries extauth`, async () => {
      const peer = connectPeer(places[place]);
      assert.equal(await peer.ask(good), 1);
      assert.equal(await peer.ask(bad), 0);
      assert.equal(await peer.ask(byToken), 1);
      assert.equal(await peer.ask('isuser:alice:unlisted.example'), 0);
      assert.equal(await peer.ask('setpass:alice:example.org:new'), 2);
      assert.equal(await peer.ask(malformed), 0);
      peer.leave();
    });
  }

  for (const place of ['dovecot', 'dovecotTcp'] as const) {
    it(`${place} carries the Dovecot protocol`, async () => {
      const peer = connectPeer(places[place]);
      const greeting = await greet(peer);
      assert.ok(greeting.includes('MECH\tPLAIN\tplaintext'));
      assert.ok(greeting.includes(`SPID\t${daemon.pid}`));
      peer.send(`AUTH\t1\tPLAIN\tservice=xmpp\tresp=${plain('alice', 'alice-password')}\n`);
      assert.equal(await peer.line(), 'OK\t1\tuser=alice');
      peer.send(`AUTH\t2\tPLAIN\tservice=xmpp\tresp=${plain('alice', 'wrong')}\n`);
      assert.match(await peer.line(), /^FAIL\t2\tuser=alice/);
      peer.leave();
    });
  }

  it('frames and lines are told apart for each, at the same time', async () => {
    const peers = Array.from({ length: 20 }, () => connectPeer(places.unix));
    await Promise.all(
      peers.map(async (peer, index) => {
        for (const request of [good, bad, byToken]) {
          const expected = request === bad ? 0 : 1;
          if (index % 2 === 0) {
            assert.equal(await peer.ask(request), expected);
          } else {
            peer.send(`${request}\n`);
            assert.equal(await peer.line(), String(expected));
          }
        }
        peer.leave();
      }),
    );
  });

  it('what is pipelined in one write is answered in order', async () => {
    const peer = connectPeer(places.unix);
    const requests = Array.from({ length: 700 }, (_, index) =>
      index % 100 === 0
        ? good
        : index % 3 === 0
          ? malformed
          : index % 7 === 0
            ? byToken
            : 'isuser:a:example.org',
    );
    peer.send(Buffer.concat(requests.map((request) => frame(request))));
    const answers = await peer.receive(requests.length * 4);
    assert.deepEqual(
      requests.map((_, index) => answers[index * 4 + 3]),
      requests.map((request) => (request === malformed ? 0 : 1)),
    );
    peer.leave();
  });

  it('requests that come byte by byte are answered', async () => {
    const peer = connectPeer(places.tcp);
    peer.socket.setNoDelay(true);
    for (const byte of Buffer.concat([frame(malformed), frame(byToken)])) {
      peer.send(Buffer.of(byte));
      await sleep(1);
    }
    assert.equal((await peer.receive(8)).toString('hex'), '0002000000020001');
    peer.leave();
  });

  for (const place of ['unix', 'tcp'] as const) {
    it(`what was asked before the end of input is answered, then it is closed (${place})`, async () => {
      const peer = connectPeer(places[place]);
      const requests = Array.from({ length: 400 }, (_, index) => (index === 399 ? good : malformed));
      peer.send(Buffer.concat([...requests.map((request) => frame(request)), Buffer.from([0, 9, 1])]));
      peer.end();
      const answers = await peer.closed;
      assert.equal(answers.length, 1600);
      assert.equal(answers.at(-1), 1);
    });
  }

  it('the same for the Dovecot protocol', async () => {
    const peer = connectPeer(places.dovecot);
    await greet(peer);
    const lines = Array.from(
      { length: 300 },
      (_, id) => `AUTH\t${id + 1}\tPLAIN\tresp=${id === 299 ? plain('alice', 'alice-password') : '%'}\n`,
    );
    peer.send(lines.join(''));
    peer.end();
    const answers = (await peer.closed).toString().trim().split('\n');
    assert.equal(answers.length, 300);
    assert.ok(answers.includes('OK\t300\tuser=alice'));
  });

  it('what comes from a web page is no login', async () => {
    const http = 'POST / HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n';
    const peer = connectPeer(places.dovecotTcp);
    peer.send(`${http}VERSION\t1\t1\nAUTH\t1\tPLAIN\tresp=${plain('alice', 'alice-password')}\n`);
    assert.ok(!(await peer.closed).includes('\nOK'));
    await logged(daemon, /"event":"hung_up".*it speaks HTTP/);
  });

  it('a peer that resets it harms nobody', async () => {
    const others = [connectPeer(places.tcp), connectPeer(places.unix)];
    for (let round = 0; round < 50; round++) {
      const peer = connectPeer(round % 2 === 0 ? places.tcp : places.dovecotTcp);
      await new Promise((resolve) => peer.socket.once('connect', resolve));
      peer.send(round % 2 === 0 ? frame(byToken) : 'VERSION\t1\t1\n');
      peer.socket.resetAndDestroy();
    }
    for (const other of others) {
      assert.equal(await other.ask(good), 1);
      other.leave();
    }
    assert.ok(!daemon.log().includes('internal_error'));
  });
});

describe('who may connect', { concurrency: 3 }, () => {
  /** Asks one question as somebody else; what is answered, as hexadecimal digits. */
  async function askAs(privileges: readonly string[], path: string): Promise<string> {
    const script = `
      const socket = require('node:net').createConnection(${JSON.stringify(path)});
      socket.on('error', ({ code }) => process.stdout.write(code));
      socket.on('data', (data) => { process.stdout.write(data.toString('hex')); socket.destroy(); });
      socket.write(Buffer.from('${frame(byToken).toString('hex')}', 'hex'));`;
    const child = spawn('setpriv', [...privileges, process.execPath, '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let said = '';
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      said += chunk;
    });
    await new Promise((resolve) => child.on('close', resolve));
    return said.replace(/ECONNRESET|EPIPE/g, '');
  }
  const yes = '00020001';
  const nobody = [`--reuid=${NOBODY}`, `--regid=${NOBODY}`];
  const alone = [...nobody, '--clear-groups'];

  it('is said by allow_uids and allow_gids, whatever the mode', async () => {
    const [users, groups] = [socketPath(), socketPath()];
    const config = {
      ...settings,
      listen: [
        { path: users, protocol: 'extauth', mode: '0666', allow_uids: ['root', 12_345] },
        { path: groups, protocol: 'extauth', mode: '0666', allow_gids: ['adm', NOBODY - 1] },
      ],
    };
    await withDaemon({ config }, async (daemon) => {
      const table: [as: readonly string[], path: string, answer: string][] = [
        [['--reuid=0', '--regid=0', '--clear-groups'], users, yes],
        [['--reuid=12345', '--regid=12345', '--clear-groups'], users, yes],
        [alone, users, ''],
        // The number of a group is not that of a user.
        [['--reuid=1', '--regid=12345', '--groups=0,12345'], users, ''],
        [alone, groups, ''],
        [[...nobody, `--groups=100,${groupNumber('adm')}`], groups, yes],
        [[`--reuid=${NOBODY}`, `--regid=${NOBODY - 1}`, '--clear-groups'], groups, yes],
        // Not even root, when it is not listed.
        [['--reuid=0', '--regid=0', '--clear-groups'], groups, ''],
      ];
      const answers = await Promise.all(table.map(([as, path]) => askAs(as, path)));
      assert.deepEqual(
        answers,
        table.map(([, , answer]) => answer),
      );
      await logged(
        daemon,
        /"event":"turned_away".*"message":"it is nobody of allow_uids or allow_gids","uid":65534,"pid":\d+/,
      );
      await logged(daemon, /"uid":1,/);
    });
  });

  it('is said by mode and group alone where they say nothing', async () => {
    const path = socketPath();
    await withDaemon({ config: extauthAt(path, { group: 'adm' }) }, async () => {
      assert.equal(await askAs(alone, path), 'EACCES');
      assert.equal(await askAs([...nobody, `--groups=${groupNumber('adm')}`], path), yes);
    });
  });

  it('cannot be found out without koffi: then nobody may', async () => {
    const path = socketPath();
    const daemon = launchDaemon({
      config: extauthAt(path, { allow_uids: 0, mode: '0666' }),
      env: { NODE_OPTIONS: `--import ${withoutKoffi()}` },
    });
    assert.equal((await daemon.exited).code, 1);
    await logged(daemon, /allow_uids and allow_gids cannot be kept: .*koffi/);
    assert.ok(!existsSync(path));
  });
});

/** The address of a module that makes Node look for koffi in vain. */
function withoutKoffi(): string {
  const hooks = `export function resolve(name, context, next) {
    if (name === 'koffi') throw Object.assign(new Error("Cannot find package 'koffi'"), { code: 'ERR_MODULE_NOT_FOUND' });
    return next(name, context);
  }`;
  const file = join(temporaryFolder(), 'hide.mjs');
  const address = `data:text/javascript,${encodeURIComponent(hooks)}`;
  writeFileSync(file, `import { register } from 'node:module'; register(${JSON.stringify(address)});`);
  return file;
}

describe('max_connections', () => {
  it('turns away who comes when all are taken, and lets the next one in when somebody has left', async () => {
    const path = socketPath();
    await withDaemon({ config: extauthAt(path, { max_connections: 3 }) }, async (daemon) => {
      const peers = [connectPeer(path), connectPeer(path), connectPeer(path)];
      for (const peer of peers) assert.equal(await peer.ask(byToken), 1);
      const late = connectPeer(path);
      assert.equal((await late.closed).length, 0);
      await logged(daemon, /"event":"turned_away".*too many connections \(max_connections\)/);
      peers[1]?.leave();
      await soon(async () => {
        const peer = connectPeer(path);
        const answer = await peer.ask(byToken).catch(() => undefined);
        peer.leave();
        return answer === 1;
      }, 'there is room again');
      for (const peer of peers) peer.leave();
    });
  });
});

describe('systemd', { concurrency: 3 }, () => {
  it('passes sockets by name, which stay as they are and outlive a crash', async () => {
    const [extauth, dovecot] = [socketPath(), socketPath()];
    const daemon = await startHeldDaemon({
      config: {
        ...settings,
        listen: [
          { name: 'extauth', path: extauth, protocol: 'extauth', mode: '0600' },
          { name: 'dovecot', path: dovecot, protocol: 'dovecot', host: 'example.org' },
        ],
      },
    });
    try {
      const { ino, mode } = lstatSync(extauth);
      const peer = connectPeer(extauth);
      assert.equal(await peer.ask(good), 1);
      const other = connectPeer(dovecot);
      assert.ok((await greet(other)).includes('DONE'));
      await daemon.kill();
      await peer.closed;
      const again = connectPeer(extauth);
      assert.equal(await again.ask(good), 1);
      again.leave();
      assert.deepEqual(
        [lstatSync(extauth).ino, lstatSync(extauth).mode],
        [ino, mode],
        'the file is not ours to change',
      );
    } finally {
      await daemon.stop();
    }
  });

  it('passes a socket once: what is not used any more comes back with a restart', async () => {
    const [first, second] = [socketPath(), socketPath()];
    const sockets = [
      { name: 'first', path: first, protocol: 'extauth' },
      { name: 'second', path: second, protocol: 'extauth' },
    ];
    const config = { ...settings, listen: sockets };
    const daemon = await startHeldDaemon({ config });
    try {
      const stays = connectPeer(first);
      assert.equal(await stays.ask(byToken), 1);
      await daemon.reload({ ...config, listen: sockets.slice(0, 1) });
      // Its descriptor is another thing's by now, or nobody's.
      const others = Array.from({ length: 5 }, () => connectPeer(first));
      for (const other of others) assert.equal(await other.ask(byToken), 1);
      await daemon.reload(config);
      await logged(
        daemon,
        /"event":"listen","message":".*second was given back before: start again to have it again"/,
      );
      for (const peer of [stays, ...others]) assert.equal(await peer.ask(byToken), 1);
      await daemon.kill();
      const back = connectPeer(second);
      assert.equal(await back.ask(byToken), 1);
      back.leave();
    } finally {
      await daemon.stop();
    }
  });

  it('passes no socket that others than this machine reach', async () => {
    const daemon = await startHeldDaemon({
      config: { ...settings, listen: [{ name: 'x', protocol: 'extauth' }] },
      places: { x: '0.0.0.0:40000' },
      // Without an interface but a dead loopback: the test itself opens nothing to anybody.
      through: ['unshare', '--net'],
    });
    try {
      await soon(() => /"event":"listen"/.test(daemon.log()), 'it says why it does not start');
      await logged(daemon, /systemd's x listens at 0\.0\.0\.0: what comes over it is passwords/);
      await soon(() => daemon.log().includes('the program has ended'), 'it ends');
      assert.ok(!daemon.log().includes('"event":"listening"'));
    } finally {
      await daemon.stop();
    }
  });

  it('means another process by another LISTEN_PID', async () => {
    const path = socketPath();
    const env = { LISTEN_PID: '1', LISTEN_FDS: '1', LISTEN_FDNAMES: 'x' };
    const nowhere = launchDaemon({
      config: { ...settings, listen: [{ name: 'x', protocol: 'extauth' }] },
      env,
    });
    assert.equal((await nowhere.exited).code, 1);
    assert.match(nowhere.log(), /systemd has passed no socket called x/);
    await withDaemon({ config: extauthAt(path, { name: 'x' }), env }, async () => {
      const peer = connectPeer(path);
      assert.equal(await peer.ask(good), 1);
      peer.leave();
    });
  });

  for (const kind of ['path', 'abstract name'] as const) {
    it(`hears at a ${kind} when the daemon is ready, reloads, lives and stops`, async () => {
      const place = kind === 'path' ? join(openFolder(), 'notify') : `@extauth-oauth-test-${process.pid}`;
      const systemd = await listenForNotifications(place);
      try {
        const path = socketPath();
        const config = extauthAt(path);
        const env = { NOTIFY_SOCKET: place, WATCHDOG_USEC: '200000' };
        await withDaemon({ config, env }, async (daemon) => {
          await soon(() => systemd.heard.length > 0, 'READY');
          assert.equal(systemd.heard[0], 'READY=1\nSTATUS=listening at 1 sockets');
          // Every 100 ms, as half of what it wants.
          await sleep(650);
          const beats = systemd.heard.filter((text) => text === 'WATCHDOG=1').length;
          assert.ok(beats >= 4 && beats <= 7, `${beats} signs of life`);
          const clock = process.hrtime.bigint() / 1000n;
          const told = systemd.heard.length;
          await daemon.reload({
            ...config,
            listen: [...config.listen, { path: socketPath(), protocol: 'extauth' }],
          });
          await soon(
            () => systemd.heard.slice(told).some((text) => text.startsWith('READY=1')),
            'READY again',
          );
          const [reloading = '', ready] = systemd.heard.slice(told).filter((text) => text !== 'WATCHDOG=1');
          assert.match(reloading, /^RELOADING=1\nMONOTONIC_USEC=\d+$/);
          const at = BigInt(/\d+$/.exec(reloading)?.[0] ?? 0);
          assert.ok(at >= clock && at < clock + 2_000_000n, 'the clock is the monotonic one');
          assert.equal(ready, 'READY=1\nSTATUS=listening at 2 sockets');
          const before = systemd.heard.length;
          await daemon.reload('{');
          await soon(
            () => systemd.heard.slice(before).some((text) => text.startsWith('READY=1')),
            'READY, too',
          );
        });
        assert.equal(systemd.heard.filter((text) => text !== 'WATCHDOG=1').at(-1), 'STOPPING=1');
      } finally {
        systemd.stop();
      }
    });
  }

  it('hears nothing of a watchdog that is another process’s', async () => {
    const place = join(openFolder(), 'notify');
    const systemd = await listenForNotifications(place);
    const env = { NOTIFY_SOCKET: place, WATCHDOG_USEC: '20000', WATCHDOG_PID: '1' };
    await withDaemon({ config: extauthAt(socketPath()), env }, async () => sleep(100));
    systemd.stop();
    assert.deepEqual(
      systemd.heard.map((text) => text.split('\n')[0]),
      ['READY=1', 'STOPPING=1'],
    );
  });

  it('that does not listen keeps nobody from a login', async () => {
    const path = socketPath();
    for (const env of [{}, { NODE_OPTIONS: `--import ${withoutKoffi()}` }]) {
      await withDaemon(
        { config: extauthAt(path), env: { NOTIFY_SOCKET: '/nonexistent', WATCHDOG_USEC: '20000', ...env } },
        async (daemon) => {
          const peer = connectPeer(path);
          assert.equal(await peer.ask(good), 1);
          peer.leave();
          await soon(() => daemon.log().includes('systemd cannot be told how we are'), 'it says so');
        },
      );
    }
  });

  it('hears nothing of the bridge, which uses no socket of the server that has started it', async () => {
    const place = join(openFolder(), 'notify');
    const systemd = await listenForNotifications(place);
    const held = createServer().listen(socketPath());
    await new Promise((resolve) => held.once('listening', resolve));
    const bridge = startBridge({
      config: extauthAt(socketPath()),
      env: { NOTIFY_SOCKET: place, WATCHDOG_USEC: '20000', LISTEN_FDS: '1', LISTEN_FDNAMES: 'x' },
    });
    assert.equal(await bridge.ask(good), 1);
    bridge.child.kill('SIGHUP');
    await sleep(100);
    assert.equal(await bridge.ask(good), 1);
    await bridge.stop();
    systemd.stop();
    held.close();
    assert.deepEqual(systemd.heard, []);
  });
});

interface Notified {
  readonly heard: string[];
  stop(): void;
}

async function listenForNotifications(place: string): Promise<Notified> {
  const child: ChildProcess = spawn('python3', [join(root, 'test/support/notify-socket.py'), place], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const stop = (): void => void child.kill();
  atExit(stop);
  const heard: string[] = [];
  assert.ok(child.stdout);
  const lines = createInterface({ input: child.stdout });
  await new Promise((resolve) => lines.once('line', resolve));
  lines.on('line', (line) => heard.push(JSON.parse(line) as string));
  return { heard, stop };
}

describe('after SIGHUP', { concurrency: 3 }, () => {
  it('a new socket appears, and one that is gone is closed: idle connections at once, a login is answered first', async () => {
    const [kept, gone, fresh] = [socketPath(), socketPath(), socketPath()];
    const config = (...paths: string[]): DaemonConfig => ({
      ...settings,
      listen: paths.map((path) => ({ path, protocol: 'extauth' })),
    });
    const slow = slowLogin();
    await withDaemon({ config: config(kept, gone) }, async (daemon) => {
      const stays = connectPeer(kept);
      assert.equal(await stays.ask(malformed), 0);
      const idle = connectPeer(gone);
      assert.equal(await idle.ask(malformed), 0);
      const inFlight = connectPeer(gone);
      inFlight.send(frame(slow.request));
      await slow.reached();
      await daemon.reload(config(fresh, kept));
      const newcomer = connectPeer(fresh);
      assert.equal(await newcomer.ask(malformed), 0);
      assert.equal((await idle.closed).length, 0);
      assert.ok(!existsSync(gone));
      assert.equal((await inFlight.closed).toString('hex'), '00020001');
      assert.equal(await stays.ask(malformed), 0, 'what was there stays');
      for (const peer of [stays, newcomer]) peer.leave();
    });
  });

  it('a login over a socket that has just gone is answered although SIGTERM follows', async () => {
    const [kept, gone] = [socketPath(), socketPath()];
    const { listen } = extauthAt(gone);
    const slow = slowLogin();
    await withDaemon(
      { config: { ...settings, listen: [...extauthAt(kept).listen, ...listen] } },
      async (daemon) => {
        const peer = connectPeer(gone);
        peer.send(frame(slow.request));
        await slow.reached();
        await daemon.reload(extauthAt(kept));
        daemon.child.kill('SIGTERM');
        assert.equal((await peer.closed).toString('hex'), '00020001');
      },
    );
  });

  it('mode, group and who may connect change in place', async () => {
    const path = socketPath();
    const permissions = (): string => {
      const { mode, gid } = lstatSync(path);
      return `${(mode & 0o777).toString(8)} ${gid}`;
    };
    await withDaemon({ config: extauthAt(path, { mode: '0600' }) }, async (daemon) => {
      const { ino, gid: own } = lstatSync(path);
      const early = connectPeer(path);
      assert.equal(await early.ask(byToken), 1);
      await daemon.reload(extauthAt(path, { mode: '0660', group: 'adm' }));
      assert.equal(permissions(), `660 ${groupNumber('adm')}`);
      await daemon.reload(extauthAt(path, { mode: '0666', allow_uids: NOBODY }));
      assert.equal(permissions(), `666 ${own}`, 'a group that is not named any more has no part in it');
      assert.equal((await connectPeer(path).closed).length, 0, 'turned away from now on');
      assert.equal(await early.ask(byToken), 1, 'who was let in stays');
      await daemon.reload(extauthAt(path, { allow_uids: [NOBODY, 0], max_connections: 1 }));
      assert.equal((await connectPeer(path).closed).length, 0, 'one too many');
      await daemon.reload(extauthAt(path, { allow_uids: [NOBODY, 0] }));
      const late = connectPeer(path);
      assert.equal(await late.ask(byToken), 1);
      assert.equal(lstatSync(path).ino, ino, 'it is the same socket');
      for (const peer of [early, late]) peer.leave();
    });
  });

  it('a group gets no access that it had neither before nor has after', async () => {
    const path = socketPath();
    const [adm, mail] = [groupNumber('adm'), groupNumber('mail')];
    const wide = extauthAt(path, { mode: '0660', group: 'adm' });
    const narrow = extauthAt(path, { mode: '0600', group: 'mail' });
    await withDaemon({ config: wide }, async (daemon) => {
      const seen = new Set<string>();
      for (const config of [narrow, wide, narrow, wide]) {
        const reloaded = daemon.reload(config);
        let going = true;
        void reloaded.finally(() => {
          going = false;
        });
        while (going) {
          for (let looks = 0; looks < 5000; looks++) {
            const { mode, gid } = lstatSync(path);
            seen.add(`${(mode & 0o777).toString(8)} ${gid}`);
          }
          await sleep(0);
        }
        await reloaded;
      }
      assert.ok(seen.has(`660 ${adm}`) && seen.has(`600 ${mail}`));
      assert.ok(!seen.has(`660 ${mail}`), [...seen].join());
    });
  });

  it('connections that are there use the new settings', async () => {
    const path = socketPath();
    await withDaemon({ config: { ...extauthAt(path), deadline: '5s' } }, async (daemon) => {
      const peer = connectPeer(path);
      assert.equal(await peer.ask('isuser:alice:new.example'), 0);
      await daemon.reload({ ...extauthAt(path), hosts: { 'new.example': null }, deadline: '300ms' });
      assert.equal(await peer.ask('isuser:alice:new.example'), 1);
      assert.equal(await peer.ask(good), 0, 'that host is not listed any more');
      const asked = performance.now();
      assert.equal(await peer.ask('auth:alice:new.example:hang'), 0);
      const took = performance.now() - asked;
      assert.ok(took > 250 && took < 1000, `${took} ms`);
      peer.leave();
    });
  });

  it('a Dovecot connection that is there uses the new settings', async () => {
    const path = socketPath();
    await withDaemon({ config: dovecotAt(path) }, async (daemon) => {
      const peer = connectPeer(path);
      await greet(peer);
      const ask = async (id: number): Promise<string> => {
        peer.send(`AUTH\t${id}\tPLAIN\tresp=${plain('alice', 'alice-password')}\n`);
        return await peer.line();
      };
      assert.equal(await ask(1), 'OK\t1\tuser=alice');
      await daemon.reload(dovecotAt(path, { mechanisms: ['OAUTHBEARER'] }));
      assert.match(await ask(2), /^FAIL\t2\treason=this mechanism is not offered/);
      await daemon.reload({ ...dovecotAt(path), credential: 'token' });
      assert.match(await ask(3), /^FAIL\t3/);
      peer.leave();
    });
  });
});

describe('a changed file', { concurrency: 3 }, () => {
  it('is noticed without SIGHUP, within 5 s', async () => {
    const [path, fresh] = [socketPath(), socketPath()];
    await withDaemon({ config: extauthAt(path) }, async (daemon) => {
      writeFileSync(daemon.file, JSON.stringify(extauthAt(fresh)));
      await soon(() => existsSync(fresh) && !existsSync(path), 'the new socket', 5000);
    });
  });

  for (const [title, broken] of [
    ['is broken', '{"listen": ['],
    ['has no sockets', () => settings],
    ['has a mistake', () => ({ ...settings, listen: [{ path: 'x', protocol: 'extauth' }] })],
    ['has a socket that cannot be opened', () => extauthAt('/nonexistent/s.sock')],
    ['has a group that there is not', (path: string) => extauthAt(path, { group: 'no-such-group' })],
  ] as const) {
    it(`that ${title} costs no login, and the next good one is used`, async () => {
      const path = socketPath();
      await withDaemon({ config: extauthAt(path) }, async (daemon) => {
        const peer = connectPeer(path);
        assert.equal(await peer.ask(byToken), 1);
        await daemon.reload(typeof broken === 'string' ? broken : broken(path));
        await logged(daemon, /"level":"error"/);
        assert.equal(await peer.ask(byToken), 1);
        const late = connectPeer(path);
        assert.equal(await late.ask(byToken), 1);
        late.leave();
        peer.leave();
        await daemon.reload(extauthAt(path, { mode: '0600' }));
        assert.equal(lstatSync(path).mode & 0o777, 0o600);
        const last = connectPeer(path);
        assert.equal(await last.ask(byToken), 1);
        last.leave();
      });
    });
  }
});

describe('SIGTERM', { concurrency: 3 }, () => {
  for (const protocol of ['extauth', 'dovecot'] as const) {
    it(`lets a login of ${protocol} be answered, and nobody else in`, async () => {
      const path = socketPath();
      const slow = slowLogin();
      const daemon = await startDaemon({
        config: protocol === 'extauth' ? extauthAt(path) : dovecotAt(path),
      });
      const peer = connectPeer(path);
      if (protocol === 'dovecot') await greet(peer);
      peer.send(
        protocol === 'extauth'
          ? frame(slow.request)
          : `AUTH\t7\tPLAIN\tresp=${plain('alice', slow.password)}\n`,
      );
      await slow.reached();
      daemon.child.kill('SIGTERM');
      await soon(() => !existsSync(path), 'the socket goes first');
      await assert.rejects(connectPeer(path).ask(malformed));
      assert.equal(
        (await peer.closed).toString('latin1'),
        protocol === 'extauth' ? '\0\x02\0\x01' : 'OK\t7\tuser=alice\n',
      );
      assert.deepEqual(await daemon.exited, { code: 0, signal: null });
      await logged(daemon, /"event":"stopped","why":"SIGTERM","auth_yes":1/);
    });
  }

  it('ends idle connections, also those with half a request, at once', async () => {
    const path = socketPath();
    const daemon = await startDaemon({ config: extauthAt(path) });
    const peers = [connectPeer(path), connectPeer(path)];
    for (const peer of peers) assert.equal(await peer.ask(malformed), 0);
    peers[1]?.send(Buffer.of(0, 9, 1));
    await sleep(20);
    const asked = performance.now();
    assert.equal((await daemon.stop()).code, 0);
    assert.ok(performance.now() - asked < 1000, `${performance.now() - asked} ms`);
    for (const peer of peers) assert.equal((await peer.closed).length, 0);
  });

  it('is not kept beyond the deadline by a provider that hangs, nor by a peer that takes no answers', async () => {
    const path = socketPath();
    const daemon = await startDaemon({ config: { ...extauthAt(path), deadline: '700ms' } });
    const peer = connectPeer(path);
    const deaf = connectTo(path);
    deaf.on('error', () => {});
    deaf.pause();
    // More answers than socket buffers hold.
    deaf.write(Buffer.alloc(600_000));
    await sleep(100);
    const asked = performance.now();
    peer.send(frame(hanging));
    await sleep(20);
    assert.equal((await daemon.stop()).code, 0);
    const took = performance.now() - asked;
    assert.ok(took > 500 && took < 1500, `${took} ms`);
    assert.equal((await peer.closed).toString('hex'), '00020000');
    deaf.destroy();
  });
});

describe('metrics', { concurrency: 3 }, () => {
  const canary = 'canary-Password-7f3a';
  let signer: ReturnType<typeof createSigner>;
  before(() => {
    signer = createSigner('ES256', 'k');
    provider.set('jwks', { body: { keys: [signer.jwk] } });
  });

  /** GET over a Unix socket or a port. */
  async function get(
    place: string,
    path = '/metrics',
    method = 'GET',
  ): Promise<{ status: number; text: string }> {
    return await new Promise((resolve, reject) => {
      const asked = request({ createConnection: () => connectTo(place), path, method }, (response) => {
        let text = '';
        response.setEncoding('utf8').on('data', (chunk: string) => {
          text += chunk;
        });
        response.on('end', () => resolve({ status: response.statusCode ?? 0, text }));
      });
      asked.on('error', reject);
      asked.end();
    });
  }

  /** The value of the one sample of a name with these labels among others. */
  function sample(text: string, name: string, labels: Record<string, string> = {}): number | undefined {
    const found = text
      .split('\n')
      .filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `))
      .filter((line) => Object.entries(labels).every(([key, value]) => line.includes(`${key}="${value}"`)));
    assert.ok(found.length <= 1, found.join('\n'));
    return found[0] === undefined ? undefined : Number(found[0].split(' ').at(-1));
  }

  it('are not there, and nothing of them is loaded, unless they are configured', async () => {
    const [path, metrics] = [socketPath(), socketPath()];
    const seen = join(temporaryFolder(), 'seen');
    const hook = join(temporaryFolder(), 'hook.cjs');
    // prom-client looks at the event loop and the heap; nothing else here does.
    writeFileSync(
      hook,
      `const hooks = require('node:perf_hooks');
      const monitor = hooks.monitorEventLoopDelay;
      hooks.monitorEventLoopDelay = (...all) => {
        require('node:fs').writeFileSync(${JSON.stringify(seen)}, 'loaded');
        return monitor(...all);
      };`,
    );
    const env = { NODE_OPTIONS: `--require ${hook}` };
    await withDaemon({ config: extauthAt(path), env }, async (daemon) => {
      const peer = connectPeer(path);
      assert.equal(await peer.ask(good), 1);
      peer.leave();
      assert.ok(!existsSync(seen));
      await daemon.reload({ ...extauthAt(path), metrics: { path: metrics } });
      assert.equal((await get(metrics)).status, 200);
      assert.ok(existsSync(seen), 'the hook sees it when they are');
    });
  });

  it('count logins by what they came to, over a Unix socket and over TCP', async () => {
    const [extauth, dovecot, metrics] = [socketPath(), socketPath(), socketPath()];
    const { origin, endpoints } = provider;
    const jwt = await signer.token({
      iss: origin,
      aud: 'xmpp',
      exp: 4e9,
      sub: '1',
      preferred_username: 'alice',
    });
    const config: DaemonConfig = {
      ...settings,
      hosts: {
        'example.org': null,
        '*.wild.example': null,
        'jwt.example': {
          issuer: origin,
          jwks_uri: endpoints.jwks,
          client_id: 'xmpp',
          validation: 'jwt',
          token_endpoint: endpoints.token,
        },
      },
      listen: [
        { path: extauth, protocol: 'extauth' },
        { path: dovecot, protocol: 'dovecot', host: 'example.org' },
      ],
      metrics: { path: metrics },
      log: { users: 'hashed', level: 'debug' },
    };
    await withDaemon({ config }, async (daemon) => {
      const peer = connectPeer(extauth);
      for (const request of [
        good,
        good,
        bad,
        byToken,
        'isuser:alice:example.org',
        'setpass:alice:example.org:x',
      ])
        await peer.ask(request);
      await peer.ask(`auth:alice:deep.down.wild.example:${canary}`);
      for (let count = 0; count < 3; count++)
        assert.equal(await peer.ask(`auth:alice:jwt.example:${jwt}`), 1);
      await peer.ask(malformed);
      const names = Array.from({ length: 1000 }, (_, index) =>
        frame(`auth:carol-${index}:host-${index}.example:x`),
      );
      peer.send(Buffer.concat(names));
      await peer.receive(4000);
      const other = connectPeer(dovecot);
      await greet(other);
      other.send(`AUTH\t1\tPLAIN\tresp=${plain('alice', 'alice-password')}\n`);
      assert.equal(await other.line(), 'OK\t1\tuser=alice');
      other.send('AUTH\t2\tPLAIN\tresp=%\n');
      await other.line();

      const { status, text } = await get(metrics);
      assert.equal(status, 200);
      const requests = (labels: Record<string, string>): number | undefined =>
        sample(text, 'extauth_oauth_requests_total', labels);
      const here = { host: 'example.org' };
      assert.equal(requests({ ...here, op: 'auth', verdict: 'accepted', method: 'password' }), 3);
      assert.equal(
        requests({ ...here, op: 'auth', verdict: 'refused', reason: 'not_authorized', method: 'password' }),
        1,
      );
      assert.equal(requests({ ...here, op: 'auth', verdict: 'accepted', method: 'userinfo' }), 1);
      assert.equal(requests({ ...here, op: 'isuser', verdict: 'exists' }), 1);
      assert.equal(requests({ ...here, op: 'setpass', verdict: 'refused', reason: 'unsupported' }), 1);
      assert.equal(requests({ ...here, op: 'auth', reason: 'malformed' }), 1);
      assert.equal(requests({ host: '*.wild.example', verdict: 'refused', method: 'password' }), 1);
      assert.equal(requests({ host: 'jwt.example', verdict: 'accepted', method: 'jwt' }), 3);
      assert.equal(requests({ host: 'none', op: 'malformed', reason: 'malformed' }), 1);
      assert.equal(requests({ host: 'unlisted', op: 'auth', reason: 'unknown_host' }), 1000);
      const hosts = new Set([...text.matchAll(/host="([^"]*)"/g)].map(([, host]) => host));
      assert.deepEqual(
        [...hosts].sort(),
        ['*.wild.example', 'example.org', 'jwt.example', 'none', 'unlisted'],
        'a name that somebody sends is no label',
      );
      assert.equal(sample(text, 'extauth_oauth_login_seconds_count', { ...here, verdict: 'accepted' }), 4);
      const asked = (endpoint: string, outcome: string): number | undefined =>
        sample(text, 'extauth_oauth_provider_request_seconds_count', {
          endpoint: `"${endpoint}"`.slice(1, -1),
          outcome,
        });
      assert.equal(asked(endpoints.token, '200'), 3);
      assert.equal(asked(endpoints.token, '400'), 2);
      assert.equal(asked(endpoints.userinfo, '200'), 4);
      assert.equal(asked(endpoints.jwks, '200'), 1);
      assert.equal(sample(text, 'extauth_oauth_connections', { socket: extauth }), 1);
      assert.equal(sample(text, 'extauth_oauth_connections', { socket: dovecot }), 1);
      const age = sample(text, 'extauth_oauth_jwks_age_seconds', { issuer: origin });
      assert.ok(age !== undefined && age >= 0 && age < 10, `${age}`);
      assert.ok((sample(text, 'extauth_oauth_cache_total', { result: 'hit' }) ?? 0) >= 1);
      assert.ok((sample(text, 'process_resident_memory_bytes') ?? 0) > 1e7);

      for (const name of ['alice', 'carol', canary, 'alice-password', 'daemon-secret', jwt.slice(0, 20)])
        assert.ok(!text.includes(name), `${name} in the metrics`);

      const address = `127.0.0.1:${await freePort()}`;
      await daemon.reload({ ...config, metrics: { address } });
      const overTcp = await get(address);
      assert.equal(overTcp.status, 200);
      assert.ok(!existsSync(metrics));
      assert.equal(
        sample(overTcp.text, 'extauth_oauth_requests_total', { host: 'unlisted', reason: 'unknown_host' }),
        1000,
        'counters outlive a reload',
      );
      for (const path of ['/', '/metrics/', '/metrics?x=1', '/../metrics', '/favicon.ico'])
        assert.equal((await get(address, path)).status, 404, path);
      assert.equal((await get(address, '/metrics', 'POST')).status, 405);

      peer.leave();
      other.leave();
      await sleep(150);
      for (const name of ['"alice', 'carol', canary, 'alice-password', 'daemon-secret', jwt.slice(0, 20)])
        assert.ok(!daemon.log().includes(name), `${name} in the log`);
      await logged(daemon, /"user":"#[0-9a-f]{16}"/);
    });
  });

  it('do not keep who connects and says nothing, and the daemon ends all the same', async () => {
    const [path, metrics] = [socketPath(), socketPath()];
    await withDaemon({ config: { ...extauthAt(path), metrics: { path: metrics } } }, async (daemon) => {
      const silent = connectPeer(metrics);
      const half = connectPeer(metrics);
      half.send('GET /metrics HTTP/1.1\r\n');
      await sleep(50);
      const asked = performance.now();
      daemon.child.kill('SIGTERM');
      await Promise.all([silent.closed, half.closed, daemon.exited]);
      assert.ok(performance.now() - asked < 1000);
    });
  });
});

describe('no secret is in the log', () => {
  it('at any level, whatever is sent over the sockets', async () => {
    const [extauth, dovecot] = [socketPath(), socketPath()];
    const secrets = {
      password: 'canaryPassword-7f3a',
      token: 'canaryUserToken-aa17',
      garbage: 'canaryGarbage-91bc',
    };
    const config = {
      ...settings,
      client_secret: 'canaryClientSecret-e8b6',
      listen: [
        { path: extauth, protocol: 'extauth' },
        { path: dovecot, protocol: 'dovecot', host: 'example.org' },
      ],
    };
    const bearer = Buffer.from(`n,,\x01auth=Bearer ${secrets.token}\x01\x01`).toString('base64');
    await withDaemon({ config, args: ['--log-level', 'debug'] }, async (daemon) => {
      const peer = connectPeer(extauth);
      await peer.ask(`auth:alice:example.org:${secrets.password}`);
      await peer.ask(`auth:alice:example.org:token:${secrets.token}`);
      await peer.ask(`auth:alice:unlisted.example:${secrets.password}`);
      await peer.ask(`setpass:alice:example.org:${secrets.password}`);
      await peer.ask(secrets.garbage);
      await peer.ask(`auth:${secrets.garbage}`);
      const lines = connectPeer(extauth);
      lines.send(`auth:alice:example.org:${secrets.password}\n${secrets.garbage}\n`);
      for (let count = 0; count < 2; count++) await lines.line();
      const other = connectPeer(dovecot);
      await greet(other);
      for (const [id, rest] of [
        `PLAIN\tservice=xmpp\tresp=${plain('alice', secrets.password)}`,
        `OAUTHBEARER\tservice=xmpp\tresp=${bearer}`,
        `XOAUTH2\tresp=${bearer}`,
        `PLAIN\tresp=${bearer}`,
        `NONSENSE\tresp=${secrets.garbage}`,
        `PLAIN\tresp=${secrets.garbage}`,
      ].entries()) {
        other.send(`AUTH\t${id}\t${rest}\n`);
        await other.line();
      }
      other.send(`${secrets.garbage}\n`.repeat(20));
      await other.closed;
      const web = connectPeer(dovecot);
      web.send(`GET /${secrets.garbage}\n`);
      await web.closed;
      await sleep(150);
      for (const each of [peer, lines]) each.leave();
      assert.ok(daemon.logLines().filter(({ event }) => event === 'request').length >= 14);
      const log = daemon.log();
      for (const secret of [...Object.values(secrets), 'canaryClientSecret-e8b6', 'daemon-secret'])
        for (const form of [
          secret,
          plain('alice', secret).slice(0, -4),
          Buffer.from(secret).toString('base64').slice(0, -4),
        ])
          assert.ok(!log.includes(form), `${secret} in the log`);
      assert.ok(!log.includes(bearer.slice(0, -4)));
    });
  });
});
