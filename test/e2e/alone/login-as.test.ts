// `login --as`: the login through a child as the real user of the server, on pipes and on a real terminal. As root.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { accountOf } from '../../../src/check/access.ts';
import { readAs } from '../../../src/check/become.ts';
import { createRoot } from '../../../src/check/root.ts';
import { readPlainFile } from '../../../src/plain-file.ts';
import { program, prosodyProgram, root } from '../../support/bridge.ts';
import { startProvider } from '../../support/provider.ts';
import { startMachine } from '../support/machine.ts';

const SERVERS = ['ejabberd', 'prosody'] as const;
const SECRET = 'canaryPassword-7f3a';
const JID = 'alice@chat.example';

before(() => {
  assert.equal(process.geteuid?.(), 0, 'these tests become ejabberd and prosody: run them as root');
  for (const server of SERVERS) execFileSync('id', [server]);
});

/** A folder that everybody may look into, as /etc/extauth-oauth is. */
function openFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'extauth-oauth-as-'));
  chmodSync(folder, 0o755);
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

function idOf(user: string): number {
  return Number(execFileSync('id', ['-u', user], { encoding: 'utf8' }));
}

interface Result {
  readonly code: number | null;
  readonly out: string;
  /** All command lines and environments that were seen on the machine meanwhile. */
  readonly seen: string;
}

describe('login --as', () => {
  let provider: Awaited<ReturnType<typeof startProvider>>;
  before(async () => {
    provider = await startProvider({ users: { alice: { password: SECRET } } });
  });
  after(() => provider.stop());

  function configFor(t: TestContext, user: string, extra: Record<string, unknown> = {}): string {
    const file = join(openFolder(t), 'config.json');
    const config = {
      issuer: provider.issuer,
      client_id: provider.clientId,
      client_secret: provider.clientSecret,
      resource_owner_password: true,
      scope: 'openid profile',
      hosts: { 'chat.example': {} },
      ...extra,
    };
    writeFileSync(file, JSON.stringify(config), { mode: 0o600 });
    chownSync(file, idOf(user), 0);
    return file;
  }

  async function login(
    args: readonly string[],
    { secret = SECRET, through = [] }: { secret?: string; through?: readonly string[] } = {},
  ): Promise<Result> {
    const [command = '', ...rest] = [...through, process.execPath, program, 'login', JID, '--stdin', ...args];
    const child = spawn(command, rest, { env: { PATH: process.env.PATH ?? '' } });
    let out = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk) => {
        out += chunk;
      });
    }
    child.stdin.end(secret);
    const ended = new Promise<number | null>((resolve) => child.on('close', resolve));
    let isOver = false;
    void ended.then(() => {
      isOver = true;
    });
    const seen = new Set<string>();
    while (!isOver) {
      for (const each of processes()) seen.add(each);
      await sleep(5);
    }
    return { code: await ended, out, seen: [...seen].join('\n') };
  }

  for (const server of SERVERS) {
    const answers = server === 'ejabberd' ? ['00 02 00 00', '00 02 00 01'] : ['0', '1'];

    it(`${server}: lets in whom the server would let in, and keeps the secret to the pipe`, async (t) => {
      const { code, out, seen } = await login(['--as', server, '--config', configFor(t, server)]);
      assert.equal(code, 0, out);
      assert.match(out, new RegExp(`^ok +${server} +as ${server}, in /var/lib/${server}, with`, 'm'));
      assert.match(out, new RegExp(`^ok +[\\d.]+ ms +answer +${answers[1]}: yes$`, 'm'));
      assert.match(out, /^ok +[\d.]+ ms +accepted \(password\)$/m);
      assert.ok(seen.includes('--stdin') && seen.includes('extauth-oauth.js'), 'it was looked at');
      assert.ok(!`${seen}${out}`.includes(SECRET), 'the secret was seen');
    });

    it(`${server}: says the reason from the child's log, and what to change`, async (t) => {
      const config = configFor(t, server);
      const { code, out } = await login(['--as', server, '--config', config], { secret: 'not-hers' });
      assert.equal(code, 1, out);
      assert.match(out, new RegExp(`^NO +[\\d.]+ ms +answer +${answers[0]}: no$`, 'm'));
      assert.match(
        out,
        /^NO +password grant [\s\S]*refused \(not_authorized\)\n +what to do +the provider says/m,
      );
    });

    it(`${server}: finds the reason in the file that the log goes to, among other people's, hashed`, async (t) => {
      const folder = openFolder(t);
      chownSync(folder, idOf(server), 0);
      const destination = join(folder, 'log');
      const log = { destination, users: 'hashed' };
      writeFileSync(
        destination,
        '{"event":"request","op":"auth","host":"chat.example","user":"alice","verdict":"accepted"}\n',
      );
      chownSync(destination, idOf(server), 0);
      const config = configFor(t, server, { log });
      const { out } = await login(['--as', server, '--config', config], { secret: 'not-hers' });
      assert.match(out, /refused \(not_authorized\)/);
      assert.match(readFileSync(destination, 'utf8'), /"user":"#/);
    });

    it(`${server}: shows what works by hand and not from the server: a file that is not its user's`, async (t) => {
      const { code, out } = await login(['--as', server, '--config', configFor(t, 'root')]);
      assert.equal(code, 1, out);
      assert.match(out, /^NO +configuration +\S+config\.json cannot be read by this user$/m);
      assert.match(out, /unavailable \(not_configured\)/);
    });

    it(`${server}: shows what a shell says of a program that is not there`, async (t) => {
      const config = configFor(t, server);
      const { code, out } = await login(['--as', server, '--config', config, '--program', '/nonexistent/it']);
      assert.equal(code, 1, out);
      assert.match(out, /start +none: the program has ended\nNO +stderr +.*\/nonexistent\/it: not found/);
    });

    it(`${server}: waits for no pipe in the place of the log`, async (t) => {
      const folder = openFolder(t);
      const destination = join(folder, 'log');
      execFileSync('mkfifo', ['-m', '0666', destination]);
      const config = configFor(t, server, { log: { destination } });
      const { code, out } = await login(['--as', server, '--config', config]);
      assert.equal(code, 0, out);
      assert.match(out, /^! +log +no line about this login/m);
    });

    it(`${server}: reads for its user what he may read, and is root again afterwards`, (t) => {
      const account = accountOf(createRoot(), server);
      assert.ok(account);
      const file = join(openFolder(t), 'secret');
      const was = [process.geteuid?.(), process.getegid?.(), process.getgroups?.()];
      const read = () => readPlainFile(file).toString();
      writeFileSync(file, 'of root', { mode: 0o600 });
      assert.throws(() => readAs(account, read), { code: 'EACCES' });
      assert.equal(readAs(undefined, read), 'of root');
      chownSync(file, 0, account.gids[0] ?? 0);
      chmodSync(file, 0o640);
      assert.equal(readAs(account, read), 'of root');
      assert.deepEqual([process.geteuid?.(), process.getegid?.(), process.getgroups?.()], was);
    });

    it(`${server}: leaves nothing behind`, async (t) => {
      const before = readdirSync(tmpdir()).filter((name) => name.startsWith('extauth-oauth-login-'));
      await login(['--as', server, '--config', configFor(t, server)]);
      const now = readdirSync(tmpdir()).filter((name) => name.startsWith('extauth-oauth-login-'));
      assert.deepEqual(now, before);
      const left = [...processes()].filter(
        (each) => each.includes('extauth-oauth') && each.includes(`/var/lib/${server}`),
      );
      assert.deepEqual(left, []);
    });
  }

  const unsent: [server: (typeof SERVERS)[number], title: string, secret: string, why: RegExp][] = [
    ['ejabberd', 'does not fit a frame', 'x'.repeat(65_536), /longer than the 65535 bytes of a frame/],
    ['ejabberd', 'is empty', '', /the secret is empty/],
    [
      'prosody',
      'is too long for the module',
      'x'.repeat(990),
      /longer than the 1000 bytes of mod_auth_external/,
    ],
    ['prosody', 'has a line in it', 'x\nauth:alice:chat.example:y', /a control character/],
  ];
  for (const [server, title, secret, why] of unsent) {
    it(`${server}: says that a secret which ${title} is never asked about`, async (t) => {
      const { code, out } = await login(['--as', server, '--config', configFor(t, server)], { secret });
      assert.equal(code, 1);
      assert.match(out, new RegExp(`${server} refuses without asking: .*${why.source}`));
    });
  }

  it('ejabberd: finds a program that says more than its answers', async (t) => {
    const noisy = join(openFolder(t), 'noisy');
    const answer = "head -c 2 >/dev/null; printf '\\0\\2\\0\\1'";
    writeFileSync(noisy, `#!/bin/sh\n${answer}\nsleep 0.3\nprintf '\\0\\2\\0\\1more'\ncat >/dev/null\n`, {
      mode: 0o755,
    });
    const { out } = await login([
      '--as',
      'ejabberd',
      '--config',
      configFor(t, 'ejabberd'),
      '--program',
      noisy,
    ]);
    assert.match(out, /^NO +too much +more came than the answer/m);
    assert.match(out, /^! +log +no line about this login/m);
  });

  it('takes the program that the configuration of the server names for the host', async (t) => {
    const machine = await startMachine();
    t.after(() => machine.stop());
    const ejabberd = configFor(t, 'ejabberd');
    const prosody = configFor(t, 'prosody');
    // ejabberd goes through a shell; Prosody's is one file.
    await machine.sh(`
      printf 'hosts: [chat.example, other.example]\\nextauth_program: "/nonexistent/one"\\n' >/etc/ejabberd/ejabberd.yml
      printf 'host_config:\\n  chat.example:\\n    extauth_program: "env EXTAUTH_OAUTH_CONFIG=${ejabberd} ${process.execPath} ${program}"\\n' >>/etc/ejabberd/ejabberd.yml
      printf '#!/bin/sh\\nexport EXTAUTH_OAUTH_CONFIG=${prosody}\\nexec ${prosodyProgram}\\n' >/usr/local/bin/wrapped
      chmod 755 /usr/local/bin/wrapped
      printf 'external_auth_command = "/usr/local/bin/wrapped"\\nVirtualHost "chat.example"\\n' >/etc/prosody/prosody.cfg.lua`);
    for (const [server, file] of [
      ['ejabberd', '/etc/ejabberd/ejabberd.yml'],
      ['prosody', '/etc/prosody/prosody.cfg.lua'],
    ] as const) {
      const command = `${process.execPath} ${program} login ${JID} --stdin --as ${server}`;
      const { code, out } = await machine.sh(command, { input: SECRET });
      assert.equal(code, 0, out);
      assert.match(out, new RegExp(`program +.*\\(${file}\\)$`, 'm'));
    }
  });

  it('has the environment and the files of a server that runs', async (t) => {
    const folder = openFolder(t);
    // What Erlang's virtual machine is called, with a /tmp of its own as under PrivateTmp=.
    const beam = join(folder, 'beam.smp');
    copyFileSync('/bin/sleep', beam);
    chmodSync(beam, 0o755);
    const config = configFor(t, 'ejabberd');
    const hidden = join(folder, 'hidden');
    execFileSync('mkdir', [hidden]);
    const through = join(hidden, 'program');
    writeFileSync(through, `#!/bin/sh\nexec ${process.execPath} ${program}\n`, { mode: 0o755 });
    const server = spawn(
      'unshare',
      [
        '--mount',
        '/bin/sh',
        '-c',
        `mount -t tmpfs none ${hidden} && cd /usr && exec setpriv --reuid=ejabberd --regid=ejabberd --clear-groups ${beam} 60`,
      ],
      {
        env: {
          PATH: '/usr/sbin:/usr/bin:/sbin:/bin',
          EXTAUTH_OAUTH_CONFIG: config,
          EXTAUTH_OAUTH_PLANTED: 'x',
        },
        stdio: 'inherit',
      },
    );
    t.after(() => void server.kill('SIGKILL'));
    await sleep(500);
    const fine = await login(['--as', 'ejabberd']);
    assert.equal(fine.code, 0, fine.out);
    assert.match(
      fine.out,
      new RegExp(`in /usr, with the environment of process ${server.pid} and its view of the files`),
    );
    assert.match(fine.out, /nsenter --target=\d+ --mount/);
    const blind = await login(['--as', 'ejabberd', '--program', through]);
    assert.match(blind.out, new RegExp(`stderr +.*${through}: not found`), 'what the server does not see');
  });

  it('lets nothing of what the user ejabberd can choose touch what is still root', async (t) => {
    const folder = openFolder(t);
    const beam = join(folder, 'beam.smp');
    copyFileSync('/bin/sleep', beam);
    chmodSync(beam, 0o755);
    const marks = join(folder, 'marks');
    writeFileSync(marks, '');
    chmodSync(marks, 0o666);
    // Whoever may run as ejabberd has these found first, and asks for a library of his own.
    const tools = join(folder, 'tools');
    mkdirSync(tools);
    chmodSync(tools, 0o755);
    for (const tool of ['setpriv', 'nsenter', 'sh', 'script'])
      writeFileSync(join(tools, tool), `#!/bin/dash\nid -u >>${marks}\nexec /usr/bin/${tool} "$@"\n`, {
        mode: 0o755,
      });
    const planted = { PATH: `${tools}:/usr/bin:/bin`, LD_PRELOAD: join(folder, 'none.so') };
    for (const way of [[], ['unshare', '--user', '--map-root-user', '--mount', '--']]) {
      const server = spawn(
        'setpriv',
        [
          '--reuid=ejabberd',
          '--regid=ejabberd',
          '--clear-groups',
          'env',
          ...Object.entries(planted).map((each) => each.join('=')),
          ...way,
          beam,
          '60',
        ],
        { stdio: 'ignore' },
      );
      t.after(() => void server.kill('SIGKILL'));
      await sleep(500);
      const ran = await login(['--as', 'ejabberd', '--config', configFor(t, 'ejabberd')]);
      assert.ok(
        !readFileSync(marks, 'utf8').split('\n').includes('0'),
        `${ran.out}\n${readFileSync(marks, 'utf8')}`,
      );
      if (way.length > 0)
        assert.doesNotMatch(ran.out, new RegExp(`process ${server.pid}\\b`), "a namespace of the user's own");
      server.kill('SIGKILL');
    }
  });

  it('says when it cannot become the user', async (t) => {
    const through = ['setpriv', '--reuid=nobody', '--regid=nogroup', '--clear-groups'];
    const { code, out } = await login(['--as', 'prosody', '--config', configFor(t, 'nobody')], { through });
    assert.equal(code, 0, out);
    assert.match(out, /^ok +prosody +as you, /m);
    assert.match(out, /^! +not the same +only root can become prosody$/m);
  });

  it('runs nothing as root where nobody knows who the user is', async (t) => {
    const machine = await startMachine();
    t.after(() => machine.stop());
    const { code, out } = await machine.sh(
      `sed -i '/^ejabberd:/d' /etc/passwd
      printf '#!/bin/sh\\ntouch /etc/ran\\n' >/etc/program; chmod 755 /etc/program
      ${process.execPath} ${program} login ${JID} --stdin --as ejabberd --program /etc/program
      code=$?; ls /etc/ran 2>/dev/null; exit $code`,
      { input: SECRET },
    );
    assert.equal(code, 1, out);
    assert.match(out, /ejabberd +its user is not in \/etc\/passwd/);
    assert.doesNotMatch(out, /etc\/ran/);
  });

  it('says that a terminal needs script', async (t) => {
    const folder = openFolder(t);
    const beside = join(folder, 'prosody');
    copyFileSync('/bin/sleep', beside);
    chmodSync(beside, 0o755);
    const args = ['--reuid=prosody', '--regid=prosody', '--clear-groups', beside, '60'];
    const server = spawn('/usr/bin/setpriv', args, { env: { PATH: folder } });
    t.after(() => void server.kill('SIGKILL'));
    await sleep(300);
    const { code, out } = await login(['--as', 'prosody']);
    assert.equal(code, 1);
    assert.match(out, /^NO +terminal +there is no script in PATH/m);
  });

  it('is used by name only', async () => {
    const { code, out } = await login(['--as', 'exim']);
    assert.equal(code, 2);
    assert.match(out, /ejabberd/);
    assert.equal((await login(['--program', 'x'])).code, 2);
    assert.ok(existsSync(prosodyProgram) && existsSync(join(root, 'dist/commands.js')));
  });
});

/** What `ps` would show to anybody, and the environment besides. */
function processes(): Set<string> {
  const found = new Set<string>();
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    if (pid === String(process.pid)) continue;
    try {
      const cwdAndArgs = ['cmdline', 'environ'].map((name) => readFileSync(`/proc/${pid}/${name}`, 'latin1'));
      found.add(cwdAndArgs.join('\n').replaceAll('\0', ' '));
    } catch {
      // It has just ended.
    }
  }
  return found;
}
