// The bridge behind Prosody's mod_auth_external_insecure: a real pseudo-terminal, the real lpty, the module's own calls.
// What the module does wrong, and what the bridge does about it, stands in src/extauth/terminal.ts.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, it, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { prosodyProgram, root, temporaryFolder, writeConfig } from '../../support/bridge.ts';
import { type Scripted, type ScriptedRequest, startScripted } from '../../support/scripted-provider.ts';
import {
  isRunning,
  type Reader,
  type ReaderOptions,
  requireLpty,
  type Seen,
  startReader,
  untilEnded,
} from '../support/lpty.ts';

const RIGHT = 'auth:alice:example.org:alice-password';
const WRONG = 'auth:alice:example.org:another-password';

/** Two CPUs start so many at a time without one waiting longer than a second. */
const STARTS_AT_ONCE = 5;

/** Longer than Node needs to start then. */
const STARTED = 2000;

before(requireLpty);

function config({ endpoints }: Scripted, extra: Record<string, unknown> = {}): string {
  return writeConfig({
    token_endpoint: endpoints.token,
    validation_endpoint: endpoints.userinfo,
    client_id: 'xmpp',
    resource_owner_password: true,
    log: { level: 'debug', destination: join(temporaryFolder(), 'log') },
    ...extra,
  });
}

/** A reader that ends with the test. */
function reader(t: TestContext, configFile: string, { env, ...options }: ReaderOptions = {}): Reader {
  const started = startReader({ ...options, env: { EXTAUTH_OAUTH_CONFIG: configFile, ...env } });
  t.after(() => started.stop());
  return started;
}

/** A provider that ends with the test. */
async function provider(t: TestContext): Promise<Scripted> {
  const scripted = await startScripted();
  t.after(() => scripted.stop());
  return scripted;
}

/** Asks until the bridge is started and in step: a fresh terminal costs the first login. */
async function inStep(lpty: Reader): Promise<void> {
  const first = await lpty.query(RIGHT);
  if (first === 'lost') await sleep(STARTED);
  if (first !== 'accepted') assert.equal(await lpty.query(RIGHT), 'accepted', 'the second login of all');
}

async function assertInStep(lpty: Reader): Promise<void> {
  const answers = [
    await lpty.query(WRONG),
    await lpty.query(RIGHT),
    await lpty.query(WRONG),
    await lpty.query(RIGHT),
  ];
  assert.deepEqual(answers, ['refused', 'accepted', 'refused', 'accepted']);
}

describe('from exec to raw mode', () => {
  it('takes less than 10 ms', async (t) => {
    const folder = temporaryFolder();
    const fifo = join(folder, 'stderr');
    execFileSync('mkfifo', [fifo]);
    // Not Node itself: its start would disturb the next measurement.
    writeFileSync(join(folder, 'node'), '#!/bin/sh\nexit 0\n', { mode: 0o755 });
    const lpty = reader(t, '/nonexistent', {
      timeout: 0.2,
      env: { PATH: `${folder}:/usr/bin:/bin`, EXTAUTH_OAUTH_STDERR: fifo },
    });
    const times: number[] = [];
    for (let n = 0; n < 60; n++) {
      // What the wrapper does next after raw mode is to open its stderr: that lets the opening here go on.
      const opened = open(fifo, 'r');
      const start = performance.now();
      const query = lpty.query(RIGHT);
      const pipe = await opened;
      times.push(performance.now() - start);
      assert.notEqual(await query, 'dead');
      await pipe.close();
      await sleep(10);
    }
    // Of three rounds the quietest: the machine may have other things to do.
    const medians = [0, 20, 40].map(
      (from) => times.slice(from, from + 20).sort((a, b) => a - b)[10] ?? Number.NaN,
    );
    const median = Math.min(...medians);
    const slowest = Math.max(...times);
    t.diagnostic(`with fork and exec: median ${median.toFixed(1)} ms, slowest ${slowest.toFixed(1)} ms`);
    assert.ok(median < 10, `medians ${medians} ms`);
    assert.ok(slowest < 500, `slowest ${slowest} ms`);
  });
});

describe('the wrapper', { concurrency: 4 }, () => {
  /** The wrapper on pipes, next to a program that prints what it was given. */
  async function wrapper(
    shell: string[],
    env: Record<string, string>,
    program = 'console.log("fresh", process.env.EXTAUTH_OAUTH_FRESH_TTY); console.error("to stderr");',
  ) {
    const folder = temporaryFolder();
    mkdirSync(join(folder, 'lib'));
    mkdirSync(join(folder, 'bin'));
    const script = join(folder, 'lib/extauth-oauth-prosody');
    writeFileSync(script, readFileSync(prosodyProgram), { mode: 0o755 });
    if (program !== '') writeFileSync(join(folder, 'lib/extauth-oauth.js'), program);
    symlinkSync('../lib/extauth-oauth-prosody', join(folder, 'bin/linked'));
    const [command = '', ...args] = [...shell, join(folder, 'bin/linked')];
    const child = spawn(command, args, { env: { PATH: process.env.PATH ?? '', ...env }, cwd: '/' });
    let output = '';
    let errors = '';
    child.stdout.on('data', (chunk) => {
      output += chunk;
    });
    child.stderr.on('data', (chunk) => {
      errors += chunk;
    });
    child.stdin.end();
    const [code, signal] = (await once(child, 'close')) as [number | null, string | null];
    return { code, signal, output, errors };
  }

  const shells = [[], ['dash'], ['bash'], ['bash', '--posix'], ['busybox', 'sh']];
  for (const shell of shells) {
    const name = shell.join(' ') || 'its own shell';
    it(`finds its folder through a symbolic link and writes nothing on stderr (${name})`, async () => {
      const { code, output, errors } = await wrapper(shell, { EXTAUTH_OAUTH_FRESH_TTY: '1' });
      assert.deepEqual({ code, output, errors }, { code: 0, output: 'fresh undefined\n', errors: '' });
    });

    it(`points stderr at a file when that can be opened (${name})`, async () => {
      const file = join(temporaryFolder(), 'stderr');
      await wrapper(shell, { EXTAUTH_OAUTH_STDERR: file });
      assert.equal(readFileSync(file, 'utf8'), 'to stderr\n');
      for (const unusable of ['/nonexistent/file', '/', '']) {
        const { code, output, errors } = await wrapper(shell, { EXTAUTH_OAUTH_STDERR: unusable });
        assert.deepEqual({ code, output, errors }, { code: 0, output: 'fresh undefined\n', errors: '' });
      }
    });

    it(`ends with 0 and says so when there is nothing to run (${name})`, async () => {
      const file = join(temporaryFolder(), 'stderr');
      const noProgram = await wrapper(shell, { EXTAUTH_OAUTH_STDERR: file }, '');
      assert.equal(noProgram.code, 0);
      assert.match(readFileSync(file, 'utf8'), /cannot read .*\/lib\/extauth-oauth\.js\n$/);
      const noNode = await wrapper(shell, { EXTAUTH_OAUTH_STDERR: file, PATH: pathWithoutNode() });
      assert.equal(noNode.code, 0);
      assert.match(readFileSync(file, 'utf8'), /no node in PATH=\S+\n$/);
    });
  }

  for (const shell of shells) {
    it(`makes the terminal raw and tells whether it was (${shell.join(' ') || 'its own shell'})`, async (t) => {
      const folder = temporaryFolder();
      const program = join(folder, 'extauth-oauth-prosody');
      const path =
        shell[0] && execFileSync('/bin/sh', ['-c', `command -v ${shell[0]}`], { encoding: 'utf8' }).trim();
      const interpreter = path === undefined ? '#!/bin/sh' : `#!${[path, ...shell.slice(1)].join(' ')}`;
      writeFileSync(program, readFileSync(prosodyProgram, 'utf8').replace(/^.*/, interpreter), {
        mode: 0o755,
      });
      const report = `
        const { appendFileSync } = require('node:fs');
        const stty = require('node:child_process').execSync('stty -a', { stdio: ['inherit', 'pipe', 'ignore'] });
        const flags = String(stty).match(/-?\\b(isig|icanon|icrnl|ixon|echo|opost)\\b/g).sort();
        appendFileSync(process.env.REPORT, [process.env.EXTAUTH_OAUTH_FRESH_TTY, ...flags].join(' ') + '\\n');`;
      writeFileSync(join(folder, 'extauth-oauth.js'), report);
      const REPORT = join(folder, 'report');
      const lpty = reader(t, '/nonexistent', { program, env: { REPORT, EXTAUTH_OAUTH_FRESH_TTY: '1' } });
      for (let n = 0; n < 2; n++) {
        await lpty.query(RIGHT);
        assert.equal(await lpty.ended(), 'exit 0');
      }
      const raw = '-echo -icanon -icrnl -isig -ixon -opost';
      assert.equal(readFileSync(REPORT, 'utf8'), `1 ${raw}\n ${raw}\n`);
    });
  }
});

describe('examples/prosody.cfg.lua', () => {
  it('loads, and has every line that is vital', () => {
    const show = `
      local config = setmetatable({ VirtualHost = function () end }, { __index = _G });
      setfenv(assert(loadfile(arg[1])), config)();
      for _, module in ipairs(config.modules_enabled) do print("module", module); end
      for name, value in pairs(config) do print(name, tostring(value)); end`;
    const script = join(temporaryFolder(), 'show.lua');
    writeFileSync(script, show);
    const output = execFileSync('lua5.1', [script, join(root, 'examples/prosody.cfg.lua')], {
      encoding: 'utf8',
    });
    const lines = output.split('\n');
    for (const [name, value] of [
      ['authentication', 'external_insecure'],
      ['external_auth_protocol', 'generic'],
      ['external_auth_timeout', '5'],
      ['external_auth_blocking', 'true'],
      ['c2s_require_encryption', 'true'],
      ['module', 'saslauth'],
    ]) {
      assert.ok(lines.includes(`${name}\t${value}`), name);
    }
    assert.ok(!lines.includes('module\tregister'));
    assert.match(output, /^external_auth_command\t\/\S+\/extauth-oauth-prosody$/m);
  });
});

/** The tools of the wrapper and nothing else. */
function pathWithoutNode(): string {
  const folder = temporaryFolder();
  for (const tool of ['stty', 'readlink', 'dash', 'bash', 'busybox', 'sh']) {
    for (const place of ['/bin', '/usr/bin']) {
      try {
        statSync(join(place, tool));
        symlinkSync(join(place, tool), join(folder, tool));
        break;
      } catch {
        // Not there, or not installed.
      }
    }
  }
  return folder;
}

describe('behind lpty', { concurrency: STARTS_AT_ONCE }, () => {
  let healthy: Scripted;
  before(async () => {
    healthy = await startScripted();
  });
  after(() => healthy.stop());

  interface ColdStart {
    /** Milliseconds between the first answer and the second query: logins come by and by, or in a storm. */
    readonly pause: number;
    readonly first: string;
    /** How many queries may go unanswered. */
    readonly price: number;
  }
  const calm: ColdStart = { pause: STARTED, first: RIGHT, price: 1 };
  // What is sent before Node runs lies with the first query in one read.
  const storm: ColdStart = { pause: 0, first: RIGHT, price: 2 };
  // Long lines are echoed more often, and maybe in pieces.
  const long: ColdStart = { pause: STARTED, first: `auth:alice:example.org:${'x'.repeat(950)}`, price: 1 };
  const starts = [...Array(20).fill(calm), ...Array(10).fill(storm), ...Array(10).fill(long)] as ColdStart[];
  const outcomes: string[] = [];

  for (const [index, { pause, first, price }] of starts.entries()) {
    it(`gives every query its own verdict after cold start ${index + 1}`, { timeout: 60_000 }, async (t) => {
      const lpty = reader(t, config(healthy));
      const answers: Seen[] = [await lpty.query(first)];
      await sleep(answers[0] === 'timeout' ? 0 : pause);
      for (const line of [WRONG, RIGHT, WRONG, RIGHT]) answers.push(await lpty.query(line));

      const own: Seen[] = [
        first === RIGHT ? 'accepted' : 'refused',
        'refused',
        'accepted',
        'refused',
        'accepted',
      ];
      const answered = answers.findIndex((answer) => answer === 'accepted' || answer === 'refused');
      const story = answers.join(' ');
      outcomes.push(`${answered} without an answer, the first ${answers[0]}`);
      assert.deepEqual(answers.slice(answered), own.slice(answered), story);
      assert.ok(answered !== -1 && answered <= price, story);
    });
  }
  after(() => {
    for (const outcome of new Set(outcomes)) {
      console.log(`# ${outcomes.filter((each) => each === outcome).length} cold starts: ${outcome}`);
    }
  });

  // One in two starts echoes anything.
  for (const [index, first] of Array(4).fill([RIGHT, long.first]).flat().entries() as Iterable<
    [number, string]
  >) {
    it(`is in step when the echo of ${first.length} bytes came in pieces, start ${index + 1}`, {
      timeout: 60_000,
    }, async (t) => {
      // One echo of some hundreds comes in two pieces: the module takes the first for an answer and has the second still to
      // come. Here it has all of it still to come.
      const lpty = reader(t, config(healthy));
      await lpty.start(first);
      await sleep(STARTED);
      const answers: Seen[] = [];
      for (const line of [WRONG, RIGHT, WRONG, RIGHT, WRONG]) {
        answers.push(await lpty.query(line));
        // Not at once: input while a query is being judged is suspicious by itself.
        await sleep(300);
      }
      t.diagnostic(answers.join(' '));
      assert.match(answers.join(' '), /^(refused|lost|timeout) accepted refused accepted refused$/);
    });
  }

  it('answers in time when the provider is slow, and drops its late yes', { timeout: 60_000 }, async (t) => {
    const slow = await provider(t);
    const lpty = reader(t, config(slow, { deadline: '4s', http: { timeout: '8s' } }));
    await inStep(lpty);
    slow.set('token', { delay: 5500, body: { access_token: 'alice-token', token_type: 'Bearer' } });
    const start = performance.now();
    assert.equal(await lpty.query(RIGHT), 'refused');
    const took = performance.now() - start;
    assert.ok(took > 3500 && took < 4900, `answered after ${took} ms`);
    slow.set('token', undefined);
    assert.equal(await lpty.read(3), 'timeout', 'the late yes');
    await assertInStep(lpty);
  });

  it('answers in time when the provider never does', { timeout: 60_000 }, async (t) => {
    const stalled = await provider(t);
    const lpty = reader(t, config(stalled, { deadline: '4s' }));
    await inStep(lpty);
    stalled.set('token', { stall: true });
    assert.equal(await lpty.query(RIGHT), 'refused');
    assert.equal(await lpty.query(RIGHT), 'refused');
    stalled.set('token', undefined);
    await assertInStep(lpty);
  });

  it('writes nothing for a reader that has given up, whatever the deadline says', {
    timeout: 60_000,
  }, async (t) => {
    const slow = await provider(t);
    const lpty = reader(t, config(slow, { deadline: '8s', http: { timeout: '7s' } }));
    await inStep(lpty);
    slow.set('token', { delay: 6000, body: { access_token: 'alice-token', token_type: 'Bearer' } });
    assert.equal(await lpty.query(RIGHT), 'timeout');
    slow.set('token', undefined);
    assert.equal(await lpty.read(3), 'timeout', 'the late yes');
    await assertInStep(lpty);
  });

  it('takes no answer across a standstill in the middle of a query', { timeout: 60_000 }, async (t) => {
    const slow = await provider(t);
    const lpty = reader(t, config(slow));
    await inStep(lpty);
    slow.set('token', { delay: 500, body: { access_token: 'alice-token', token_type: 'Bearer' } });
    const bridge = lpty.bridge();
    const query = lpty.query(RIGHT);
    await sleep(200);
    process.kill(bridge, 'SIGSTOP');
    await sleep(6000);
    process.kill(bridge, 'SIGCONT');
    // lpty does not always wait on after the SIGCHLD.
    const seen = await query;
    assert.ok(seen === 'interrupted' || seen === 'timeout', seen);
    await sleep(1000);
    slow.set('token', undefined);
    assert.equal(await lpty.read(2), 'timeout', 'the late yes');
    await assertInStep(lpty);
  });

  it('does not answer a query that came during a standstill', { timeout: 60_000 }, async (t) => {
    const lpty = reader(t, config(healthy));
    await inStep(lpty);
    const bridge = lpty.bridge();
    process.kill(bridge, 'SIGSTOP');
    await sleep(100);
    assert.equal(await lpty.query(RIGHT), 'timeout');
    process.kill(bridge, 'SIGCONT');
    await sleep(500);
    assert.equal(await lpty.read(2), 'timeout', 'the late yes');
    await assertInStep(lpty);
  });

  it('keeps what Node prints off the terminal', { timeout: 60_000 }, async (t) => {
    const stderr = join(temporaryFolder(), 'stderr');
    const noisy = {
      NODE_EXTRA_CA_CERTS: '/nonexistent',
      NODE_DEBUG: 'net,timer',
      NODE_OPTIONS: '--trace-warnings',
    };
    const loud = reader(t, config(healthy), { env: { ...noisy, EXTAUTH_OAUTH_STDERR: stderr } });
    await inStep(loud);
    await assertInStep(loud);
    assert.match(readFileSync(stderr, 'utf8'), /TIMER/, 'Node was to print something');
    const quiet = reader(t, config(healthy), {
      env: { ...noisy, EXTAUTH_OAUTH_STDERR: '/nonexistent/file' },
    });
    await inStep(quiet);
    await assertInStep(quiet);
  });

  it('answers nothing to a query with a second one injected', { timeout: 60_000 }, async (t) => {
    const lpty = reader(t, config(healthy));
    await inStep(lpty);
    assert.equal(await lpty.query(`setpass:bob:example.org:x\n${RIGHT}`), 'timeout');
    await assertInStep(lpty);
  });

  for (const gap of [1, 5, 20]) {
    it(`answers nothing to an injected query that comes ${gap} ms later`, { timeout: 60_000 }, async (t) => {
      const lpty = reader(t, config(healthy));
      await inStep(lpty);
      await lpty.send('setpass:bob:example.org:x\n');
      await sleep(gap);
      await lpty.send(`${RIGHT}\n`);
      assert.equal(await lpty.read(5), 'timeout');
      await assertInStep(lpty);
    });
  }

  it('refuses setpass and the rest, and goes on', { timeout: 60_000 }, async (t) => {
    const lpty = reader(t, config(healthy));
    await inStep(lpty);
    for (const line of [
      'setpass:alice:example.org:new',
      'nonsense',
      '',
      'auth:alice',
      'tryregister:a:example.org:b',
    ]) {
      assert.equal(await lpty.query(line), 'refused', line);
    }
    await assertInStep(lpty);
  });

  it('ends with its reader, and keeps nothing of it open', { timeout: 60_000 }, async (t) => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.after(() => void server.close());
    const { port } = server.address() as AddressInfo;
    const listener = (server as unknown as { _handle: { fd: number } })._handle.fd;
    const file = await open(join(temporaryFolder(), 'prosody.log'), 'a');
    t.after(() => file.close());
    // The listener where one digit names it, and where POSIX sh could not.
    const inherited = [listener, file.fd, ...Array(6).fill('ignore'), 'ignore', listener, file.fd];
    const lpty = reader(t, config(healthy), { inherited });
    await inStep(lpty);
    server.close();
    await once(server, 'close');

    const bridge = lpty.bridge();
    const held = descriptors(bridge);
    const leaked = descriptors(lpty.pid);
    const sockets = leaked.filter((target) => target.startsWith('socket:'));
    assert.ok(sockets.length >= 2 && leaked.includes('/dev/ptmx'), `nothing to inherit: ${leaked}`);
    const kept = held.filter((target) => sockets.includes(target) || /ptmx|prosody\.log$/.test(target));
    assert.deepEqual(kept, []);

    process.kill(lpty.pid, 'SIGKILL');
    t.diagnostic(`ended ${Math.round(await untilEnded(bridge, 2000))} ms after its reader`);
    const again = createServer().listen(port, '127.0.0.1');
    await once(again, 'listening');
    again.close();
  });

  it('ends with 0 when it is told to, and is started again on the terminal that is raw by now', {
    timeout: 60_000,
  }, async (t) => {
    const lpty = reader(t, config(healthy));
    await inStep(lpty);
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      process.kill(lpty.bridge(), signal);
      assert.equal(await lpty.ended(), 'exit 0');
      assert.equal(await lpty.query(RIGHT), 'accepted', 'the first login of the second start');
      await assertInStep(lpty);
    }
    process.kill(lpty.bridge(), 'SIGHUP');
    await assertInStep(lpty);
    await lpty.end();
    assert.equal(await lpty.ended(), 'exit 0');
  });

  it('ends with 0 at the end of input', { timeout: 60_000 }, async () => {
    const child = spawn(prosodyProgram, {
      env: { PATH: process.env.PATH ?? '', EXTAUTH_OAUTH_CONFIG: config(healthy) },
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    let output = '';
    child.stdout.on('data', (chunk) => {
      output += chunk;
    });
    child.stdin.end(`${RIGHT}\n${WRONG}\n`);
    assert.deepEqual(await once(child, 'close'), [0, null]);
    assert.equal(output, '1\n0\n');
  });

  it('ends with 0 when there is no node, and works once there is', { timeout: 60_000 }, async (t) => {
    const folder = pathWithoutNode();
    const lpty = reader(t, config(healthy), { timeout: 5, env: { PATH: folder } });
    for (let n = 0; n < 3; n++) {
      assert.match(await lpty.query(RIGHT), /lost|timeout|interrupted/);
      assert.equal(await lpty.ended(), 'exit 0');
    }
    symlinkSync(process.execPath, join(folder, 'node'));
    assert.notEqual(await lpty.query(RIGHT), 'dead');
    await sleep(STARTED);
    await lpty.read(0.1);
    await assertInStep(lpty);
  });

  it('stays up with a broken configuration', { timeout: 60_000 }, async (t) => {
    for (const broken of [writeConfig('{'), writeConfig({ client_idd: 'xmpp' }), '/nonexistent/config.yml']) {
      const lpty = reader(t, broken);
      await lpty.query(RIGHT);
      await sleep(STARTED);
      assert.equal(await lpty.query(RIGHT), 'refused');
      assert.equal(await lpty.query('isuser:alice:example.org'), 'accepted');
      assert.equal(await lpty.query(RIGHT), 'refused');
      assert.equal(await lpty.status(), 'running');
    }
  });

  it('takes passwords as they are', { timeout: 60_000 }, async (t) => {
    const everything = await provider(t);
    const controls = '\x03\x04\x11\x12\x13\x15\x16\x17\x1a\x1c\x7f<- controls \r umlaut \u00fc, colon : end';
    const lineOf = (password: string): string => `auth:alice:example.org:${password}`;
    const thousand = 'y'.repeat(1000 - lineOf('').length);
    let password = '';
    everything.set('token', ({ body }: ScriptedRequest) => {
      const form = new URLSearchParams(body);
      return form.get('password') === password || form.get('password') === 'alice-password'
        ? { body: { access_token: 'alice-token', token_type: 'Bearer' } }
        : { status: 400, body: { error: 'invalid_grant' } };
    });
    const lpty = reader(t, config(everything));
    await inStep(lpty);
    const bridge = lpty.bridge();
    for (password of [controls, thousand]) {
      assert.equal(await lpty.query(lineOf(password)), 'accepted');
      assert.equal(await lpty.query(lineOf(`${password.slice(0, -1)}?`)), 'refused');
    }
    assert.equal(await lpty.query(`${RIGHT}\r`), 'accepted', 'CR LF');
    assert.equal(lpty.bridge(), bridge);
    assert.ok(isRunning(bridge));
    await assertInStep(lpty);
  });
});

function descriptors(pid: number): string[] {
  const folder = `/proc/${pid}/fd`;
  return readdirSync(folder).flatMap((fd) => {
    try {
      return [readlinkSync(join(folder, fd))];
    } catch {
      return [];
    }
  });
}
