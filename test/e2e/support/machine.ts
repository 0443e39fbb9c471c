// A machine of one's own for what installs itself: this one's folders with a layer on top that takes every change and goes
// with the process. As root, on Linux.
import { spawn } from 'node:child_process';
import { once } from 'node:events';

export interface Ran {
  readonly code: number | null;
  /** Both streams. */
  readonly out: string;
}

export interface RunOptions {
  readonly cwd?: string;
  readonly input?: string;
  readonly env?: Record<string, string>;
  /** The user's name and home; root by default. */
  readonly as?: { readonly user: string; readonly home: string };
  /** Typed on a terminal, each when the program has asked for it. */
  readonly typed?: readonly { readonly when: string; readonly text: string }[];
}

export interface Machine {
  /** Runs lines of shell; the first that fails ends them. */
  sh(lines: string, options?: RunOptions): Promise<Ran>;
  stop(): Promise<void>;
}

/** What a program may change without being seen outside. */
const FOLDERS = ['/etc', '/usr', '/var', '/run', '/root'];

const SETUP = `set -e
mount -t tmpfs none /mnt
for folder in ${FOLDERS.join(' ')}; do
  mkdir -p "/mnt$folder/changes" "/mnt$folder/work"
  mount -t overlay overlay -o "lowerdir=$folder,upperdir=/mnt$folder/changes,workdir=/mnt$folder/work" "$folder"
done
echo ready
exec sleep infinity`;

/** A pipe can be opened by name (/dev/stdin), and the socket that Node makes cannot. */
const PIPED = 'cat | sh -e -c "$0"';

export async function startMachine(): Promise<Machine> {
  const holder = spawn('unshare', ['--mount', '--propagation', 'private', 'sh', '-c', SETUP], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exited = once(holder, 'exit');
  const stop = async (): Promise<void> => {
    holder.kill('SIGKILL');
    await exited;
  };
  process.once('exit', () => void holder.kill('SIGKILL'));
  const started = await Promise.race([once(holder.stdout, 'data'), exited]);
  if (!String(started[0]).startsWith('ready')) throw new Error('no layers: this needs root and overlayfs');

  async function sh(
    lines: string,
    { cwd = '/', input = '', env = {}, as, typed }: RunOptions = {},
  ): Promise<Ran> {
    const inside = ['nsenter', `--target=${holder.pid}`, '--mount', `--wd=${cwd}`, '--'];
    const user =
      as === undefined ? [] : ['setpriv', `--reuid=${as.user}`, `--regid=${as.user}`, '--init-groups', '--'];
    const terminal = ['script', '-qec', `stty cols 200; ${lines}`, '/dev/null'];
    const command = typed === undefined ? ['sh', '-c', PIPED, lines] : terminal;
    const [file = '', ...args] = [...inside, ...user, ...command];
    const home = as === undefined ? {} : { HOME: as.home };
    const child = spawn(file, args, {
      env: { ...process.env, LANG: 'C.UTF-8', NO_COLOR: '1', SHELL: '/bin/sh', ...home, ...env },
      stdio: 'pipe',
    });
    let out = '';
    const answers = [...(typed ?? [])];
    let heard = 0;
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk) => {
        out += chunk;
        const [next] = answers;
        if (next === undefined || !out.includes(next.when, heard)) return;
        answers.shift();
        heard = out.length;
        child.stdin.write(`${next.text}\r`);
      });
    }
    child.stdin.on('error', () => {});
    if (typed === undefined) child.stdin.end(input);
    const [code] = (await once(child, 'close')) as [number | null];
    return { code, out: out.replaceAll('\r', '') };
  }

  return { sh, stop };
}
