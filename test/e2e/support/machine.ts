// A machine of one's own for what installs itself: this one's folders with a layer on top that takes every change and goes
// with the process. As root, on Linux.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { atExit } from '../../support/at-exit.ts';
import { within } from './ejabberd.ts';

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

const LAYERS = `set -e
mount -t tmpfs none /mnt
for folder in ${FOLDERS.join(' ')}; do
  mkdir -p "/mnt$folder/changes" "/mnt$folder/work"
  mount -t overlay overlay -o "lowerdir=$folder,upperdir=/mnt$folder/changes,workdir=/mnt$folder/work" "$folder"
done`;

/**
 * Debian's systemd, as the first process of its own, with a tree of control groups of its own. What it would do to the
 * machine (devices, kernel settings, the clock, what lies in /tmp) is masked, and so is what others have enabled.
 */
const SYSTEMD = `${LAYERS}
mount --make-rshared /
mount -t proc proc /proc
mount -t tmpfs -o mode=755 none /run
umount -R /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
cd /etc/systemd/system
rm -rf ./*
for unit in /lib/systemd/system/*.target.wants/*; do
  case \${unit##*/} in
    systemd-journald* | *.target) ;;
    *) ln -sf /dev/null "\${unit##*/}" ;;
  esac
done
ln -s /dev/null tmp.mount
ln -s /dev/null console-getty.service
ln -s /dev/null systemd-remount-fs.service
rm -f /usr/sbin/policy-rc.d
systemd-tmpfiles --create --prefix=/run >/dev/null 2>&1 || true
exec env -i container=extauth PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system --unit=multi-user.target --log-target=journal --show-status=no`;

/** A group that systemd takes for the root of them all, on whatever place the machine has them. */
const IN_GROUP = (group: string, then: string): string => `set -e
mount -t cgroup2 none /mnt
${then.replaceAll('GROUP', `/mnt/${group}`)}`;

/** A pipe can be opened by name (/dev/stdin), and the socket that Node makes cannot. */
const PIPED = 'cat | sh -e -c "$0"';

export interface MachineOptions {
  /** With a systemd that runs, which Debian's packages, and `systemctl`, talk to. */
  readonly systemd?: boolean;
}

export async function startMachine({ systemd = false }: MachineOptions = {}): Promise<Machine> {
  const group = `extauth-oauth-test-${process.pid}-${++machines}`;
  const alone = ['--mount', '--propagation', 'private'];
  const first = systemd
    ? IN_GROUP(
        group,
        `mkdir GROUP; echo $$ >GROUP/cgroup.procs; umount /mnt
exec unshare --pid --fork --kill-child --cgroup --uts --ipc ${alone.join(' ')} sh -c "$0"`,
      )
    : `${LAYERS}\necho ready; exec sleep infinity`;
  const holder = spawn('unshare', [...alone, 'sh', '-c', first, SYSTEMD], {
    // unshare wonders at its child's end.
    stdio: ['ignore', 'pipe', systemd ? 'ignore' : 'inherit'],
  });
  const exited = once(holder, 'exit');
  const leave = atExit(() => void holder.kill('SIGKILL'));
  const stop = async (): Promise<void> => {
    leave();
    // Its parent waits for systemd, and is gone then, too.
    if (target !== holder.pid) process.kill(target, 'SIGKILL');
    else holder.kill('SIGKILL');
    await exited;
    if (!systemd) return;
    const remove = IN_GROUP(group, 'find GROUP -depth -type d -exec rmdir {} +');
    await once(spawn('unshare', [...alone, 'sh', '-c', remove], { stdio: 'ignore' }), 'exit');
  };
  if (!systemd) {
    const started = await Promise.race([once(holder.stdout, 'data'), exited]);
    if (!String(started[0]).startsWith('ready')) throw new Error('no layers: this needs root and overlayfs');
  }
  /** Whose view of the machine it is. */
  const target = systemd ? await firstProcess(holder.pid ?? 0) : (holder.pid ?? 0);
  const views = systemd ? ['--mount', '--pid', '--cgroup', '--uts', '--ipc'] : ['--mount'];

  async function sh(
    lines: string,
    { cwd = '/', input = '', env = {}, as, typed }: RunOptions = {},
  ): Promise<Ran> {
    const inside = ['nsenter', `--target=${target}`, ...views, `--wd=${cwd}`, '--'];
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

  if (systemd) {
    const isUp = async (): Promise<boolean> =>
      /running|degraded/.test((await sh('systemctl is-system-running || true')).out);
    if (!(await within(30_000, isUp))) {
      await stop();
      throw new Error('systemd does not start: this needs root, and control groups');
    }
  }
  return { sh, stop };
}

/** The process that `unshare --fork` waits for. */
async function firstProcess(holder: number): Promise<number> {
  let found = 0;
  await within(10_000, () => {
    found = Number(readFileSync(`/proc/${holder}/task/${holder}/children`, 'utf8').split(' ')[0]);
    return found > 0 && readFileSync(`/proc/${found}/comm`, 'utf8').trim() === 'systemd';
  });
  return found;
}

let machines = 0;
