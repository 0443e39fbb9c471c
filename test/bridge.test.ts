// The bridge as a process: what an XMPP server sees of it, in good times and bad.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:http';
import { type AddressInfo, connect, createServer as createSocketServer } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Bridge, frame, program, startBridge, temporaryFolder, writeConfig } from './support/bridge.ts';
import { type Scripted, selfSigned, startScripted } from './support/scripted-provider.ts';

const good = 'auth:alice:example.org:alice-password';
const bad = 'auth:alice:example.org:wrong';

describe('the bridge', () => {
  let provider: Scripted;
  let config: Record<string, unknown>;
  before(async () => {
    provider = await startScripted();
    config = {
      token_endpoint: provider.endpoints.token,
      validation_endpoint: provider.endpoints.userinfo,
      client_id: 'xmpp',
      client_secret: 'bridge-secret',
      token_prefix: 'token:',
    };
  });
  after(() => provider.stop());

  async function withBridge(
    options: Parameters<typeof startBridge>[0],
    use: (bridge: Bridge) => Promise<void>,
  ): Promise<void> {
    const bridge = startBridge(options);
    try {
      await use(bridge);
    } finally {
      assert.deepEqual(await bridge.stop(), { code: 0, signal: null });
    }
  }

  describe('answers', () => {
    let bridge: Bridge;
    before(() => {
      bridge = startBridge({
        config: { ...config, hosts: { 'example.org': null, 'no.example': { user_exists: false } } },
      });
    });
    after(() => bridge.stop());
    const table: [request: string, answer: number][] = [
      [good, 1],
      [bad, 0],
      ['auth:bob:example.org:alice-password', 0],
      ['auth:alice:EXAMPLE.org:alice-password', 1],
      ['auth:alice:unlisted.example:alice-password', 0],
      ['auth:alice:example.org:token:alice-token', 1],
      ['auth:bob:example.org:token:alice-token', 0],
      ['auth:alice:example.org:token:other-token', 0],
      ['isuser:alice:example.org', 1],
      ['isuser:alice:no.example', 0],
      ['isuser:alice:unlisted.example', 0],
      ['setpass:alice:example.org:new', 2],
      ['tryregister:new:example.org:pw', 0],
      ['removeuser:alice:example.org', 0],
      ['removeuser3:alice:example.org:pw', 0],
      ['certauth:alice:example.org:pem', 0],
      ['', 0],
      ['nonsense', 0],
      ['setpass:alice:example.org:', 2],
      ['setpass:alice:example.org:\0', 2],
      ['auth:alice\nauth:bob:example.org:alice-password', 0],
    ];
    for (const [request, answer] of table) {
      it(`${JSON.stringify(request)} with ${answer}`, async () =>
        assert.equal(await bridge.ask(request), answer));
    }
  });

  it('answers setpass with 0 where setpass_reply says so', async () => {
    for (const setpass_reply of [false, 'false']) {
      await withBridge({ config: { ...config, setpass_reply } }, async (bridge) => {
        assert.equal(await bridge.ask('setpass:alice:example.org:new'), 0);
      });
    }
  });

  it('speaks lines on a pipe, one answer for each, empty ones too', async () => {
    await withBridge({ config }, async (bridge) => {
      bridge.send(`${good}\n\n${bad}\r\nsetpass:a:example.org:x\n${good}\n`);
      assert.equal((await bridge.receive(10)).toString(), '1\n0\n0\n0\n1\n');
    });
  });

  it('answers what is pipelined in order', async () => {
    await withBridge({ config }, async (bridge) => {
      const requests = Array.from({ length: 60 }, (_, index) =>
        index % 3 === 0 ? good : index % 3 === 1 ? bad : 'isuser:a:example.org',
      );
      bridge.send(Buffer.concat(requests.map((request) => frame(request))));
      const answers = await bridge.receive(60 * 4);
      assert.deepEqual(
        requests.map((_, index) => answers[index * 4 + 3]),
        requests.map((request) => (request === bad ? 0 : 1)),
      );
    });
  });

  it('survives 100,000 hostile frames, answers each, and does not grow', async () => {
    await withBridge(
      { config: { ...config, log: { level: 'silent' }, hosts: { 'example.org': null } } },
      async (bridge) => {
        const memory = (): number =>
          Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${bridge.child.pid}/status`, 'utf8'))?.[1]) / 1024;
        const kinds = [
          frame(''),
          frame('auth'),
          frame(Buffer.from([0xff, 0xfe, 0, 1])),
          frame('auth:alice:example.org:\0'),
          frame(`auth:${'a'.repeat(2000)}:unlisted:x`),
          frame('removeuser:a:b'),
          frame(Buffer.alloc(300, 0x3a)),
          frame('isuser:x:unlisted.example'),
          frame('setpas:a'),
          frame('toString:a:b:c'),
        ];
        const batch = Buffer.concat(
          Array.from({ length: 1000 }, (_, index) => kinds[index % kinds.length] as Buffer),
        );
        let half = 0;
        for (let round = 0; round < 100; round++) {
          bridge.send(batch);
          const answers = await bridge.receive(4000);
          for (let index = 0; index < 4000; index += 4) assert.equal(answers.readUInt32BE(index), 0x00020000);
          if (round === 49) half = memory();
        }
        const grown = memory() - half;
        assert.ok(grown < 12, `${grown} MiB more`);
        assert.equal(await bridge.ask(good), 1);
        assert.equal(bridge.unread().length, 0);
      },
    );
  });

  describe('at the deadline', () => {
    it('says no, counted from the first byte, and drops the late yes', async () => {
      await withBridge(
        { config: { ...config, deadline: '600ms', http: { timeout: '3s' } } },
        async (bridge) => {
          assert.equal(await bridge.ask(good), 1);
          provider.set('userinfo', aliceAfter(900));
          const bytes = frame(good);
          bridge.send(bytes.subarray(0, 3));
          await sleep(300);
          const started = performance.now();
          bridge.send(bytes.subarray(3));
          assert.equal((await bridge.receive(4)).toString('hex'), '00020000');
          const waited = performance.now() - started;
          assert.ok(waited > 150 && waited < 400, `${waited} ms after the last byte`);
          await sleep(900);
          assert.equal(bridge.unread().length, 0, 'the late answer is dropped');
          provider.set('userinfo', undefined);
          assert.equal(await bridge.ask(good), 1);
          assert.ok(bridge.logLines().some(({ reason }) => reason === 'deadline'));
        },
      );
    });

    it('says no when the process itself was stopped meanwhile', async () => {
      await withBridge({ config: { ...config, deadline: '500ms' } }, async (bridge) => {
        assert.equal(await bridge.ask(good), 1);
        bridge.child.kill('SIGSTOP');
        bridge.send(frame(good));
        await sleep(20);
        bridge.child.kill('SIGCONT');
        assert.equal((await bridge.receive(4))[3], 1, 'read after it was woken, so in time');
        provider.set('userinfo', aliceAfter(100));
        bridge.send(frame(good));
        await sleep(50);
        bridge.child.kill('SIGSTOP');
        await sleep(700);
        bridge.child.kill('SIGCONT');
        assert.equal((await bridge.receive(4))[3], 0);
        provider.set('userinfo', undefined);
      });
    });
  });

  describe('alive but closed', () => {
    const closed: [title: string, make: () => unknown, message: RegExp][] = [
      ['without a configuration', () => undefined, /no configuration file/],
      ['with a configuration that is not there', () => '/nonexistent/config.yml', /does not exist/],
      ['with a broken configuration', () => writeConfig('{'), /is not valid JSON/],
      ['with an option too many', () => ({ ...config, bogus: 1 }), /unknown option/],
      [
        'without its secret',
        () => ({ ...config, client_secret: undefined, client_secret_file: '/nonexistent/secret' }),
        /does not exist/,
      ],
    ];
    for (const [title, make, message] of closed) {
      it(`${title} it stays up, answers auth with 0 and isuser with 1, and says why`, async () => {
        await withBridge({ config: make() }, async (bridge) => {
          assert.equal(await bridge.ask(good), 0);
          assert.equal(await bridge.ask('isuser:alice:example.org'), 1);
          assert.equal(await bridge.ask('setpass:alice:example.org:x'), 0);
          await until(() => message.test(bridge.log()));
          assert.equal(bridge.child.exitCode, null);
        });
      });
    }

    it('recovers within 5 s when the file appears, keeps the old settings when it breaks, and follows when it changes', async () => {
      const file = join(temporaryFolder(), 'config.json');
      await withBridge({ config: file }, async (bridge) => {
        assert.equal(await bridge.ask(good), 0);
        writeFileSync(file, JSON.stringify(config), { mode: 0o600 });
        await until(async () => (await bridge.ask(good)) === 1, 5000);
        writeFileSync(file, '{');
        bridge.child.kill('SIGHUP');
        await until(() => bridge.log().includes('the old settings stay in force'));
        assert.equal(await bridge.ask(good), 1);
        // The same size within the same instant: only the content tells.
        writeFileSync(file, JSON.stringify({ ...config, user_exists: true }));
        bridge.child.kill('SIGHUP');
        writeFileSync(file, JSON.stringify({ ...config, user_exists: false }));
        await until(async () => (await bridge.ask('isuser:alice:example.org')) === 0, 5000);
      });
    });

    it('recovers when a secret file appears', async () => {
      const secret = join(temporaryFolder(), 'secret');
      await withBridge(
        { config: { ...config, client_secret: undefined, client_secret_file: secret } },
        async (bridge) => {
          assert.equal(await bridge.ask(good), 0);
          writeFileSync(secret, 'bridge-secret', { mode: 0o600 });
          bridge.child.kill('SIGHUP');
          await until(async () => (await bridge.ask(good)) === 1, 5000);
        },
      );
    });

    it('stays up on a wrong command line', async () => {
      await withBridge({ config, args: ['run', '--bogus', '--log-level', 'loud'] }, async (bridge) => {
        assert.equal(await bridge.ask(good), 1);
        await until(() => bridge.log().includes('unknown option --bogus'));
      });
    });

    it('stays up on a mistyped option with a value of its own', async () => {
      await withBridge({ args: ['--cofnig', '/etc/extauth-oauth.yml'] }, async (bridge) => {
        assert.equal(await bridge.ask(good), 0);
        await until(() => bridge.log().includes('unknown option --cofnig'));
      });
    });

    it('logs in again when the provider is back', async () => {
      const { port } = provider;
      await provider.stop();
      await withBridge(
        {
          config: {
            ...config,
            token_endpoint: undefined,
            validation_endpoint: undefined,
            issuer: provider.origin,
            resource_owner_password: true,
          },
        },
        async (bridge) => {
          assert.equal(await bridge.ask(good), 0);
          provider = await startScripted({ port });
          assert.equal(await bridge.ask(good), 1);
        },
      );
    });
  });

  describe('its end', () => {
    const ends: [title: string, end: (bridge: Bridge) => void][] = [
      ['end of input', (bridge) => bridge.child.stdin.end()],
      ['SIGTERM', (bridge) => void bridge.child.kill('SIGTERM')],
      ['SIGINT', (bridge) => void bridge.child.kill('SIGINT')],
    ];
    for (const [title, end] of ends) {
      it(`comes within 200 ms of ${title} when idle, with exit code 0`, async () => {
        await withBridge({ config }, async (bridge) => {
          assert.equal(await bridge.ask(good), 1);
          await sleep(100);
          const started = performance.now();
          end(bridge);
          assert.deepEqual(await bridge.exited, { code: 0, signal: null });
          assert.ok(performance.now() - started < 200, `${performance.now() - started} ms`);
        });
      });
    }

    it('comes after the answer to what was read completely', async () => {
      await withBridge({ config }, async (bridge) => {
        provider.set('userinfo', aliceAfter(300));
        bridge.send(frame(good));
        await sleep(150);
        bridge.child.stdin.end();
        assert.equal((await bridge.receive(4))[3], 1, bridge.log());
        assert.equal((await bridge.exited).code, 0);
        provider.set('userinfo', undefined);
      });
    });

    it('comes within about a second although the provider does not answer', async () => {
      await withBridge({ config }, async (bridge) => {
        provider.set('userinfo', { stall: true });
        bridge.send(frame(good));
        await sleep(300);
        const started = performance.now();
        bridge.child.stdin.end();
        assert.equal((await bridge.exited).code, 0);
        assert.ok(performance.now() - started < 1500);
        provider.set('userinfo', undefined);
      });
    });

    it('comes when nobody reads the answers any more', async () => {
      await withBridge({ config }, async (bridge) => {
        assert.equal(await bridge.ask(good), 1);
        bridge.child.stdout.destroy();
        bridge.send(frame(good));
        assert.equal((await bridge.exited).code, 0);
      });
    });
  });

  describe('its log', () => {
    it('has one line for each request, with the fields of the contract', async () => {
      await withBridge({ config }, async (bridge) => {
        await bridge.ask(good);
        await bridge.ask(bad);
        await until(() => bridge.logLines().filter(({ event }) => event === 'request').length === 2);
        const [yes, no] = bridge.logLines().filter(({ event }) => event === 'request');
        assert.ok(yes && no);
        for (const field of [
          'time',
          'level',
          'event',
          'op',
          'host',
          'user',
          'verdict',
          'method',
          'cache',
          'ms',
          'id',
        ]) {
          assert.ok(field in yes, field);
        }
        assert.deepEqual([yes.verdict, no.verdict, no.reason], ['accepted', 'refused', 'not_authorized']);
        assert.notEqual(yes.id, no.id);
      });
    });

    it('hides names where it is told to', async () => {
      await withBridge(
        { config: { ...config, log: { users: 'hashed', level: 'debug' } } },
        async (bridge) => {
          await bridge.ask('auth:findme:example.org:x');
          await until(() => bridge.log().includes('"op":"auth"'));
          assert.ok(!bridge.log().includes('findme'));
        },
      );
    });

    it('escapes what a terminal would obey', async () => {
      await withBridge({ config }, async (bridge) => {
        await bridge.ask('auth:a\x9b1m\u202ex:example.org:x');
        await until(() => bridge.log().includes('"op":"auth"'));
        // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
        assert.ok(!/[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]/.test(bridge.log()));
      });
    });

    it('goes to a file, which SIGHUP opens again', async () => {
      const file = join(temporaryFolder(), 'log');
      await withBridge({ config: { ...config, log: { destination: file } } }, async (bridge) => {
        await bridge.ask(good);
        await until(() => existsSync(file) && readFileSync(file, 'utf8').includes('"op":"auth"'));
        renameSync(file, `${file}.1`);
        bridge.child.kill('SIGHUP');
        await sleep(100);
        await bridge.ask(good);
        await until(() => existsSync(file) && readFileSync(file, 'utf8').includes('"op":"auth"'));
        assert.equal(bridge.log(), '', 'and not to stderr');
      });
    });

    it('costs no login when it cannot be written, and comes when it can', async () => {
      const folder = join(temporaryFolder(), 'missing');
      await withBridge(
        { config: { ...config, log: { destination: join(folder, 'log') } } },
        async (bridge) => {
          for (let index = 0; index < 20; index++) assert.equal(await bridge.ask(good), 1);
          await sleep(400);
          for (let index = 0; index < 20; index++) assert.equal(await bridge.ask(good), 1);
          mkdirSync(folder);
          bridge.child.kill('SIGHUP');
          await sleep(100);
          assert.equal(await bridge.ask(good), 1);
          await until(
            () =>
              existsSync(join(folder, 'log')) &&
              readFileSync(join(folder, 'log'), 'utf8').includes('"op":"auth"'),
          );
        },
      );
    });

    it('costs no login when the disk is full', async () => {
      await withBridge({ config: { ...config, log: { destination: '/dev/full' } } }, async (bridge) => {
        for (let round = 0; round < 5; round++) {
          assert.equal(await bridge.ask(good), 1);
          await sleep(150);
        }
      });
    });

    it('costs no login, and no end, when nobody reads stderr', async () => {
      const child = spawn(process.execPath, [program], {
        stdio: ['pipe', 'pipe', 'pipe'],
        env: { ...process.env, EXTAUTH_OAUTH_CONFIG: writeConfig({ ...config, log: { level: 'debug' } }) },
      });
      let answers = 0;
      child.stdout.on('data', (chunk: Buffer) => {
        answers += chunk.length / 4;
      });
      // Far more than a pipe holds, and stderr is not read.
      const request = frame(`isuser:${'u'.repeat(900)}:example.org`);
      for (let index = 0; index < 2000; index++) child.stdin.write(request);
      await until(() => answers === 2000, 10_000);
      await sleep(300);
      child.stdin.write(frame(good));
      await until(() => answers === 2001, 5000);
      child.stdin.end();
      const gone = new Promise((resolve) => child.on('exit', () => resolve('gone')));
      assert.equal(await Promise.race([gone, sleep(2000, 'still there')]), 'gone');
    });

    it("is not the runtime's: a warning goes there, and never to stdout", async () => {
      const script = join(temporaryFolder(), 'warn.cjs');
      writeFileSync(script, "setTimeout(() => process.emitWarning('watch out', 'PlantedWarning'), 300)");
      await withBridge({ config, env: { NODE_OPTIONS: `--require ${script}` } }, async (bridge) => {
        assert.equal(await bridge.ask(good), 1);
        await until(() =>
          bridge
            .logLines()
            .some(({ event, name }) => event === 'runtime_warning' && name === 'PlantedWarning'),
        );
        assert.equal(await bridge.ask(bad), 0);
        assert.equal(bridge.unread().length, 0);
      });
    });

    it('hears of a fault that nobody caught, and the bridge goes on', async () => {
      const script = join(temporaryFolder(), 'fault.cjs');
      writeFileSync(
        script,
        "setTimeout(() => { throw new Error('planted fault') }, 300); setTimeout(() => { Promise.reject(new Error('another')) }, 350)",
      );
      await withBridge({ config, env: { NODE_OPTIONS: `--require ${script}` } }, async (bridge) => {
        assert.equal(await bridge.ask(good), 1);
        await until(() => bridge.log().includes('internal_error'));
        assert.equal(await bridge.ask(good), 1);
      });
    });
  });

  it('goes through a proxy where it is told to, and around it on this machine', async () => {
    const asked: string[] = [];
    // Whoever is asked for, the provider is there.
    const proxy = createServer().on('connect', (request, socket) => {
      asked.push(request.url ?? '');
      const through = connect(provider.port, '127.0.0.1', () => {
        socket.write('HTTP/1.1 200 OK\r\n\r\n');
        socket.pipe(through).pipe(socket);
      });
      for (const end of [socket, through]) end.on('error', () => {});
    });
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
    const { port } = proxy.address() as AddressInfo;
    const far = {
      token_endpoint: 'http://id.example/token',
      validation_endpoint: 'http://id.example/userinfo',
    };
    const http = { proxy: `http://127.0.0.1:${port}`, allow_http: true };
    try {
      await withBridge({ config: { ...config, ...far, http } }, async (bridge) => {
        assert.equal(await bridge.ask(good), 1, 'through the proxy');
        assert.equal(await bridge.ask(bad), 0);
      });
      assert.ok(asked.length > 0 && asked.every((target) => target === 'id.example:80'), String(asked));
      asked.length = 0;
      await withBridge({ config: { ...config, http } }, async (bridge) => {
        assert.equal(await bridge.ask(good), 1);
      });
      assert.deepEqual(asked, []);
    } finally {
      proxy.close();
      proxy.closeAllConnections();
    }
  });

  it('checks certificates, whatever its environment says', async () => {
    const tls = await startScripted({ tls: selfSigned('127.0.0.1') });
    const endpoints = { token_endpoint: tls.endpoints.token, validation_endpoint: tls.endpoints.userinfo };
    const env = { NODE_TLS_REJECT_UNAUTHORIZED: '0' };
    await withBridge({ config: { ...config, ...endpoints }, env }, async (bridge) => {
      assert.equal(await bridge.ask(good), 0);
      await until(() => bridge.logLines().some(({ reason }) => reason === 'provider_unreachable'));
      assert.equal(tls.seen.length, 0, 'nothing was sent');
    });
    await tls.stop();
  });

  it('answers all that it has read to a slow reader at the other end of one socket, and reads no more than it can answer', async () => {
    const path = join(temporaryFolder(), 'socket');
    let answers = 0;
    const server = createSocketServer({ allowHalfOpen: true }, (socket) => {
      const fd = (socket as unknown as { _handle: { fd: number } })._handle.fd;
      socket.pause();
      const child = spawn(process.execPath, [program], {
        stdio: [fd, fd, 'ignore'],
        env: { ...process.env, EXTAUTH_OAUTH_CONFIG: writeConfig(config) },
      });
      child.on('spawn', () => socket.destroy());
    });
    await new Promise<void>((resolve) => server.listen(path, resolve));
    const client = connect({ path, allowHalfOpen: true });
    const requests = 60_000;
    client.write(Buffer.concat(Array.from({ length: requests }, () => frame('isuser:alice:example.org'))));
    client.end();
    client.pause();
    await sleep(300);
    client.on('data', (chunk: Buffer) => {
      answers += chunk.length / 4;
    });
    client.resume();
    await new Promise((resolve) => client.on('close', resolve));
    server.close();
    assert.equal(answers, requests);
  });

  it('runs nothing from the working directory', async () => {
    const cwd = temporaryFolder();
    const proof = join(cwd, 'executed');
    mkdirSync(join(cwd, '.config'));
    for (const name of ['.config/config.js', '.config/config.mjs', 'extauth-oauth.config.js', 'config.js']) {
      writeFileSync(join(cwd, name), `require('fs').writeFileSync(${JSON.stringify(proof)}, '')`);
    }
    writeFileSync(join(cwd, 'config.json'), JSON.stringify(config));
    await withBridge({ cwd }, async (bridge) => {
      assert.equal(await bridge.ask(good), 0, 'config.json of the working directory is not a configuration');
      assert.ok(!existsSync(proof));
    });
  });

  it('reads from a file and writes to one', async () => {
    const folder = temporaryFolder();
    writeFileSync(
      join(folder, 'in'),
      Buffer.concat([frame(good), frame(bad), frame('isuser:a:example.org')]),
    );
    const [input, output] = [openSync(join(folder, 'in'), 'r'), openSync(join(folder, 'out'), 'w')];
    const child = spawn(process.execPath, [program], {
      stdio: [input, output, 'ignore'],
      env: { ...process.env, EXTAUTH_OAUTH_CONFIG: writeConfig(config) },
    });
    const code = await new Promise((resolve) => child.on('exit', resolve));
    closeSync(input);
    closeSync(output);
    assert.equal(code, 0);
    assert.equal(readFileSync(join(folder, 'out')).toString('hex'), '000200010002000000020001');
    rmSync(folder, { recursive: true });
  });

  it('refuses a secret file that others can read, from the moment they can', async () => {
    const secret = join(temporaryFolder(), 'secret');
    writeFileSync(secret, 'bridge-secret', { mode: 0o600 });
    await withBridge(
      { config: { ...config, client_secret: undefined, client_secret_file: secret } },
      async (bridge) => {
        assert.equal(await bridge.ask(good), 1);
        chmodSync(secret, 0o644);
        bridge.child.kill('SIGHUP');
        await until(() => bridge.log().includes('can be read by group or others'));
      },
    );
  });
});

describe('a command line that is not understood', () => {
  const table: [args: string[], message: RegExp][] = [
    [['bogus'], /Unknown argument: bogus/],
    [['check', 'extra'], /Unknown argument: extra/],
    [['check', '--verbos'], /Unknown argument: verbos/],
    [['check', '--config'], /--config needs a file/],
    [['login'], /Not enough non-option arguments/],
    [['login', 'alice@example.org', 'secret'], /Unknown argument/],
  ];
  for (const [args, message] of table) {
    it(`${args.join(' ')} ends with 2, and nothing is done`, () => {
      const { status, stdout, stderr } = spawnSync(process.execPath, [program, ...args], {
        encoding: 'utf8',
        input: '',
      });
      assert.equal(status, 2, stderr);
      assert.match(stderr, message);
      assert.equal(stdout, '');
    });
  }
});

/** The healthy answer, so many milliseconds late. */
function aliceAfter(delay: number): { delay: number; body: unknown } {
  return { delay, body: { preferred_username: 'alice' } };
}

/** Waits for `condition`; fails after `within` milliseconds. */
async function until(condition: () => boolean | Promise<boolean>, within = 3000): Promise<void> {
  const deadline = Date.now() + within;
  while (!(await condition())) {
    assert.ok(Date.now() < deadline, `not within ${within} ms: ${condition}`);
    await sleep(25);
  }
}
