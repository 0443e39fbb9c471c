// The program as a child, asked by one side of its protocol: ejabberd's port or Prosody's pseudo-terminal.
import { spawn } from 'node:child_process';
import { become } from '../check/become.ts';
import { type Server, type Surroundings, wayInto } from './surroundings.ts';

export interface Child {
  /** What it answers next, `undefined` when nothing comes within so many milliseconds. */
  ask(request: string, within: number): Promise<Answer | undefined>;
  /** What it has written that was no answer to anything. */
  rest(): string;
  /** What has come on stderr, where that is not the terminal. */
  errors(): string;
  /** Ends as the server ends it, by the end of input; by force when that does not help. */
  end(): Promise<void>;
}

export type Answer = 'yes' | 'no' | 'error' | 'nonsense' | 'ended';

export interface ChildOptions {
  readonly server: Server;
  /** The line of `extauth_program`, or the file of `external_auth_command`. */
  readonly program: string;
  readonly surroundings: Surroundings;
}

/** After the end of input. */
const END_WITHIN = 2000;
/** No more than this is kept of what a child says. */
const MAX_KEPT = 256 * 1024;

/** The command as the server makes it, and what makes the terminal; as one would type it. */
export function commandOf(options: ChildOptions): string[] {
  return [...wayInto(options.surroundings), '/bin/sh', '-c', lineOf(options)];
}

function lineOf({ server, program }: ChildOptions): string {
  // What Erlang's erl_child_setup does.
  if (server === 'ejabberd') return `exec ${program}`;
  // Prosody executes one file. util-linux's script lends the terminal; it starts a shell for that.
  return `exec script -q -c ${quoted(`umask 0027; exec ${quoted(program)}`)} /dev/null`;
}

/** A word as one would type it. */
export function quoted(word: string): string {
  return /^[\w./=:,@%+-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

/** Rejects when nothing can be started. */
export async function startChild(options: ChildOptions): Promise<Child> {
  const { server, surroundings } = options;
  const { user, pid, hasOwnFiles, env, cwd } = surroundings;
  const { file, args, preamble, ...start } = become({
    account: user,
    pid: hasOwnFiles ? pid : undefined,
    // Without it, script would start the user's shell, and that of a service is often none.
    environment: server === 'prosody' ? { ...env, SHELL: '/bin/sh' } : env,
    command: lineOf(options),
  });
  // A session of its own, like the server's.
  const child = spawn(file, args, { detached: true, stdio: 'pipe', env: start.env, cwd });
  let output = Buffer.alloc(0);
  let errors = '';
  let ended = false;
  let wake = (): void => {};
  child.stdout.on('data', (chunk: Buffer) => {
    output = Buffer.concat([output, chunk]).subarray(-MAX_KEPT);
    wake();
  });
  child.stderr.on('data', (chunk: Buffer) => {
    errors = (errors + chunk).slice(-MAX_KEPT);
  });
  child.stdin.on('error', () => {});
  child.stdin.write(preamble);
  const closed = new Promise<void>((resolve) =>
    child.on('close', () => {
      ended = true;
      wake();
      resolve();
    }),
  );
  await new Promise<void>((resolve, reject) => child.once('spawn', resolve).once('error', reject));
  const take = server === 'ejabberd' ? takeFrame : takeLine;

  return {
    async ask(request, within) {
      child.stdin.write(server === 'ejabberd' ? frameOf(request) : `${request}\n`);
      for (const until = performance.now() + within; ; ) {
        const taken = take(output);
        if (taken !== undefined) {
          output = output.subarray(taken.length);
          return taken.answer;
        }
        const left = until - performance.now();
        if (ended) return 'ended';
        if (left <= 0) return undefined;
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, left);
          wake = () => {
            clearTimeout(timer);
            resolve();
          };
        });
      }
    },
    rest: () => output.toString(),
    errors: () => errors,
    async end() {
      child.stdin.end();
      const timer = setTimeout(() => {
        try {
          process.kill(-(child.pid ?? 0), 'SIGKILL');
        } catch {
          // It has ended by itself.
        }
      }, END_WITHIN);
      await closed;
      clearTimeout(timer);
    },
  };
}

function frameOf(request: string): Buffer {
  const bytes = Buffer.from(request);
  const length = Buffer.alloc(2);
  length.writeUInt16BE(bytes.length);
  return Buffer.concat([length, bytes]);
}

interface Taken {
  readonly answer: Answer;
  readonly length: number;
}

/** ejabberd: a length, then so many bytes, of which it knows two. */
function takeFrame(output: Buffer): Taken | undefined {
  if (output.length < 2) return undefined;
  const length = 2 + output.readUInt16BE();
  if (output.length < length) return undefined;
  const answers: Readonly<Record<string, Answer>> = {
    '00020000': 'no',
    '00020001': 'yes',
    '00020002': 'error',
  };
  return { answer: answers[output.toString('hex', 0, length)] ?? 'nonsense', length };
}

/** Prosody: a line; what a terminal echoed before it was raw is no answer. */
function takeLine(output: Buffer): Taken | undefined {
  const text = output.toString('latin1');
  const answer = /^([01])\r?\n/m.exec(text);
  if (answer === null) return undefined;
  return { answer: answer[1] === '1' ? 'yes' : 'no', length: answer.index + answer[0].length };
}
