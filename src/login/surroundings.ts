// Where an XMPP server would start the program: its user, working directory, environment and view of the files. What a
// server that runs here has is taken as it is; for one that does not, what Debian's unit gives it.
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';

export type Server = 'ejabberd' | 'prosody';

export interface Surroundings {
  readonly user: User | undefined;
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  /** The process they are taken from. */
  readonly pid: number | undefined;
  /** The server sees other files than we do (ProtectHome, PrivateTmp). */
  readonly hasOwnFiles: boolean;
}

export interface User {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
}

/** systemd's own for services (systemd.exec(5)). */
const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** How its process looks, by its name or its arguments. */
const PROCESS: Readonly<Record<Server, (name: string, args: readonly string[]) => boolean>> = {
  // Erlang's virtual machine; nothing else of this user is one.
  ejabberd: (name) => name.startsWith('beam'),
  // A script: `lua5.4 /usr/bin/prosody -F`.
  prosody: (name, args) =>
    name === 'prosody' || args.slice(0, 3).some((each) => /(?:^|\/)prosody$/.test(each)),
};

export function surroundingsOf(server: Server): Surroundings {
  const user = findUser(server);
  const found = user && findServer(server, user.uid);
  if (found !== undefined) return { user, ...found };
  const home = user?.home ?? '/';
  const cwd = existsSync(home) ? home : '/';
  const who = user === undefined ? {} : { HOME: user.home, USER: user.name, LOGNAME: user.name };
  const path = server === 'ejabberd' ? [...erlangFolders(), PATH].join(':') : PATH;
  return { user, cwd, env: { PATH: path, ...who }, pid: undefined, hasOwnFiles: false };
}

function findUser(name: string): User | undefined {
  try {
    const entry = execFileSync('getent', ['passwd', name], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const [, , uid, gid, , home = '/'] = entry.trim().split(':');
    return { name, uid: Number(uid), gid: Number(gid), home };
  } catch {
    return undefined;
  }
}

/** The first process of the server's that we may look at. */
function findServer(server: Server, uid: number): Omit<Surroundings, 'user'> | undefined {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  for (const pid of pids) {
    const folder = `/proc/${pid}`;
    try {
      if (statSync(folder).uid !== uid) continue;
      const args = readFileSync(`${folder}/cmdline`, 'utf8').split('\0');
      if (!PROCESS[server](readFileSync(`${folder}/comm`, 'utf8').trim(), args)) continue;
      return {
        cwd: readlinkSync(`${folder}/cwd`),
        env: Object.fromEntries(readFileSync(`${folder}/environ`, 'utf8').split('\0').flatMap(variable)),
        pid: Number(pid),
        hasOwnFiles: readlinkSync(`${folder}/ns/mnt`) !== readlinkSync('/proc/self/ns/mnt'),
      };
    } catch {
      // It has just ended, or is none of our business.
    }
  }
  return undefined;
}

function variable(text: string): [name: string, value: string][] {
  const sign = text.indexOf('=');
  return sign <= 0 ? [] : [[text.slice(0, sign), text.slice(sign + 1)]];
}

/** What Erlang puts before everything else. */
function erlangFolders(): string[] {
  const root = '/usr/lib/erlang';
  if (!existsSync(root)) return [];
  const erts = readdirSync(root).filter((name) => name.startsWith('erts-'));
  return [...erts, ''].map((name) => `${root}/${name}/bin`.replace('//', '/'));
}

/** What starts a program there: into the server's view of the files, then to its user. */
export function wayInto({ user, pid, hasOwnFiles }: Surroundings): string[] {
  const isRoot = process.geteuid?.() === 0;
  if (!isRoot) return [];
  const files =
    hasOwnFiles && pid !== undefined ? ['nsenter', `--target=${pid}`, '--mount', '--wd', '--'] : [];
  if (user === undefined) return files;
  return [...files, 'setpriv', `--reuid=${user.uid}`, `--regid=${user.gid}`, '--init-groups', '--'];
}
