// The sockets of `serve`: can they be made, does somebody listen, and may the server's user come in?
import { lstatSync, type Stats, statSync } from 'node:fs';
import { createConnection } from 'node:net';
import { dirname } from 'node:path';
import type { Config } from '../config/load.ts';
import { pathOf } from '../config/problems.ts';
import { numberOf } from '../daemon/accounts.ts';
import { type Account, obstacle, octal } from './access.ts';
import { type Finding, fault, ok, warning } from './finding.ts';
import type { Root } from './root.ts';

type Socket = NonNullable<Config['process']['listen']>[number];

/** A daemon that is too busy to accept within this time is there. */
const CONNECT_WITHIN = 1000;

/** The accounts of servers that connect, by what they speak. */
export type Callers = Readonly<Record<Socket['protocol'], readonly Account[]>>;

export async function* examineSockets(
  { listen = [] }: Config['process'],
  { root, callers }: { readonly root: Root; readonly callers: Callers },
): AsyncGenerator<Finding> {
  for (const [index, socket] of listen.entries()) {
    const { path, protocol } = socket;
    const what = pathOf('listen', index);
    if (path !== undefined) yield* examinePath(path, socket, { what, root, users: callers[protocol] });
    else if (socket.address !== undefined) yield await examinePort(socket.address, what);
  }
}

interface Surroundings {
  readonly what: string;
  readonly root: Root;
  readonly users: readonly Account[];
}

async function* examinePath(
  path: string,
  { mode, group, name, host }: Socket,
  { what, root, users }: Surroundings,
): AsyncGenerator<Finding> {
  let gid: number | undefined;
  try {
    gid = group === undefined ? undefined : await numberOf('group', group);
  } catch (error) {
    yield fault(`${what}.group`, (error as Error).message, {
      why: 'serve cannot open the socket',
      line: `groupadd --system ${group}`,
    });
  }
  const folder = dirname(path);
  if (name !== undefined && statOf(() => lstatSync(path)) === undefined) {
    // With a name it is systemd's to make, folder and all.
    yield warning(what, `${path} is not there yet: systemd opens it`, {
      line: `systemctl enable --now extauth-oauth-${host === undefined ? 'ejabberd' : `prosody@${host}`}.socket`,
    });
    return;
  }
  if (statOf(() => statSync(folder)) === undefined) {
    yield fault(what, `the folder ${folder} does not exist`, {
      why: 'serve cannot open the socket',
      line: folder.startsWith('/run/')
        ? `RuntimeDirectory=${folder.slice('/run/'.length)}      # in [Service] of extauth-oauth.service`
        : `install -d -m 0755 ${folder}`,
    });
    return;
  }
  const stats = statOf(() => lstatSync(path));
  if (stats === undefined) {
    yield warning(what, `${path} is not there: serve does not run`, {
      line: 'systemctl start extauth-oauth',
    });
    return;
  }
  if (!stats.isSocket()) {
    yield fault(what, `${path} is there and no socket`, {
      why: 'serve cannot open the socket',
      line: `rm ${path}      # or choose another path`,
    });
    return;
  }
  const answer = await connect({ path });
  if (answer === 'ECONNREFUSED') {
    yield warning(what, `${path} is stale: a daemon has left it behind, and nobody listens there`, {
      why: 'every login that is asked for there fails',
      line: 'systemctl start extauth-oauth      # takes its place',
    });
    return;
  }
  const shown = stats.mode & 0o777;
  if (shown !== mode) {
    yield warning(`${what}.mode`, `${path} is ${octal(shown)}, and the configuration says ${octal(mode)}`, {
      line: 'systemctl restart extauth-oauth      # or mode in the socket unit',
    });
  } else if (gid !== undefined && stats.gid !== gid) {
    yield warning(`${what}.group`, `${path} is of group ${stats.gid}, and the configuration says ${group}`, {
      line: 'systemctl restart extauth-oauth      # or SocketGroup= in the socket unit',
    });
  }
  for (const user of users) {
    const stopped = obstacle(root, user, path, 'write');
    if (stopped === undefined) continue;
    yield fault(what, `${user.name} may not connect to ${path}: ${stopped}`, {
      why: 'every login that this server asks for fails',
      line: `group: ${user.name}`,
    });
    return;
  }
  if (answer === undefined || answer === 'EAGAIN') yield ok(what, `${path}: serve listens`);
  else if (answer === 'EACCES') yield warning(what, `${path}: this user may not connect there (${answer})`);
  else yield fault(what, `${path} cannot be connected to (${answer})`);
}

async function examinePort({ host, port }: { host: string; port: number }, what: string): Promise<Finding> {
  const answer = await connect({ host, port });
  return answer === undefined
    ? ok(what, `${host}:${port}: somebody listens`)
    : warning(what, `nobody listens at ${host}:${port} (${answer}): serve does not run`, {
        line: 'systemctl start extauth-oauth',
      });
}

/** The error's code; `undefined` when somebody has taken the connection, which is closed at once. */
function connect(to: { path: string } | { host: string; port: number }): Promise<string | undefined> {
  return new Promise((resolve) => {
    const probe = createConnection(to);
    probe.setTimeout(CONNECT_WITHIN, () => end('no answer'));
    probe.on('connect', () => end(undefined));
    probe.on('error', (error) => end((error as NodeJS.ErrnoException).code ?? error.name));
    function end(answer: string | undefined): void {
      probe.destroy();
      resolve(answer);
    }
  });
}

function statOf(read: () => Stats): Stats | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
