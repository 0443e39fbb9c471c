// Starts the installed Redis on loopback, each server with a port and a folder of its own. Nothing is kept on disk, and
// nothing of a system-wide instance is touched.
import { execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { parseStateAddress } from '../../../src/state/address.ts';
import { openRedisState, type RedisStateOptions } from '../../../src/state/redis.ts';
import type { State } from '../../../src/state/state.ts';
import { Secret } from '../../../src/verdict.ts';
import { atExit } from '../../support/at-exit.ts';
import { temporaryFolder } from '../../support/bridge.ts';
import { freePorts, within } from './ejabberd.ts';

/** The password of every server, or the beginning of it. May be in no message. */
export const canary = 'Canary-4711';

const run = promisify(execFile);
const key = randomBytes(32);
/** Sentinel's for a master that does not answer: short, so that a test need not wait. */
const downAfter = 1000;
const startTimeout = 10_000;
const stopTimeout = 3000;

export interface RedisOptions {
  /** Lines of redis.conf. */
  settings?: readonly string[];
  port?: number;
  /** For `redis-cli`: the port is one for TLS. */
  tls?: readonly string[];
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
  tls = [],
  isSentinel = false,
}: RedisOptions = {}): Promise<RedisServer> {
  const folder = temporaryFolder();
  const file = join(folder, 'redis.conf');
  const logFile = join(folder, 'log');
  const listening = port ?? (await freePorts(1))[0] ?? 0;
  const lines = [
    'bind 127.0.0.1',
    `dir ${folder}`,
    ...(tls.length > 0 ? ['port 0', `tls-port ${listening}`] : [`port ${listening}`]),
    ...(isSentinel ? [] : ['save ""', 'appendonly no']),
    ...settings,
  ];
  writeFileSync(file, `${lines.join('\n')}\n`);
  let pid = 0;
  let ended: Promise<unknown> = Promise.resolve();

  async function cli(...command: string[]): Promise<string> {
    const { stdout } = await run(
      'redis-cli',
      ['-p', String(listening), ...tls, ...login, '--no-auth-warning', ...command],
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
  let leave = () => {};

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
    leave = atExit(onExit);
    const answers = () =>
      cli('ping').then(
        (answer) => answer === 'PONG' || answer.startsWith('NOAUTH'),
        () => false,
      );
    const ready = await within(startTimeout, answers);
    if (!ready || pid === 0) throw new Error(`Redis did not start; log:\n${readFileSync(logFile, 'utf8')}`);
  }

  async function end(name: NodeJS.Signals): Promise<void> {
    const timer = setTimeout(() => signal('SIGKILL'), stopTimeout);
    signal('SIGCONT');
    signal(name);
    await ended;
    clearTimeout(timer);
    leave();
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

/** All that are opened so have the same key. */
export async function openRedis(text: string, more: Partial<RedisStateOptions> = {}): Promise<State> {
  const address = parseStateAddress(text);
  if (!('store' in address) || address.store !== 'redis') throw new Error(JSON.stringify(address));
  return openRedisState({ address, key, ...more });
}

export interface Sentinels {
  readonly master: RedisServer;
  readonly replica: RedisServer;
  readonly sentinels: readonly RedisServer[];
  /** `path` is `/` and a database. */
  open(path?: string): Promise<State>;
  stop(): Promise<void>;
}

/** A master, its replica, and three Sentinels with a password of their own. Resolves when they all know each other. */
export async function startSentinels(): Promise<Sentinels> {
  const login = ['-a', canary];
  const settings = [`requirepass ${canary}`, `masterauth ${canary}`, 'repl-diskless-sync-delay 0'];
  const master = await startRedis({ settings, login });
  const replica = await startRedis({
    settings: [...settings, `replicaof 127.0.0.1 ${master.port}`],
    login,
  });
  const sentinelPassword = `${canary}-sentinel`;
  const sentinels: RedisServer[] = [];
  for (let n = 0; n < 3; n++)
    sentinels.push(
      await startRedis({
        isSentinel: true,
        login: ['-a', sentinelPassword],
        settings: [
          `requirepass ${sentinelPassword}`,
          `sentinel sentinel-pass ${sentinelPassword}`,
          `sentinel monitor mymaster 127.0.0.1 ${master.port} 2`,
          `sentinel auth-pass mymaster ${canary}`,
          `sentinel down-after-milliseconds mymaster ${downAfter}`,
          'sentinel failover-timeout mymaster 5000',
        ],
      }),
    );
  const acquainted = await within(startTimeout * 2, async () => {
    if (!(await replica.cli('info', 'replication')).includes('master_link_status:up')) return false;
    const facts = await Promise.all(sentinels.map((each) => each.cli('sentinel', 'master', 'mymaster')));
    return facts.every((text) => /num-slaves\n1\n/.test(text) && /num-other-sentinels\n2\n/.test(text));
  });
  if (!acquainted) throw new Error('the Sentinels do not know each other');
  const hosts = sentinels.map(({ port }) => `127.0.0.1:${port}`).join(',');
  return {
    master,
    replica,
    sentinels,
    open: (path = '') =>
      openRedis(`redis://:${canary}@${hosts}${path}?sentinel=mymaster&sentinel_password_file=/s`, {
        sentinelPassword: new Secret(sentinelPassword),
      }),
    async stop() {
      await Promise.all([...sentinels, replica, master].map((each) => each.stop()));
    },
  };
}

export interface Cluster {
  readonly nodes: readonly RedisServer[];
  open(): Promise<State>;
  stop(): Promise<void>;
}

/** Three masters; whoever opens it knows one of them. */
export async function startCluster(): Promise<Cluster> {
  const nodes: RedisServer[] = [];
  const ports = (await freePorts(6)).sort((a, b) => a - b);
  for (let n = 0; n < 3; n++)
    nodes.push(
      await startRedis({
        port: ports[n] as number,
        settings: ['cluster-enabled yes', 'cluster-node-timeout 2000', `cluster-port ${ports[n + 3]}`],
      }),
    );
  const [first] = nodes as [RedisServer];
  await first.cli('--cluster-yes', '--cluster', 'create', ...nodes.map(({ port }) => `127.0.0.1:${port}`));
  const ready = await within(startTimeout, async () => {
    const states = await Promise.all(nodes.map((node) => node.cli('cluster', 'info')));
    return states.every((text) => text.includes('cluster_state:ok'));
  });
  if (!ready) throw new Error('the cluster is not ready');
  return {
    nodes,
    open: () => openRedis(`redis://127.0.0.1:${first.port}?cluster=true`),
    async stop() {
      await Promise.all(nodes.map((each) => each.stop()));
    },
  };
}
