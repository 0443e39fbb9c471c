// Another process that has the same LMDB state open, as a State: it answers requests, one JSON a line each.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { LmdbOptions } from '../../src/state/lmdb.ts';
import type { State } from '../../src/state/state.ts';
import { bundled } from './bundle.ts';

type Operation = 'get' | 'set' | 'putIfAbsent' | 'increment' | 'delete' | 'list' | 'ping' | 'close';
interface Request {
  readonly id: number;
  readonly operation: Operation;
  readonly values: unknown[];
}
interface Answer {
  readonly id: number;
  readonly value?: unknown;
  readonly error?: string;
}

export interface Peer extends State {
  readonly child: ChildProcess;
  /** Any operation, with what JSON can carry. */
  ask(operation: string, ...values: unknown[]): Promise<unknown>;
  kill(signal?: NodeJS.Signals): Promise<void>;
}

interface PeerOptions extends Pick<LmdbOptions, 'folder' | 'sweepEvery' | 'maxEntries' | 'writeWithin'> {
  /** What starts it, where it is not Node itself: `sh -c` with `exec "$@"` for limits. */
  readonly prefix?: readonly string[];
  readonly uid?: number;
}

/** Rejects with what the child says where it cannot open. */
export async function startPeer({ prefix = [], uid, ...options }: PeerOptions): Promise<Peer> {
  const command = [...prefix, process.execPath, await bundled(import.meta.url)];
  const child = spawn(command[0] as string, [...command.slice(1), JSON.stringify(options)], {
    stdio: ['pipe', 'pipe', process.env.PEER_ERRORS === undefined ? 'ignore' : 'inherit'],
    ...(uid === undefined ? {} : { uid, gid: uid }),
  });
  const waiting = new Map<number, (answer: Answer) => void>();
  let serial = 0;
  child.on('close', (code, signal) => {
    for (const [id, answer] of waiting) answer({ id, error: `the peer has ended: ${code ?? signal}` });
  });
  child.stdin?.on('error', () => {});
  createInterface({ input: child.stdout as NodeJS.ReadableStream }).on('line', (line) => {
    const answer = JSON.parse(line) as Answer;
    waiting.get(answer.id)?.(answer);
    waiting.delete(answer.id);
  });
  function receive(id: number): Promise<unknown> {
    return new Promise((resolve, reject) => {
      waiting.set(id, ({ value, error }) =>
        error === undefined ? resolve(value) : reject(new Error(error)),
      );
    });
  }
  async function ask(operation: string, ...values: unknown[]): Promise<unknown> {
    const id = ++serial;
    const answer = receive(id);
    child.stdin?.write(
      `${JSON.stringify({ id, operation, values: values.map((each) => (each === Number.POSITIVE_INFINITY ? 'Infinity' : each)) })}\n`,
    );
    return answer;
  }
  const key = Buffer.from((await receive(0)) as string, 'hex');
  return {
    child,
    key,
    ask,
    get: (name) => ask('get', name) as Promise<string | undefined>,
    set: (...values) => ask('set', ...values) as Promise<void>,
    putIfAbsent: (...values) => ask('putIfAbsent', ...values) as Promise<string | undefined>,
    increment: (...values) => ask('increment', ...values) as Promise<number>,
    delete: (name) => ask('delete', name) as Promise<void>,
    list: async (prefix) => new Map((await ask('list', prefix)) as [string, string][]),
    ping: () => ask('ping') as Promise<void>,
    async close() {
      await ask('close');
      child.stdin?.end();
      await once(child, 'exit');
    },
    async kill(signal = 'SIGKILL') {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const ended = once(child, 'exit');
      child.kill(signal);
      await ended;
    },
  };
}

function send(answer: Answer): void {
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { openLmdbState } = await import('../../src/state/lmdb.ts');
  try {
    // A file that may not grow is an error of the write, not the end of the process.
    process.on('SIGXFSZ', () => {});
    const state = await openLmdbState(JSON.parse(process.argv[2] as string) as LmdbOptions);
    send({ id: 0, value: state.key.toString('hex') });
    const lines = createInterface({ input: process.stdin });
    lines.on('line', async (line) => {
      const { id, operation, values } = JSON.parse(line) as Request;
      const given = values.map((each) => (each === 'Infinity' ? Number.POSITIVE_INFINITY : each));
      try {
        const value = await (state[operation] as (...all: unknown[]) => unknown)(...given);
        send({ id, value: value instanceof Map ? [...value] : value });
      } catch (error) {
        send({ id, error: (error as Error).message });
      }
    });
    lines.on('close', () => process.exit());
  } catch (error) {
    send({ id: 0, error: (error as Error).message });
  }
}
