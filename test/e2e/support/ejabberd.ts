// Starts the installed ejabberd on loopback with folders and ports of its own, configured by examples/ejabberd.yml.
// Nothing of a system-wide instance is touched, and Erlang's port mapper (epmd) is neither needed nor started.
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { dump, load } from 'js-yaml';
import { atExit } from '../../support/at-exit.ts';
import { root, temporaryFolder } from '../../support/bridge.ts';

/** From cold, with two CPUs that also start the bridge's processes. */
const startTimeout = 60_000;
const stopTimeout = 20_000;

/** What ends a test run early. */
const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

export interface EjabberdOptions {
  /** Virtual hosts; each has a pool of its own. */
  hosts: string[];
  /** The `extauth_program` command line. */
  program: string;
  /** `extauth_pool_size`; that of the example when left out. */
  pool?: number;
  /** As Debian's unit does: its own ejabberdctl, by the user ejabberd. (Only root can.) */
  asService?: boolean;
  /** Top-level settings that replace those of the example; `modules` are added to the example's. */
  settings?: Record<string, unknown>;
}

export interface Ejabberd {
  /** The c2s listener on 127.0.0.1. */
  readonly port: number;
  readonly spool: string;
  /** Everything ejabberd has written so far: its log files and its output, which holds the workers' stderr too. */
  log(): string;
  /** The pids of the extauth processes that run now. */
  workers(): number[];
  /** Runs `ejabberdctl` against this instance and resolves with its output. */
  ctl(...args: string[]): Promise<string>;
  /** `ejabberdctl stop`; resolves when the Erlang VM has ended, and kills it when it does not. */
  stop(): Promise<void>;
  /** SIGKILL to the Erlang VM; resolves when it is gone. */
  kill(): Promise<void>;
}

/** Starts ejabberd and resolves when it accepts connections. */
export async function startEjabberd({
  hosts,
  program,
  pool,
  asService = false,
  settings = {},
}: EjabberdOptions): Promise<Ejabberd> {
  const folder = asService ? folderFor('ejabberd') : temporaryFolder();
  const [conf, logs, spool] = ['conf', 'logs', 'spool'].map((name) => {
    mkdirSync(join(folder, name));
    return join(folder, name);
  }) as [string, string, string];
  const console = join(folder, 'console.log');

  const example = load(readFileSync(join(root, 'examples/ejabberd.yml'), 'utf8')) as ExampleFile;
  const [distribution, ...ports] = await freePorts(1 + example.listen.length);
  const config: Record<string, unknown> = {
    ...example,
    hosts,
    extauth_program: program,
    ...(pool === undefined ? {} : { extauth_pool_size: pool }),
    listen: example.listen.map(({ starttls_required: _, ...listener }, index) => ({
      ...listener,
      ...(listener.module === 'ejabberd_c2s' && hasLimitBeforeLogin()
        ? { pre_auth_max_stanza_size: 65_536 }
        : {}),
      ip: '127.0.0.1',
      port: ports[index],
    })),
    acme: { auto: false },
    ...settings,
    modules: { ...example.modules, ...(settings.modules as object | undefined) },
  };
  // Without a certificate ejabberd offers no STARTTLS, so that the client stays on plain TCP.
  delete config.certfiles;
  writeFileSync(join(conf, 'ejabberd.yml'), dump(config, { lineWidth: -1 }));
  writeFileSync(join(conf, 'inetrc'), '{lookup,["file","native"]}.\n');
  writeFileSync(
    join(conf, 'ejabberdctl.cfg'),
    `EJABBERD_PID_PATH=${folder}/pid\n` +
      'ERL_OPTIONS="-env ERL_CRASH_DUMP_BYTES 0 -kernel inet_dist_use_interface {127,0,0,1}"\n',
  );
  const port = ports[example.listen.findIndex(({ module }) => module === 'ejabberd_c2s')] as number;

  const ejabberdctl = asService ? '/usr/sbin/ejabberdctl' : ejabberdctlForThisUser(folder);
  const [command, ...before] = [...(asService ? asUser('ejabberd', folder) : []), ejabberdctl] as [string];
  const args = ['--config-dir', conf, '--logs', logs, '--spool', spool, '--node', 'extauth@localhost'];
  // With a distribution port ejabberdctl leaves epmd out. The Erlang cookie goes to HOME. No more of our environment
  // than that: workers inherit it, and a proxy variable would change what they do.
  const env = { PATH: searchPath(), HOME: folder, LANG: 'C.UTF-8', ERL_DIST_PORT: String(distribution) };

  const output = openSync(console, 'a', 0o600);
  const child = spawn(command, [...before, ...args, 'foreground'], {
    cwd: spool,
    env,
    stdio: ['ignore', output, output],
  });
  closeSync(output);
  let ended = false;
  const exited = new Promise<void>((resolve) => {
    const end = () => {
      ended = true;
      leave();
      for (const signal of signals) process.removeListener(signal, endNow);
      resolve();
    };
    child.once('exit', end);
    child.once('error', end);
  });
  /** The last resort: nothing may outlive the test process. */
  const killNow = () => {
    for (const pid of virtualMachines(child)) killQuietly(pid);
  };
  const endNow = (signal: NodeJS.Signals) => {
    killNow();
    process.kill(process.pid, signal);
  };
  const leave = atExit(killNow);
  for (const signal of signals) process.once(signal, endNow);

  const log = () =>
    [...readdirSync(logs).map((name) => join(logs, name)), console]
      .map((file) => readFileSync(file, 'utf8'))
      .join('\n');

  const ctl = (...words: string[]) =>
    new Promise<string>((resolve, reject) => {
      execFile(
        command,
        [...before, ...args, ...words],
        { env, timeout: stopTimeout },
        (error, stdout, stderr) => {
          if (error === null) resolve(stdout);
          else reject(new Error(`ejabberdctl ${words[0]} failed: ${stdout}${stderr}`, { cause: error }));
        },
      );
    });

  async function kill(): Promise<void> {
    killNow();
    await exited;
  }

  async function stop(): Promise<void> {
    if (ended) return;
    try {
      await ctl('stop');
      if (!(await within(stopTimeout, () => ended))) throw new Error(`ejabberd did not stop; log:\n${log()}`);
    } finally {
      if (!ended) await kill();
    }
  }

  const workers = () =>
    virtualMachines(child)
      .flatMap((vm) => children(vm))
      .filter((pid) => processName(pid) === 'erl_child_setup')
      .flatMap((pid) => children(pid))
      // Erlang's own helpers (name lookup, image conversion) are its children too.
      .filter((pid) => !/^(?:\/usr\/lib\/erlang\/|inet_gethost )/.test(commandLine(pid)));

  // ejabberd listens a moment before it has started the last worker.
  const wanted = hosts.length * Number(config.extauth_pool_size);
  const ready = async () => workers().length === wanted && (await accepts(port));
  const started = await within(startTimeout, async () => ended || (await ready()));
  if (!started || ended) {
    await kill();
    throw new Error(`ejabberd did not start; log:\n${log()}`);
  }

  return { port, spool, log, workers, ctl, stop, kill };
}

/** As examples/ejabberd.yml says: a newer one has it, and an older one does not start with it. */
function hasLimitBeforeLogin(): boolean {
  const [, version] = execFileSync('dpkg-query', ['-W', 'ejabberd'], { encoding: 'utf8' }).split('\t');
  return Number.parseInt(version ?? '', 10) >= 26;
}

/** The part of examples/ejabberd.yml that is taken apart here. */
interface ExampleFile extends Record<string, unknown> {
  listen: ({ module: string; starttls_required?: boolean } & Record<string, unknown>)[];
  modules: Record<string, unknown>;
}

/** Resolves with true as soon as `condition` holds, with false when it does not within `ms` milliseconds. */
export async function within(ms: number, condition: () => boolean | Promise<boolean>): Promise<boolean> {
  const until = Date.now() + ms;
  while (!(await condition())) {
    if (Date.now() > until) return false;
    await sleep(50);
  }
  return true;
}

/** True while the process exists and is not a zombie. */
export function alive(pid: number): boolean {
  const stat = procFile(pid, 'stat');
  return stat !== '' && statFields(stat).state !== 'Z';
}

/** The arguments of a process, separated by spaces. */
export function commandLine(pid: number): string {
  return procFile(pid, 'cmdline').replaceAll('\0', ' ');
}

/** The package's ejabberdctl insists on changing to the user `ejabberd`; a copy runs as whoever runs the tests. */
function ejabberdctlForThisUser(folder: string): string {
  const installed = searchPath()
    .split(delimiter)
    .map((place) => join(place, 'ejabberdctl'))
    .find(existsSync);
  if (installed === undefined)
    throw new Error('ejabberdctl not found: these tests need the package "ejabberd"');
  const script = readFileSync(installed, 'utf8');
  const copy = script.replace(/^INSTALLUSER=.*$/m, 'INSTALLUSER=');
  if (copy === script)
    throw new Error(`${installed} has no line INSTALLUSER=, the tests cannot run it as this user`);
  const file = join(folder, 'ejabberdctl');
  writeFileSync(file, copy);
  chmodSync(file, 0o700);
  return file;
}

/** A folder that another user owns, which those above it let through; it goes when this process does. */
function folderFor(user: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'extauth-oauth-'));
  atExit(() => rmSync(folder, { recursive: true, force: true }));
  execFileSync('chown', [`${user}:`, folder]);
  return folder;
}

/** What is in `folder` by now is the user's, too. */
function asUser(user: string, folder: string): string[] {
  execFileSync('chown', ['-R', `${user}:`, folder]);
  return ['setpriv', '--reuid', user, '--regid', user, '--init-groups'];
}

function searchPath(): string {
  return [process.env.PATH, '/usr/local/sbin', '/usr/sbin', '/sbin'].filter(Boolean).join(delimiter);
}

/** ejabberdctl waits for the VM as its child. */
function virtualMachines({ pid }: ChildProcess): number[] {
  // An older ejabberdctl becomes it.
  return pid === undefined
    ? []
    : [pid, ...children(pid)].filter((each) => processName(each).startsWith('beam'));
}

function children(parent: number): number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => pid > 0)
    .filter((pid) => {
      const stat = procFile(pid, 'stat');
      return stat !== '' && statFields(stat).parent === parent && statFields(stat).state !== 'Z';
    });
}

function processName(pid: number): string {
  return procFile(pid, 'comm').trim();
}

/** proc(5): `pid (comm) state ppid ...`; comm may hold spaces and parentheses. */
function statFields(stat: string): { state: string; parent: number } {
  const [state = '', parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return { state, parent: Number(parent) };
}

/** A file below /proc/PID; empty when the process has just ended. */
function procFile(pid: number, name: string): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'utf8');
  } catch {
    return '';
  }
}

function killQuietly(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended by itself.
  }
}

/** True when a TCP port of the loopback interface accepts a connection. */
export function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

/** Ports that were free a moment ago; all held at once so that they differ. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from(
      { length: count },
      () =>
        new Promise<Server>((resolve, reject) => {
          const server = createServer();
          server.once('error', reject);
          server.listen(0, '127.0.0.1', () => resolve(server));
        }),
    ),
  );
  const ports = servers.map((server) => (server.address() as { port: number }).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}
