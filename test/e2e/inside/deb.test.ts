// The life of the Debian package on a Debian: built, installed, used for logins by Debian's ejabberd under its own user,
// upgraded while it is in use, removed, and purged without a trace.
import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, readFileSync, readlinkSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { root, temporaryFolder } from '../../support/bridge.ts';
import { connectPeer } from '../../support/peer.ts';
import { alice, type Scripted, startScripted } from '../../support/scripted-provider.ts';
import { type Ejabberd, startEjabberd, within } from '../support/ejabberd.ts';
import { mustBeRefused, mustLogIn } from '../support/xmpp.ts';

const NAME = 'extauth-oauth';
const domain = 'deb.example';
const config = '/etc/extauth-oauth/config.yml';
const cacheFile = '/usr/lib/extauth-oauth/dist/bridge.cjs.cache';
const first = '0.1.0-1';
const second = '0.1.0-2';

const run = (command: string, ...args: string[]): string =>
  execFileSync(command, args, {
    encoding: 'utf8',
    env: { ...process.env, LC_ALL: 'C.UTF-8', SOURCE_DATE_EPOCH: '1795824000' },
    stdio: 'pipe',
    // All file names of the machine.
    maxBuffer: 512 * 1024 * 1024,
  });
const build = (version: string): string => {
  const folder = temporaryFolder();
  return run(join(root, '.package/deb'), folder, version).trim();
};
const sha256 = (file: string): string => createHash('sha256').update(readFileSync(file)).digest('hex');
// biome-ignore lint/suspicious/noTemplateCurlyInString: dpkg fills it in.
const STATUS = '${db:Status-Status} ${Version}';
const installedVersion = (): string =>
  spawnSync('dpkg-query', ['-W', '-f', STATUS, NAME], { encoding: 'utf8' }).stdout;
const ownerOf = (file: string): string => run('stat', '-c', '%U:%G %a', file).trim();

/** Everything where packages put something, and who there is. Logs, caches and dpkg's own records are not ours. */
function traces(): string[] {
  const places = ['/etc', '/usr', '/opt', '/srv', '/home', '/root', '/run', '/var'];
  const noise = [
    '/var/log',
    '/var/cache',
    '/var/lib/dpkg',
    '/var/lib/apt',
    '/root/.npm',
    '/root/.cache',
    '/run/lock',
  ];
  const skipped = noise.flatMap((path) => ['-path', path, '-prune', '-o']);
  const files = run('find', ...places, '-xdev', ...skipped, '-print').split('\n');
  const accounts = ['passwd', 'group', 'shadow', 'gshadow', 'subuid', 'subgid'].flatMap((name) =>
    readFileSync(join('/etc', name), 'utf8').split('\n').sort(),
  );
  const ours = (path: string): boolean => path.includes(NAME) && !path.includes('/extauth-oauth-test');
  // What others do on this machine meanwhile is no trace of ours, unless it has our name.
  return [...files.filter((path) => ours(path) || /^\/(?:etc|usr)\//.test(path)), ...accounts];
}

describe('the Debian package', { concurrency: false }, () => {
  let provider: Scripted;
  let ejabberd: Ejabberd | undefined;
  let deb: string;
  let untouched: string[];

  before(async () => {
    assert.doesNotMatch(installedVersion(), /^(?!not-installed)\S/, `${NAME} is installed here already`);
    assert.ok(!existsSync('/etc/extauth-oauth'), '/etc/extauth-oauth is there already');
    untouched = traces();
    provider = await startScripted();
    deb = build(first);
  });
  after(async () => {
    await ejabberd?.stop();
    await provider?.stop();
    spawnSync('dpkg', ['--purge', NAME]);
  });

  it('is the same to the byte when it is built again (of a time given by SOURCE_DATE_EPOCH)', () => {
    assert.equal(sha256(build(first)), sha256(deb));
  });

  it('has nothing that lintian warns of', () => {
    const { status, stdout, stderr } = spawnSync(
      'lintian',
      ['--allow-root', '--fail-on', 'error,warning', '--display-level', '>=warning', deb],
      { encoding: 'utf8' },
    );
    assert.equal(`${stdout}${stderr}`, '');
    assert.equal(status, 0);
  });

  it('needs a Node that can run it, and nothing that is not in Debian', () => {
    const depends = run('dpkg-deb', '-f', deb, 'Depends');
    const { engines } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
      engines: { node: string };
    };
    assert.match(engines.node, /^\^20\.19 /);
    assert.match(depends, /^nodejs \(>= 20\.19\)/);
  });

  it('is installed, with what it runs as and in', () => {
    run('dpkg', '-i', deb);
    assert.equal(installedVersion(), `installed ${first}`);
    assert.equal(ownerOf('/etc/extauth-oauth'), 'root:extauth-oauth 750');
    assert.equal(ownerOf('/var/lib/extauth-oauth'), 'extauth-oauth:extauth-oauth 700');
    assert.equal(ownerOf('/run/extauth-oauth'), 'extauth-oauth:extauth-oauth 755');
    for (const server of ['ejabberd', 'prosody'])
      assert.ok(run('id', '-nG', server).split(/\s/).includes('extauth-oauth'), server);
    assert.equal(readlinkSync('/usr/bin/extauth-oauth'), '../lib/extauth-oauth/bin/extauth-oauth.js');
    assert.match(run('extauth-oauth', '--version'), /^\d+\.\d+\.\d+\n$/);
    assert.ok(statSync(cacheFile).size > 100_000, 'compiled for this Node');
    for (const [section, page] of [
      ['1', NAME],
      ['1', `${NAME}-prosody`],
      ['5', NAME],
    ] as const)
      assert.match(run('man', '-w', section, page), /extauth-oauth\.[15]\.gz\n$/);
    JSON.parse(readFileSync('/usr/share/extauth-oauth/config.schema.json', 'utf8'));
  });

  it('has the parts in machine code that shared state and systemd need', () => {
    const load =
      "const r = require('module').createRequire('/usr/lib/extauth-oauth/dist/'); r('koffi').load(null); r('lmdb')";
    run('node', '-e', load);
  });

  it('has units that systemd takes', () => {
    const units = ['.service', '-ejabberd.socket', '-prosody@.socket'].map(
      (end) => `/lib/systemd/system/${NAME}${end}`,
    );
    const { stdout, stderr } = spawnSync(
      'systemd-analyze',
      ['verify', '--recursive-errors=no', '--man=yes', ...units],
      {
        encoding: 'utf8',
      },
    );
    // On the machine of the test other units may have faults.
    assert.doesNotMatch(`${stdout}${stderr}`, /extauth-oauth/);
    const service = readFileSync(units[0] ?? '', 'utf8');
    assert.match(service, /^ExecStart=\/usr\/bin\/extauth-oauth serve$/m);
    assert.match(service, /^User=extauth-oauth$/m);
  });

  it('has rules for AppArmor that it takes', () => {
    const profile =
      'include <tunables/global>\nprofile test /usr/sbin/test {\n  include <abstractions/base>\n  include <abstractions/extauth-oauth>\n}\n';
    const { status, stderr } = spawnSync('apparmor_parser', ['-Q', '-K', '-I', '/etc/apparmor.d'], {
      input: profile,
      encoding: 'utf8',
    });
    assert.equal(status, 0, stderr);
  });

  it('runs the daemon as its own user, with sockets and state where the package has room for them', async () => {
    const socket = '/run/extauth-oauth/extauth.sock';
    const { token, userinfo } = provider.endpoints;
    writeFileSync(
      config,
      `token_endpoint: ${token}\nvalidation_endpoint: ${userinfo}\nclient_id: xmpp\n` +
        `state: lmdb:/var/lib/extauth-oauth\nlisten: [{ protocol: extauth, path: ${socket} }]\n`,
    );
    run('chown', 'root:extauth-oauth', config);
    run('chmod', '640', config);
    const daemon = spawn(
      'setpriv',
      ['--reuid', NAME, '--regid', NAME, '--init-groups', '/usr/bin/extauth-oauth', 'serve'],
      { stdio: ['ignore', 'ignore', 'pipe'], env: { PATH: process.env.PATH ?? '' } },
    );
    let log = '';
    daemon.stderr.on('data', (chunk: Buffer) => {
      log += chunk;
    });
    const ended = once(daemon, 'exit');
    try {
      assert.ok(await within(20_000, () => existsSync(socket)), log);
      assert.equal(ownerOf(socket), 'extauth-oauth:extauth-oauth 660');
      const peer = connectPeer(socket);
      assert.equal(await peer.ask(`auth:${alice.name}:${domain}:${alice.password}`), 1, log);
      peer.leave();
    } finally {
      daemon.kill();
      await ended;
    }
    assert.equal(ownerOf('/var/lib/extauth-oauth/key'), 'extauth-oauth:extauth-oauth 600');
    // From here on it is ejabberd's.
    run('find', '/var/lib/extauth-oauth', '-mindepth', '1', '-delete');
  });

  it("lets users of Debian's ejabberd log in, which runs it as the user ejabberd", async () => {
    const secret = '/etc/extauth-oauth/client_secret';
    writeFileSync(secret, 'the-secret-of-our-client\n');
    run('chown', 'ejabberd:ejabberd', secret);
    run('chmod', '600', secret);
    const { token, userinfo } = provider.endpoints;
    writeFileSync(
      config,
      `token_endpoint: ${token}\nvalidation_endpoint: ${userinfo}\nclient_id: xmpp\nclient_secret_file: ${secret}\n` +
        'state: lmdb:/var/lib/extauth-oauth\n',
    );
    run('chown', 'root:extauth-oauth', config);
    run('chmod', '640', config);
    run('chown', 'ejabberd:ejabberd', '/var/lib/extauth-oauth');
    ejabberd = await startEjabberd({
      hosts: [domain],
      program: '/usr/bin/extauth-oauth',
      pool: 2,
      asService: true,
    });
    for (const pid of ejabberd.workers()) assert.equal(ownerOf(`/proc/${pid}`).split(':')[0], 'ejabberd');
    await logIn();
    const wrong = { port: ejabberd.port, domain, username: alice.name, password: 'not-her-password' };
    await mustBeRefused(wrong);
    assert.match(ownerOf('/var/lib/extauth-oauth/key'), /^ejabberd:ejabberd 600$/);
  });

  it('is upgraded while ejabberd uses it, and keeps what is configured', async () => {
    const kept = [config, '/etc/extauth-oauth', '/etc/extauth-oauth/client_secret', '/var/lib/extauth-oauth'];
    const before = kept.map(ownerOf);
    const compiled = statSync(cacheFile).ino;
    const text = readFileSync(config, 'utf8');
    run('dpkg', '-i', build(second));
    assert.equal(installedVersion(), `installed ${second}`);
    assert.deepEqual(kept.map(ownerOf), before);
    assert.equal(readFileSync(config, 'utf8'), text);
    assert.notEqual(statSync(cacheFile).ino, compiled, 'compiled again');
    await logIn();
    // And by programs that are started from now on.
    await ejabberd?.stop();
    ejabberd = await startEjabberd({
      hosts: [domain],
      program: '/usr/bin/extauth-oauth',
      pool: 1,
      asService: true,
    });
    await logIn();
    await ejabberd.stop();
  });

  it('is removed, and leaves what the administrator wrote and the users that are known', () => {
    run('dpkg', '--remove', NAME);
    assert.ok(!existsSync('/usr/lib/extauth-oauth'));
    assert.ok(!existsSync('/usr/bin/extauth-oauth'));
    assert.ok(existsSync(config));
    assert.ok(existsSync('/var/lib/extauth-oauth/key'));
  });

  it('is purged, and leaves nothing behind', () => {
    run('dpkg', '--purge', NAME);
    assert.doesNotMatch(installedVersion(), /installed/);
    const known = new Set(untouched);
    assert.deepEqual(
      traces().filter((trace) => !known.has(trace)),
      [],
    );
    const now = new Set(traces());
    assert.deepEqual(
      untouched.filter((trace) => !now.has(trace)),
      [],
    );
  });

  async function logIn(): Promise<void> {
    await mustLogIn({
      port: ejabberd?.port ?? 0,
      domain,
      username: alice.name,
      password: alice.password,
    });
  }
});
