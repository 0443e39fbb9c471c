// Prosody's side of the pseudo-terminal: lpty-driver.lua, one process for each reader, and what its answers mean.
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { prosodyProgram, root } from '../../support/bridge.ts';

/**
 * What the module makes of an answer. `lost` is one that it cannot read, `timeout` none at all within 5 s, `interrupted`
 * the same but earlier, because the bridge ended, stopped or continued; `dead` a program that it will never start again.
 */
export type Seen = 'accepted' | 'refused' | 'lost' | 'timeout' | 'interrupted' | 'dead';

export interface Reader {
  readonly pid: number;
  /** One query, without its newline, as `send_query()` makes it. Starts the bridge when it does not run. */
  query(line: string): Promise<Seen>;
  /** Starts the bridge and sends the first query without reading anything. */
  start(line: string): Promise<void>;
  /** Only sends, bytes as they are. */
  send(text: string): Promise<void>;
  /** Only reads, for at most so many seconds. */
  read(seconds: number): Promise<Seen>;
  /** `running`, or `exit 0`, `sig 9`... of a program that has ended, or `none`. */
  status(): Promise<string>;
  /** The same, once it has ended by itself; rejects after 2 s. */
  ended(): Promise<string>;
  /** Ends the bridge as the unloading of the module does: SIGTERM. */
  end(): Promise<void>;
  /** The process that the query started: the wrapper, then Node. */
  bridge(): number;
  /** Ends both processes, whatever they are doing. */
  stop(): Promise<void>;
}

export interface ReaderOptions {
  program?: string;
  env?: Record<string, string>;
  /** Seconds; Prosody's default is 5. */
  timeout?: number;
  /** Descriptors from 3 on that the reader, and so the bridge, inherits. */
  inherited?: (number | 'ignore')[];
}

/** The path of a Lua that has lpty. Throws, loudly, when that is not installed. */
export function requireLpty(): string {
  try {
    execFileSync('lua5.1', ['-e', 'require "lpty"'], { stdio: 'pipe' });
    return execFileSync('/bin/sh', ['-c', 'command -v lua5.1'], { encoding: 'utf8' }).trim();
  } catch (cause) {
    throw new Error('these tests need lua5.1 with lpty: apt-get install lua5.1 lua-lpty', { cause });
  }
}

export function startReader({ program, env = {}, timeout = 5, inherited = [] }: ReaderOptions = {}): Reader {
  const child = spawn(
    requireLpty(),
    [join(root, 'test/e2e/support/lpty-driver.lua'), program ?? prosodyProgram],
    {
      stdio: ['pipe', 'pipe', 'inherit', ...inherited],
      env: {
        PATH: [join(process.execPath, '..'), process.env.PATH].join(delimiter),
        XDG_CONFIG_HOME: '/nonexistent',
        EXTERNAL_AUTH_TIMEOUT: String(timeout),
        ...env,
      },
    },
  );
  const { stdin, stdout } = child as ChildProcess & { stdin: Writable; stdout: Readable };
  stdin.on('error', () => {});
  const pid = child.pid ?? 0;
  const exited = once(child, 'exit');
  const bridges = new Set<number>();
  const waiting: ((reply: string) => void)[] = [];
  createInterface({ input: stdout }).on('line', (line) => waiting.shift()?.(line));
  void exited.then(() => {
    for (const resolve of waiting.splice(0)) resolve('gone');
  });

  function command(...words: string[]): Promise<string> {
    const reply = new Promise<string>((resolve) => waiting.push(resolve));
    stdin.write(`${words.join(' ')}\n`);
    return reply;
  }

  function children(): void {
    for (const each of childrenOf(pid)) bridges.add(each);
  }

  /** lpty leaves open why it returns nothing: the time tells. */
  async function reading(seconds: number, ...words: string[]): Promise<Seen> {
    const start = performance.now();
    const reply = await command(...words);
    if (reply !== 'nothing') return seen(reply);
    return performance.now() - start < seconds * 1000 - 100 ? 'interrupted' : 'timeout';
  }

  const status = async (): Promise<string> => (await command('status')).replace(/^ended /, '');

  return {
    pid,
    async query(line) {
      const answer = await reading(timeout, 'query', hex(line));
      children();
      return answer;
    },
    async start(line) {
      assert.equal(await command('start', hex(line)), 'sent');
      children();
    },
    send: async (text) => void (await command('send', hex(text))),
    read: (seconds) => reading(seconds, 'read', String(seconds)),
    status,
    async ended() {
      for (const start = performance.now(); performance.now() - start < 2000; await sleep(10)) {
        const how = await status();
        if (how !== 'running') return how;
      }
      throw new Error('the bridge still runs');
    },
    end: async () => void (await command('end')),
    bridge() {
      const [only, ...others] = childrenOf(pid);
      if (only === undefined || others.length > 0) throw new Error('the reader should have one child');
      return only;
    },
    async stop() {
      children();
      child.kill('SIGKILL');
      await exited;
      for (const bridge of bridges) await endProcess(bridge);
    },
  };
}

function seen(reply: string): Seen {
  const [kind, answer = ''] = reply.split(' ');
  if (kind === 'dead') return kind;
  if (kind !== 'answer') throw new Error(`the reader says: ${reply}`);
  const text = Buffer.from(answer, 'hex')
    .toString('latin1')
    .replace(/\r?\n$/, '');
  return text === '1' ? 'accepted' : text === '0' ? 'refused' : 'lost';
}

function hex(text: string): string {
  return Buffer.from(text).toString('hex');
}

function childrenOf(pid: number): number[] {
  try {
    const list = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8');
    return list.split(' ').filter(Boolean).map(Number);
  } catch {
    return [];
  }
}

/** A zombie has ended, too: its new parent may never ask. */
export function isRunning(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

/** Milliseconds until the process has ended by itself; rejects after `within`. */
export async function untilEnded(pid: number, within: number): Promise<number> {
  const start = performance.now();
  while (isRunning(pid)) {
    if (performance.now() - start > within) throw new Error(`process ${pid} still runs after ${within} ms`);
    await sleep(10);
  }
  return performance.now() - start;
}

async function endProcess(pid: number): Promise<void> {
  if (!isRunning(pid) || !readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('extauth-oauth')) return;
  process.kill(pid, 'SIGKILL');
  await untilEnded(pid, 2000);
}
