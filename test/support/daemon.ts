// Starts `extauth-oauth serve` as a child process, by itself or, as systemd does it with a .socket unit, on sockets that
// outlive it.
import { type ChildProcess, spawn } from 'node:child_process';
import { connect } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Exit, program, root, temporaryFolder, writeConfig } from './bridge.ts';

const startTimeout = 10_000;
/** Longer than any deadline of these tests: SIGTERM lets logins end. */
const stopTimeout = 15_000;

export interface DaemonConfig extends Record<string, unknown> {
  listen: readonly ({ path: string } & Record<string, unknown>)[];
}

export interface DaemonOptions {
  config: DaemonConfig;
  /** After `serve`. */
  args?: readonly string[];
  env?: Record<string, string>;
}

export interface Daemon {
  readonly child: ChildProcess;
  readonly pid: number;
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
  /** SIGKILL to the process that serves; resolves when there is another one. */
  kill(): Promise<void>;
  stop(): Promise<Exit>;
}

/** Resolves when every socket of the configuration accepts a connection. */
export async function startDaemon({ config, args = [], env = {} }: DaemonOptions): Promise<Daemon> {
  const child = spawn(process.execPath, [program, 'serve', ...args], {
    stdio: ['ignore', 'ignore', 'pipe'],
    cwd: temporaryFolder(),
    env: environment(config, env),
  });
  const { log, exited } = watch(child);

  async function end(signal: NodeJS.Signals): Promise<Exit> {
    child.kill(signal);
    const timer = setTimeout(() => child.kill('SIGKILL'), stopTimeout);
    const exit = await exited;
    clearTimeout(timer);
    return exit;
  }

  const daemon = {
    child,
    pid: child.pid ?? 0,
    exited,
    log,
    logLines: () => linesOf(log()),
    stop: () => end('SIGTERM'),
    kill: () => end('SIGKILL'),
  };
  try {
    await untilAccepting(config, () => child.exitCode ?? child.signalCode);
    return daemon;
  } catch (cause) {
    await daemon.kill();
    throw new Error(`the daemon did not start; log:\n${log()}`, { cause });
  }
}

/**
 * The same on sockets that are bound first and stay when the daemon ends: whoever connects meanwhile waits for the next
 * one, which is started at once.
 */
export async function startHeldDaemon({ config, env = {} }: DaemonOptions): Promise<HeldDaemon> {
  const sockets = config.listen.flatMap(({ path, name }) => ['--socket', `${String(name)}=${path}`]);
  const child = spawn(
    'python3',
    [join(root, 'test/support/socket-unit.py'), ...sockets, process.execPath, program, 'serve'],
    { stdio: ['ignore', 'pipe', 'pipe'], cwd: temporaryFolder(), env: environment(config, env) },
  );
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

function environment(config: DaemonConfig, env: Record<string, string>): Record<string, string> {
  return {
    PATH: process.env.PATH ?? '',
    XDG_CONFIG_HOME: '/nonexistent',
    EXTAUTH_OAUTH_CONFIG: writeConfig(config),
    ...env,
  };
}

/** Nothing may outlive the test process. */
function watch(child: ChildProcess): { log(): string; exited: Promise<Exit> } {
  let text = '';
  child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  const endNow = (): void => void child.kill('SIGTERM');
  process.once('exit', endNow);
  const exited = new Promise<Exit>((resolve) => {
    child.on('close', (code, signal) => {
      process.removeListener('exit', endNow);
      resolve({ code, signal });
    });
  });
  return { log: () => text, exited };
}

async function untilAccepting(config: DaemonConfig, ended: () => unknown): Promise<void> {
  const until = Date.now() + startTimeout;
  for (const { path } of config.listen) {
    while (!(await accepts(path))) {
      if (ended() !== null) throw new Error('the daemon has ended');
      if (Date.now() > until) throw new Error(`nobody listens on ${path}`);
      await sleep(20);
    }
  }
}

function accepts(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
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
