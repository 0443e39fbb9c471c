// Where an XMPP server would start the program: its user, working directory, environment and view of the files. What a
// server that runs here has is taken as it is; for one that does not, what its unit gives it.
import { existsSync, readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { type Account, accountOf } from '../check/access.ts';
import { wayTo } from '../check/become.ts';
import { serverEnvironment } from '../check/environment.ts';
import { createRoot } from '../check/root.ts';
import { readUnit } from '../check/unit.ts';

export type Server = 'ejabberd' | 'prosody';

export interface Surroundings {
  readonly user: Account | undefined;
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  /** What they are taken from: the running process, or the server's unit. */
  readonly from: string;
  readonly pid: number | undefined;
  /** The server sees other files than we do (ProtectHome, PrivateTmp). */
  readonly hasOwnFiles: boolean;
}

/** How its process looks, by its name or its arguments. */
const PROCESS: Readonly<Record<Server, (name: string, args: readonly string[]) => boolean>> = {
  // Erlang's virtual machine; nothing else of this user is one.
  ejabberd: (name) => name.startsWith('beam'),
  // A script: `lua5.4 /usr/bin/prosody -F`.
  prosody: (name, args) =>
    name === 'prosody' || args.slice(0, 3).some((each) => /(?:^|\/)prosody$/.test(each)),
};

export function surroundingsOf(server: Server): Surroundings {
  const root = createRoot();
  const unit = readUnit(root, `${server}.service`);
  const user = accountOf(root, unit?.value('User') ?? server);
  const found = user && findServer(server, user.uid);
  if (found !== undefined) return { user, ...found };
  const home = user?.home ?? '/';
  const { variables, from } = serverEnvironment({ root, unit, account: user, commands: [] });
  const env = Object.fromEntries(variables);
  if (server === 'ejabberd') env.PATH = [...erlangFolders(), env.PATH].join(':');
  return { user, cwd: existsSync(home) ? home : '/', env, from, pid: undefined, hasOwnFiles: false };
}

/** The first process of the server's that we may look at. */
function findServer(server: Server, uid: number): Omit<Surroundings, 'user'> | undefined {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  for (const pid of pids) {
    const folder = `/proc/${pid}`;
    try {
      if (statSync(folder).uid !== uid) continue;
      // Whoever makes a user namespace has a view of the files that says what nsenter and setpriv are: not as root.
      if (readlinkSync(`${folder}/ns/user`) !== readlinkSync('/proc/self/ns/user')) continue;
      const args = readFileSync(`${folder}/cmdline`, 'utf8').split('\0');
      if (!PROCESS[server](readFileSync(`${folder}/comm`, 'utf8').trim(), args)) continue;
      return {
        cwd: readlinkSync(`${folder}/cwd`),
        env: Object.fromEntries(readFileSync(`${folder}/environ`, 'utf8').split('\0').flatMap(variable)),
        from: `process ${pid}`,
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

/** What starts a program there, as one would type it. */
export function wayInto({ user, pid, hasOwnFiles }: Surroundings): string[] {
  const isRoot = process.geteuid?.() === 0;
  if (!isRoot || user === undefined) return [];
  return wayTo(user, hasOwnFiles ? pid : undefined);
}
