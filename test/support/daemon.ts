// Starts `extauth-oauth serve` as a child process, by itself or, as systemd does it with a .socket unit, on sockets that
// outlive it.
import { type ChildProcess, spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { atExit } from './at-exit.ts';
import { type Exit, program, root, temporaryFolder, writeConfig } from './bridge.ts';
import { connectTo } from './peer.ts';

const startTimeout = 10_000;
/** Longer than any deadline of these tests: SIGTERM lets logins end. */
const stopTimeout = 15_000;

/** A socket has a path, or an address of the loopback interface. */
export interface DaemonConfig extends Record<string, unknown> {
  listen: readonly Record<string, unknown>[];
  metrics?: Record<string, unknown>;
}

export interface DaemonOptions {
  config: DaemonConfig;
  /** After `serve`. */
  args?: readonly string[];
  env?: Record<string, string>;
  /** What starts the program, such as `setpriv` and its arguments. */
  through?: readonly string[];
}

export interface Daemon {
  readonly child: ChildProcess;
  readonly pid: number;
  /** The configuration file. */
  readonly file: string;
  /** Writes another configuration, sends SIGHUP, and resolves when that has been looked at. */
  reload(config: unknown): Promise<void>;
  /** All of stderr (the log) so far. */
  log(): string;
  /** The log as objects, one per line that parses. */
  logLines(): Record<string, unknown>[];
  /** Resolves when the process has ended. */
  readonly exited: Promise<Exit>;
  /** SIGTERM; SIGKILL when that takes too long. */
  stop(): Promise<Exit>;
  /** SIGKILL. */
  kill(): Promise<Exit>;
}

/** A daemon that is started again, on the same sockets, whenever it has ended. */
export interface HeldDaemon {
  log(): string;
  /** As that of a daemon by itself. */
  reload(config: unknown): Promise<void>;
  /** SIGKILL to the process that serves; resolves when there is another one. */
  kill(): Promise<void>;
  stop(): Promise<Exit>;
}

/** Resolves when every socket of the configuration accepts a connection. */
export async function startDaemon(options: DaemonOptions): Promise<Daemon> {
  const daemon = launchDaemon(options);
  try {
    await untilAccepting(options.config, () => daemon.child.exitCode ?? daemon.child.signalCode);
    return daemon;
  } catch (cause) {
    await daemon.kill();
    throw new Error(`the daemon did not start; log:\n${daemon.log()}`, { cause });
  }
}

/** Does not wait: for a daemon that cannot start. `config` may be text, or left out. */
export function launchDaemon({
  config,
  args = [],
  env = {},
  through = [],
}: Omit<DaemonOptions, 'config'> & { config?: unknown }): Daemon {
  const file = config === undefined ? '/nonexistent/config.json' : writeConfig(config);
  const [command = '', ...rest] = [...through, process.execPath, program, 'serve', ...args];
  const child = spawn(command, rest, {
    stdio: ['ignore', 'ignore', 'pipe'],
    cwd: temporaryFolder(),
    env: environment(file, env),
  });
  const { log, exited } = watch(child);

  async function end(signal: NodeJS.Signals): Promise<Exit> {
    child.kill(signal);
    const timer = setTimeout(() => child.kill('SIGKILL'), stopTimeout);
    const exit = await exited;
    clearTimeout(timer);
    return exit;
  }

  return {
    child,
    pid: child.pid ?? 0,
    file,
    exited,
    log,
    logLines: () => linesOf(log()),
    reload: (next) => reload(next, { file, pid: child.pid ?? 0, log }),
    stop: () => end('SIGTERM'),
    kill: () => end('SIGKILL'),
  };
}

async function reload(
  next: unknown,
  { file, pid, log }: { file: string; pid: number; log: () => string },
): Promise<void> {
  const asked = Date.now();
  writeFileSync(file, typeof next === 'string' ? next : JSON.stringify(next));
  process.kill(pid, 'SIGHUP');
  for (const until = Date.now() + startTimeout; ; await sleep(10)) {
    // The log is late: what it says now may be about the last configuration.
    const events = linesOf(log()).filter(({ time }) => Date.parse(String(time)) >= asked);
    // The last thing that is said about a configuration: sockets are open or not, or it is not used at all.
    if (events.some(({ event, level }) => event === 'listening' || level === 'error')) return;
    if (Date.now() > until) throw new Error(`nothing has been read again; log:\n${log()}`);
  }
}

/**
 * The same on sockets that are bound first and stay when the daemon ends: whoever connects meanwhile waits for the next
 * one, which is started at once. `places`: by name, where they are not what the configuration says.
 */
export async function startHeldDaemon({
  config,
  env = {},
  through = [],
  places = Object.fromEntries(config.listen.map((socket) => [String(socket.name), placeOf(socket)])),
}: DaemonOptions & { places?: Record<string, string> }): Promise<HeldDaemon> {
  const sockets = Object.entries(places).flatMap(([name, place]) => ['--socket', `${name}=${place}`]);
  const file = writeConfig(config);
  const unit = join(root, 'test/support/socket-unit.py');
  const [command = '', ...args] = [...through, 'python3', unit, ...sockets];
  const child = spawn(command, [...args, process.execPath, program, 'serve'], {
    stdio: ['ignore', 'pipe', 'pipe'],
    cwd: temporaryFolder(),
    env: environment(file, env),
  });
  const { log, exited } = watch(child);
  const pids: number[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => pids.push(Number(line)));

  async function started(count: number): Promise<void> {
    for (const until = Date.now() + startTimeout; pids.length < count; await sleep(20)) {
      if (child.exitCode !== null || Date.now() > until) throw new Error(`no daemon; log:\n${log()}`);
    }
  }

  await started(1);
  return {
    log,
    reload: (next) => reload(next, { file, pid: pids.at(-1) as number, log }),
    async kill() {
      const count = pids.length;
      process.kill(pids.at(-1) as number, 'SIGKILL');
      await started(count + 1);
    },
    async stop() {
      child.kill('SIGTERM');
      return await exited;
    },
  };
}

function environment(file: string, env: Record<string, string>): Record<string, string> {
  return {
    PATH: process.env.PATH ?? '',
    XDG_CONFIG_HOME: '/nonexistent',
    EXTAUTH_OAUTH_CONFIG: file,
    ...env,
  };
}

/** Nothing may outlive the test process. */
function watch(child: ChildProcess): { log(): string; exited: Promise<Exit> } {
  let text = '';
  child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  const leave = atExit(() => void child.kill('SIGTERM'));
  const exited = new Promise<Exit>((resolve) => {
    child.on('close', (code, signal) => {
      leave();
      resolve({ code, signal });
    });
  });
  return { log: () => text, exited };
}

async function untilAccepting({ listen, metrics }: DaemonConfig, ended: () => unknown): Promise<void> {
  const until = Date.now() + startTimeout;
  for (const socket of metrics === undefined ? listen : [...listen, metrics]) {
    while (!(await accepts(placeOf(socket)))) {
      if (ended() !== null) throw new Error('the daemon has ended');
      if (Date.now() > until) throw new Error(`nobody listens on ${placeOf(socket)}`);
      await sleep(20);
    }
  }
}

function placeOf({ path, address }: Record<string, unknown>): string {
  return String(path ?? address);
}

function accepts(place: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connectTo(place);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

function linesOf(text: string): Record<string, unknown>[] {
  return text
    .slice(0, text.lastIndexOf('\n') + 1)
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}
