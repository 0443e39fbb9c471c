// Workers as an XMPP server has them, many at a time: each asks its next request when it has the answer to the last one,
// of the daemon over a connection of its own, or of a bridge of its own.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { atExit } from '../support/at-exit.ts';
import { cleanEnvironment, ended, type Memory, memoryOf, ownCpu, type Subject } from './program.ts';
import { quantile } from './table.ts';

export interface Worker {
  /** One request at a time. Every one must be answered with yes. */
  ask(request: Buffer, done: () => void): void;
}

export interface Load {
  /** The first worker asks the first one again and again, and so on, round and round. */
  readonly requests: readonly Buffer[];
  /** Of all workers together. */
  readonly count: number;
  /** Milliseconds over which the workers begin, one after the other; without it they begin together. */
  readonly spread?: number;
}

export interface Loop {
  /** Requests a second, without our own time. */
  readonly rate: number;
  /** Of workers that ask all the time, by how long a request takes: what there is where the provider is waited for. */
  readonly flow: number;
  /** Microseconds. */
  readonly median: number;
  readonly tail: number;
}

/** Resolves when all requests have been answered. */
export function closedLoop(workers: readonly Worker[], { requests, count, spread = 0 }: Load): Promise<Loop> {
  const times = new Float64Array(count);
  let asked = 0;
  let answered = 0;
  const driver = ownCpu();
  const begin = performance.now();
  return new Promise((resolve) => {
    function next(worker: Worker, request: Buffer): void {
      if (asked === count) return;
      asked++;
      const askedAt = performance.now();
      worker.ask(request, () => {
        const now = performance.now();
        times[answered++] = now - askedAt;
        if (answered < count) return next(worker, request);
        const microseconds = (now - begin) * 1000;
        const mean = times.reduce((sum, time) => sum + time, 0) / count;
        resolve({
          rate: (1e6 * count) / (microseconds - (ownCpu() - driver)),
          flow: (1000 * workers.length) / mean,
          median: quantile(times, 0.5) * 1000,
          tail: quantile(times, 0.99) * 1000,
        });
      });
    }
    for (const [n, worker] of workers.entries()) {
      const request = requests[n % requests.length] as Buffer;
      if (spread === 0) next(worker, request);
      else setTimeout(next, (spread * n) / workers.length, worker, request);
    }
  });
}

const YES = Buffer.from([0, 2, 0, 1]);

function framesOver(input: Socket, output: Socket): Worker {
  let onAnswer = (): void => {};
  output.on('data', (chunk: Buffer) => {
    if (!chunk.equals(YES)) throw new Error(`a request was answered ${chunk.toString('hex')}`);
    onAnswer();
  });
  return {
    ask(request, done) {
      onAnswer = done;
      input.write(request);
    },
  };
}

/** A process that is a worker: a bridge, or `socat` in its place. */
export interface Process extends Worker {
  memory(): Memory;
  stop(): Promise<void>;
}

export function startBridge({ script, args, env }: Subject): Process {
  return startProcess(process.execPath, [script, ...args], env);
}

export function startSocat(path: string): Process {
  return startProcess('socat', ['STDIO', `UNIX-CONNECT:${path}`], {});
}

function startProcess(command: string, args: readonly string[], env: Subject['env']): Process {
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'ignore'], env: cleanEnvironment(env) });
  return {
    ...framesOver(child.stdin as Socket, child.stdout as Socket),
    memory: () => memoryOf(child),
    async stop() {
      child.stdin.end();
      await ended(child);
    },
  };
}

export interface Connected extends Worker {
  close(): void;
}

export interface DovecotConnection {
  /** The request of the worker number n has the id n. */
  readonly workers: readonly Worker[];
  close(): void;
}

export interface Daemon {
  /** A connection to its socket for extauth. */
  connect(): Promise<Connected>;
  /** One to its socket at `path` for the Dovecot protocol, over which so many ask at a time, each with a number of its own. */
  connectDovecot(path: string, workers: number): Promise<DovecotConnection>;
  memory(): Memory;
  stop(): Promise<void>;
}

const START_WITHIN = 5000;

/** Starts `serve` with the configuration of `subject`, which listens for extauth at `path`. */
export async function startDaemon({ script, env }: Subject, path: string): Promise<Daemon> {
  const child = spawn(process.execPath, [script, 'serve'], {
    stdio: 'ignore',
    env: cleanEnvironment(env),
  });
  // Nothing tells it that we have gone.
  const leave = atExit(() => void child.kill());
  (await connected(path, child)).destroy();
  return {
    async connect() {
      const socket = await connected(path, child);
      return { ...framesOver(socket, socket), close: () => void socket.destroy() };
    },
    connectDovecot: async (path, workers) => dovecotOver(await connected(path, child), workers),
    memory: () => memoryOf(child),
    async stop() {
      child.kill('SIGTERM');
      await ended(child);
      leave();
    },
  };
}

async function connected(path: string, daemon: ChildProcess): Promise<Socket> {
  for (const until = performance.now() + START_WITHIN; ; await sleep(10)) {
    const socket = connect(path);
    try {
      await once(socket, 'connect');
      return socket;
    } catch (error) {
      if (daemon.exitCode !== null || performance.now() > until) throw error;
    }
  }
}

async function dovecotOver(socket: Socket, workers: number): Promise<DovecotConnection> {
  socket.setEncoding('latin1');
  const onAnswer: (() => void)[] = [];
  let rest = '';
  await new Promise<void>((greeted) => {
    socket.on('data', (chunk: string) => {
      const lines = (rest + chunk).split('\n');
      rest = lines.pop() ?? '';
      // What a client has to say to several answers that came together leaves together.
      socket.cork();
      for (const line of lines) {
        const [word, id] = line.split('\t', 2);
        if (word === 'OK') onAnswer[Number(id)]?.();
        else if (word === 'DONE') greeted();
        else if (word === 'FAIL' || word === 'CONT') throw new Error(`a login was answered ${line}`);
      }
      socket.uncork();
    });
  });
  socket.write(`VERSION\t1\t2\nCPID\t${process.pid}\n`);
  return {
    workers: Array.from({ length: workers }, (_, id) => ({
      ask(request, done) {
        onAnswer[id] = done;
        socket.write(request);
      },
    })),
    close: () => void socket.destroy(),
  };
}

/** A whole login in one line. */
export function saslLine(id: number, mechanism: 'PLAIN' | 'OAUTHBEARER', message: string): Buffer {
  const response = Buffer.from(message).toString('base64');
  return Buffer.from(`AUTH\t${id}\t${mechanism}\tservice=xmpp\tresp=${response}\n`);
}
