// Starts a program under measurement and speaks frames to it with blocking reads and writes: pipes of the kernel, no
// event loop on our side, so that what is measured is the program.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  constants,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, '../..');
const folder = mkdtempSync(join(tmpdir(), 'extauth-oauth-bench-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));

/** What is measured: a script, its arguments, its environment. */
export interface Subject {
  readonly script: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

export const echo: Subject = { script: join(here, 'echo.mjs'), args: [], env: {} };

/** The smallest program for one duty; what it is told: the provider's origin, or the file of keys, and the like. */
export function proto(
  duty: 'password' | 'password-id-token' | 'userinfo' | 'introspection' | 'jwt',
  ...args: string[]
): Subject {
  return { script: join(here, `proto-${duty}.mjs`), args, env: {} };
}

export const wrapper = join(root, 'bin/extauth-oauth-prosody');

export const CLIENT = { client_id: 'bench', client_secret: 'c2VjcmV0LW9mLWJlbmNo' } as const;

/** The bridge with these options; it logs to a file, at the default level. */
export function configured(options: Readonly<Record<string, unknown>>): Subject {
  const file = temporaryPath('config.json');
  const config = { ...CLIENT, log: { destination: join(folder, 'bridge.log'), level: 'info' }, ...options };
  writeFileSync(file, JSON.stringify(config), { mode: 0o600 });
  return { script: join(root, 'bin/extauth-oauth.js'), args: [], env: { EXTAUTH_OAUTH_CONFIG: file } };
}

/** The bridge for the provider at `origin`, which is asked for every login unless `more` says otherwise: opaque tokens, UserInfo. */
export function bridge(origin: string, more: Readonly<Record<string, unknown>> = {}): Subject {
  return configured({
    token_endpoint: `${origin}/token`,
    validation_endpoint: `${origin}/userinfo`,
    validation: 'userinfo',
    resource_owner_password: true,
    // The base does without it, too.
    revoke_after_login: false,
    user_exists: true,
    deadline: '4s',
    credential: 'auto',
    token_prefix: 'token:',
    cache: { token_ttl: 0 },
    ...more,
  });
}

/** A fresh path in the folder that goes when this process does. */
export function temporaryPath(name: string): string {
  return join(mkdtempSync(join(folder, 't-')), name);
}

/** ejabberd's frame: 16 bit length, big endian, then the bytes of the request. */
export function frame(request: string): Buffer {
  const body = Buffer.from(request);
  const head = Buffer.alloc(2);
  head.writeUInt16BE(body.length);
  return Buffer.concat([head, body]);
}

/** What a program under measurement has in its environment: nothing of ours but where programs are. */
export function cleanEnvironment(env: Subject['env']): Record<string, string> {
  return { PATH: process.env.PATH ?? '', XDG_CONFIG_HOME: '/nonexistent', ...env };
}

export interface Memory {
  /** VmRSS, MiB. */
  readonly resident: number;
  /** RssAnon, MiB: without the pages of files, which are the page cache's. */
  readonly anonymous: number;
  /** VmHWM, MiB. */
  readonly peak: number;
  /** Pss, MiB: pages shared with other processes counted in part. */
  readonly proportional: number;
}

export interface Program {
  /** One request and its answer, 1 or 0, without leaving the processor to anybody but the program. */
  ask(request: Buffer): number;
  /** As many requests as `requests` has, in one write, and their answers. */
  askTogether(requests: Buffer, count: number): number[];
  /** The answer, or `undefined` when there is none within `limit` milliseconds. */
  askWithin(request: Buffer, limit: number): Promise<number | undefined>;
  /** Waits for the yes to the request that was there when the program started. Milliseconds since the start. */
  firstAnswer(): number;
  memory(): Memory;
  /** Processor time of all its threads so far, microseconds. */
  cpu(): number;
  /** End of input, and the end of the process. */
  stop(): Promise<void>;
}

const ANSWER = 4;

/** Starts `subject`; `first` is in the pipe before the process is. */
export function start({ script, args, env }: Subject, first?: Buffer): Program {
  const input = createPipe('in');
  const output = createPipe('out');
  if (first !== undefined) writeSync(input.write, first);
  const startedAt = performance.now();
  const child = spawn(process.execPath, [script, ...args], {
    stdio: [input.read, output.write, 'ignore'],
    env: cleanEnvironment(env),
  });
  closeSync(input.read);
  closeSync(output.write);
  const answer = Buffer.alloc(ANSWER);

  function fill(buffer: Buffer): void {
    for (let have = 0; have < buffer.length; ) {
      const count = readSync(output.read, buffer, have, buffer.length - have, null);
      if (count === 0) throw new Error(`${script} ended without an answer`);
      have += count;
    }
  }

  function read(buffer: Buffer, at = 0): number {
    if (buffer.readUInt16BE(at) !== 2) throw new Error(`${script} answered ${buffer.toString('hex', at)}`);
    return buffer.readUInt16BE(at + 2);
  }

  function receive(): number {
    fill(answer);
    return read(answer);
  }

  async function receiveWithin(limit: number): Promise<number | undefined> {
    for (const until = performance.now() + limit; performance.now() < until; await sleep(1)) {
      try {
        const count = readSync(output.poll, answer, 0, ANSWER, null);
        if (count !== ANSWER) throw new Error(`${script} ended without an answer`);
        return answer.readUInt16BE(2);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
      }
    }
    return undefined;
  }

  return {
    ask(request) {
      writeSync(input.write, request);
      return receive();
    },
    askTogether(requests, count) {
      const answers = Buffer.alloc(count * ANSWER);
      writeSync(input.write, requests);
      fill(answers);
      return Array.from({ length: count }, (_, n) => read(answers, n * ANSWER));
    },
    askWithin(request, limit) {
      writeSync(input.write, request);
      return receiveWithin(limit);
    },
    firstAnswer() {
      if (receive() !== 1) throw new Error(`${script} answered the first request with no`);
      return performance.now() - startedAt;
    },
    memory: () => memoryOf(child),
    cpu: () => cpuOf(child),
    async stop() {
      closeSync(input.write);
      await ended(child);
      closeSync(output.read);
      closeSync(output.poll);
    },
  };
}

/** How long a program may take to end. */
const END_WITHIN = 3000;

/** Resolves when the process has ended; kills it when that takes too long. */
export async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const timer = setTimeout(() => child.kill('SIGKILL'), END_WITHIN);
  await once(child, 'exit');
  clearTimeout(timer);
}

/** A pipe with each end an open file of its own: the program sets its end to non-blocking, and must not set ours. */
function createPipe(name: string): { read: number; write: number; poll: number } {
  const path = temporaryPath(name);
  execFileSync('mkfifo', [path]);
  // Opening one end waits for the other, unless both are there.
  const both = openSync(path, constants.O_RDWR);
  const ends = {
    read: openSync(path, constants.O_RDONLY),
    write: openSync(path, constants.O_WRONLY),
    poll: name === 'out' ? openSync(path, constants.O_RDONLY | constants.O_NONBLOCK) : -1,
  };
  closeSync(both);
  rmSync(path);
  return ends;
}

export function memoryOf({ pid }: ChildProcess): Memory {
  const status = readFileSync(`/proc/${pid}/status`, 'latin1');
  const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'latin1');
  const mebibytes = (text: string, name: string): number =>
    Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text)?.[1]) / 1024;
  return {
    resident: mebibytes(status, 'VmRSS'),
    anonymous: mebibytes(status, 'RssAnon'),
    peak: mebibytes(status, 'VmHWM'),
    proportional: mebibytes(rollup, 'Pss'),
  };
}

function cpuOf({ pid }: { readonly pid?: number | undefined }): number {
  let nanoseconds = 0;
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    nanoseconds += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'latin1').split(' ')[0]);
  }
  return nanoseconds / 1000;
}

/** The same of this process: what the driver itself takes. */
export const ownCpu = (): number => cpuOf(process);

export interface Stub {
  readonly origin: string;
  /** From now on it holds each answer for so many milliseconds. */
  hold(milliseconds: number): Promise<void>;
  /** How long, in the median, it has held an answer since this was asked last, milliseconds. */
  held(): Promise<number>;
  /** How many requests it has had so far, these questions not counted. */
  asked(): Promise<number>;
  /** Processor time so far, microseconds. */
  cpu(): number;
  stop(): Promise<void>;
}

/**
 * Starts a provider of its own; on our CPU when we are pinned to one. `fault`: how it misbehaves, or `everybody`, with
 * whom it knows. `issued`: a file with keys and ID tokens.
 */
export async function startStub({ fault = 'none', issued = '' } = {}): Promise<Stub> {
  const child = spawn(process.execPath, [join(here, 'stub.mjs'), fault, issued], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const [port] = await once(child.stdout, 'data');
  const origin = `http://127.0.0.1:${Number(port)}`;
  return {
    origin,
    async hold(milliseconds) {
      await fetch(`${origin}/latency/${milliseconds}`, { method: 'POST' });
    },
    cpu: () => cpuOf(child),
    async asked() {
      const response = await fetch(`${origin}/asked`);
      return Number(await response.text());
    },
    async held() {
      const response = await fetch(`${origin}/holds`);
      const holds = (await response.json()) as number[];
      return holds.sort((a, b) => a - b)[Math.floor(holds.length / 2)] ?? 0;
    },
    async stop() {
      child.stdin.end();
      await ended(child);
    },
  };
}

/** Pins this process, and all it starts from now on, to one CPU. `undefined` where that cannot be done. */
export function pin(): number | undefined {
  try {
    const allowed = execFileSync('taskset', ['-cp', String(process.pid)], {
      encoding: 'latin1',
      stdio: 'pipe',
    });
    const cpu = Number(/: (\d+)/.exec(allowed)?.[1]);
    execFileSync('taskset', ['-acp', String(cpu), String(process.pid)], { stdio: 'pipe' });
    return cpu;
  } catch {
    return undefined;
  }
}
