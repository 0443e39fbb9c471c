// Starts a shell's command as a server's user, in the server's environment and view of the files, when we are root. What is
// the server's must not touch what is still root: who can be that user may have put LD_PRELOAD or a PATH into a process's
// environment. So the way there has an environment of its own, and a shell that is the user already reads the server's.
import type { Account } from './access.ts';

export interface Becoming {
  /** `undefined`: as who we are. */
  readonly account: Account | undefined;
  /** The process whose view of the files is wanted. */
  readonly pid?: number | undefined;
  readonly environment: Readonly<Record<string, string>>;
  /** For /bin/sh. */
  readonly command: string;
}

export interface Start {
  readonly file: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** To be written to its stdin before everything else. */
  readonly preamble: string;
}

const SAFE_PATH = '/usr/sbin:/usr/bin:/sbin:/bin';
/** Of util-linux. */
const NSENTER = '/usr/bin/nsenter';
const SETPRIV = '/usr/bin/setpriv';
/** Not as arguments, which everybody can read, and not in a file: there may be a secret among them. */
const READ_ENVIRONMENT = 'while IFS= read -r each && [ -n "$each" ]; do export "$each"; done';

/**
 * What starts a program as the user. In another process's view of the files nothing is run that is still root: since it was
 * looked at, that process may have made one of its own, in which setpriv is what it likes.
 */
export function wayTo(
  { uid, gids }: Account,
  pid: number | undefined,
  { setpriv, nsenter } = { setpriv: 'setpriv', nsenter: 'nsenter' },
): string[] {
  if (pid === undefined) return [setpriv, `--reuid=${uid}`, `--regid=${gids[0]}`, '--init-groups', '--'];
  return [
    ...[setpriv, `--regid=${gids[0]}`, `--groups=${gids.join(',')}`, '--'],
    ...[nsenter, `--target=${pid}`, '--mount', '--wd', `--setuid=${uid}`, '--'],
  ];
}

export function become({ account, pid, environment, command }: Becoming): Start {
  if (process.geteuid?.() !== 0 || account === undefined)
    return { file: '/bin/sh', args: ['-c', command], env: environment, preamble: '' };
  const [file = '', ...args] = [
    ...wayTo(account, pid, { setpriv: SETPRIV, nsenter: NSENTER }),
    ...['/bin/sh', '-c', `${READ_ENVIRONMENT}; ${command}`],
  ];
  // A shell can hand on no others, and a line is one.
  const lines = Object.entries(environment).filter(
    ([name, value]) => /^[A-Za-z_]\w*$/.test(name) && !/[\n\0]/.test(value),
  );
  const preamble = `${lines.map(([name, value]) => `${name}=${value}\n`).join('')}\n`;
  return { file, args, env: { PATH: SAFE_PATH }, preamble };
}

/**
 * Reads what the user could, when we are root: the name of a file that he chose may lead anywhere. Of `read`, which does not
 * wait for anything, nothing else is his: the process cannot be touched by him meanwhile.
 */
export function readAs<Value>(account: Account | undefined, read: () => Value): Value {
  if (process.geteuid?.() !== 0 || account === undefined) return read();
  const { setgroups, setegid, seteuid, getgroups, getegid } = process;
  if (!(setgroups && setegid && seteuid && getgroups && getegid)) return read();
  const [groups, group] = [getgroups(), getegid()];
  try {
    setgroups([...account.gids]);
    setegid(account.gids[0] ?? account.uid);
    seteuid(account.uid);
    return read();
  } finally {
    seteuid(0);
    setegid(group);
    setgroups(groups);
  }
}
