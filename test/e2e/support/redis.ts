// Starts the installed Redis on loopback, each server with a port and a folder of its own. Nothing is kept on disk, and
// nothing of a system-wide instance is touched.
import { execFile, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { temporaryFolder } from '../../support/bridge.ts';
import { freePorts, within } from './ejabberd.ts';

const run = promisify(execFile);
const startTimeout = 10_000;
const stopTimeout = 3000;

export interface RedisOptions {
  /** Lines of redis.conf. */
  settings?: readonly string[];
  /** 0 for none beside that of TLS. */
  port?: number;
  /** For `redis-cli`: how to log in. */
  login?: readonly string[];
  isSentinel?: boolean;
}

export interface RedisServer {
  readonly port: number;
  /** What `redis-cli` answers. */
  cli(...command: string[]): Promise<string>;
  log(): string;
  /** To the process as it is now. */
  signal(name: NodeJS.Signals): void;
  /** SIGKILL. */
  kill(): Promise<void>;
  /** Once more, after `kill`, on the same port. */
  start(): Promise<void>;
  stop(): Promise<void>;
}

/** Resolves when it answers. */
export async function startRedis({
  settings = [],
  port,
  login = [],
  isSentinel = false,
}: RedisOptions = {}): Promise<RedisServer> {
  const folder = temporaryFolder();
  const file = join(folder, 'redis.conf');
  const logFile = join(folder, 'log');
  const listening = port ?? (await freePorts(1))[0] ?? 0;
  const lines = [
    'bind 127.0.0.1',
    `dir ${folder}`,
    `port ${listening}`,
    ...(isSentinel ? [] : ['save ""', 'appendonly no']),
    ...settings,
  ];
  writeFileSync(file, `${lines.join('\n')}\n`);
  let pid = 0;
  let ended: Promise<unknown> = Promise.resolve();

  async function cli(...command: string[]): Promise<string> {
    const { stdout } = await run(
      'redis-cli',
      ['-p', String(listening), ...login, '--no-auth-warning', ...command],
      {
        timeout: 5000,
      },
    );
    return stdout.trim();
  }

  function signal(name: NodeJS.Signals): void {
    if (pid > 0) process.kill(pid, name);
  }
  const onExit = () => signal('SIGKILL');

  async function start(): Promise<void> {
    const output = openSync(logFile, 'a', 0o600);
    const child = spawn('redis-server', [file, ...(isSentinel ? ['--sentinel'] : [])], {
      cwd: folder,
      stdio: ['ignore', output, output],
    });
    closeSync(output);
    pid = child.pid ?? 0;
    ended = new Promise((resolve) => {
      child.once('error', resolve);
      child.once('exit', () => {
        pid = 0;
        resolve(undefined);
      });
    });
    process.on('exit', onExit);
    const answers = () =>
      cli('ping').then(
        (answer) => answer === 'PONG' || answer.startsWith('NOAUTH'),
        () => false,
      );
    const ready = listening === 0 || (await within(startTimeout, answers));
    if (!ready || pid === 0) throw new Error(`Redis did not start; log:\n${readFileSync(logFile, 'utf8')}`);
  }

  async function end(name: NodeJS.Signals): Promise<void> {
    const timer = setTimeout(() => signal('SIGKILL'), stopTimeout);
    signal('SIGCONT');
    signal(name);
    await ended;
    clearTimeout(timer);
    process.off('exit', onExit);
  }

  await start();
  return {
    port: listening,
    cli,
    log: () => readFileSync(logFile, 'utf8'),
    signal,
    kill: () => end('SIGKILL'),
    start,
    stop: () => end('SIGTERM'),
  };
}
