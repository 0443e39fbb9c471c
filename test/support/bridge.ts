// Starts the bridge as a child process exactly as an XMPP server would, and speaks ejabberd's frames or Prosody's lines to it.
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { atExit } from './at-exit.ts';

export const root = join(dirname(fileURLToPath(import.meta.url)), '../..');
export const program = join(root, 'bin/extauth-oauth.js');
export const prosodyProgram = join(root, 'bin/extauth-oauth-prosody');

let temporary: string | undefined;

/** A fresh private folder; it goes when this process does. */
export function temporaryFolder(): string {
  if (temporary === undefined) {
    const base = mkdtempSync(join(tmpdir(), 'extauth-oauth-'));
    atExit(() => rmSync(base, { recursive: true, force: true }));
    temporary = base;
  }
  return mkdtempSync(join(temporary, 'f-'));
}

/** Writes a configuration file (JSON, mode 0600) into a fresh folder and returns its path. */
export function writeConfig(config: unknown): string {
  const file = join(temporaryFolder(), 'config.json');
  writeFileSync(file, typeof config === 'string' ? config : JSON.stringify(config, null, 2));
  chmodSync(file, 0o600);
  return file;
}

/** ejabberd's frame: 16 bit length, big endian, then the bytes of the request. */
export function frame(request: string | Buffer): Buffer {
  const body = Buffer.from(request as string);
  const head = Buffer.alloc(2);
  head.writeUInt16BE(body.length);
  return Buffer.concat([head, body]);
}

export interface Exit {
  code: number | null;
  signal: NodeJS.Signals | null;
}

export interface Bridge {
  readonly child: ChildProcessWithoutNullStreams;
  /** Sends raw bytes. */
  send(bytes: Buffer | string): void;
  /** Resolves with the next `count` bytes of stdout; rejects after `within` milliseconds. */
  receive(count: number, within?: number): Promise<Buffer>;
  /** Sends one ejabberd frame and resolves with the answer: 1, 0, or 2 for the `00 02 00 02` error. */
  ask(request: string | Buffer, within?: number): Promise<number>;
  /** All of stderr (the log) so far. */
  log(): string;
  /** The log as objects, one per line that parses. */
  logLines(): Record<string, unknown>[];
  /** Bytes of stdout nobody has received yet. */
  unread(): Buffer;
  /** Resolves when the process has ended. */
  readonly exited: Promise<Exit>;
  /** Ends stdin and waits for the exit; kills by pid after `within` milliseconds. */
  stop(within?: number): Promise<Exit>;
}

export interface BridgeOptions {
  /** A configuration object, or the path of a file; none at all starts the bridge without a configuration. */
  config?: unknown;
  args?: string[];
  env?: Record<string, string>;
  cwd?: string;
  /** Another one than that of the repository. */
  installed?: string;
  /** What starts the program, such as `setpriv` and its arguments. */
  through?: readonly string[];
}

/** Starts `extauth-oauth` on pipes. */
export function startBridge({
  config,
  args = [],
  env = {},
  cwd,
  through = [],
  installed = program,
}: BridgeOptions = {}): Bridge {
  const file = config === undefined ? undefined : typeof config === 'string' ? config : writeConfig(config);
  const [command = '', ...rest] = [...through, process.execPath, installed, ...args];
  const child = spawn(command, rest, {
    stdio: 'pipe',
    cwd: cwd ?? temporaryFolder(),
    env: {
      PATH: process.env.PATH ?? '',
      XDG_CONFIG_HOME: '/nonexistent',
      ...(file === undefined ? {} : { EXTAUTH_OAUTH_CONFIG: file }),
      ...env,
    },
  });
  let out = Buffer.alloc(0);
  let err = '';
  let wake = (): void => {};
  child.stdout.on('data', (chunk: Buffer) => {
    out = Buffer.concat([out, chunk]);
    wake();
  });
  child.stderr.on('data', (chunk: Buffer) => {
    err += chunk.toString('utf8');
  });
  child.stdin.on('error', () => {});
  const exited = new Promise<Exit>((resolve) => {
    child.on('close', (code, signal) => {
      resolve({ code, signal });
      wake();
    });
  });

  async function receive(count: number, within = 10_000): Promise<Buffer> {
    const until = Date.now() + within;
    while (out.length < count) {
      const left = until - Date.now();
      if (left <= 0) throw new Error(`no answer within ${within} ms; log: ${err}`);
      if (child.exitCode !== null || child.signalCode !== null)
        throw new Error(`the bridge ended; log: ${err}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, Math.min(left, 250));
        wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    const answer = out.subarray(0, count);
    out = out.subarray(count);
    return answer;
  }

  return {
    child,
    exited,
    receive,
    send: (bytes) => void child.stdin.write(bytes),
    async ask(request, within) {
      child.stdin.write(frame(request));
      const answer = await receive(4, within);
      if (answer[0] !== 0 || answer[1] !== 2 || answer[2] !== 0)
        throw new Error(`odd answer ${answer.toString('hex')}`);
      return answer[3] ?? -1;
    },
    log: () => err,
    logLines: () =>
      err
        .slice(0, err.lastIndexOf('\n') + 1)
        .split('\n')
        .filter((line) => line.startsWith('{'))
        .map((line) => JSON.parse(line) as Record<string, unknown>),
    unread: () => out,
    async stop(within = 5000) {
      child.stdin.end();
      const timer = setTimeout(() => child.kill('SIGKILL'), within);
      const exit = await exited;
      clearTimeout(timer);
      return exit;
    },
  };
}
