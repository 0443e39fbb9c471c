// Opening the sockets that others connect to: a Unix socket that nobody can reach before its permissions are right, a port
// of the loopback interface, or what systemd has opened for us.
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  renameSync,
  type Stats,
  unlinkSync,
} from 'node:fs';
import { createConnection, type Server } from 'node:net';
import { dirname, join } from 'node:path';
import type { SocketOptions } from '../config/listen.ts';
import { isLoopback } from '../oauth/loopback.ts';
import { numberOf } from './accounts.ts';

/** A socket cannot be opened. For the operator: the message says what to change. */
export class ListenError extends Error {
  override readonly name = 'ListenError';
}

/** Where a listener is, as an operator calls it; the same for the same socket. */
export function nameOf({ path, address, name }: SocketOptions): string {
  if (path !== undefined) return path;
  return address === undefined ? `systemd's ${name}` : `${address.host}:${address.port}`;
}

/** A socket that is open. */
export interface Opened {
  /** Gives it another group and mode. Throws a ListenError. */
  permit(options: SocketOptions): Promise<void>;
  /** Takes its name away again. */
  remove(): void;
}

/** Nobody but systemd, or the port, says who may connect. */
const NOT_OURS: Opened = { async permit() {}, remove() {} };

/** Connections that the kernel holds for us; it has a limit of its own (net.core.somaxconn). */
const BACKLOG = 4096;

/**
 * Makes `server` listen where the options say. `passed`: descriptors of listening sockets that systemd has opened, by
 * name. Throws a ListenError.
 */
export async function open(
  server: Server,
  options: SocketOptions,
  passed: ReadonlyMap<string, number>,
): Promise<Opened> {
  const { path, address, name } = options;
  const fd = name === undefined ? undefined : passed.get(name);
  if (fd !== undefined) {
    await listening(server, options, () => server.listen({ fd }));
    const bound = server.address();
    if (bound !== null && typeof bound === 'object' && !isLoopback(bracketed(bound.address))) {
      server.close();
      throw new ListenError(
        `systemd's ${name} listens at ${bound.address}: what comes over it is passwords, use ListenStream= with a path or 127.0.0.1`,
      );
    }
    return NOT_OURS;
  }
  if (path !== undefined) return openPath(server, path, options);
  if (address !== undefined) {
    await listening(server, options, () => server.listen({ ...address, backlog: BACKLOG, exclusive: true }));
    return NOT_OURS;
  }
  throw new ListenError(
    `systemd has passed no socket called ${name} (FileDescriptorName=${name} in the socket unit), and there is no path or address`,
  );
}

function bracketed(address: string): string {
  return address.includes(':')
    ? `[${address.replace(/^::ffff:/, '')}]`.replace(/^\[(\d+\.[\d.]+)\]$/, '$1')
    : address;
}

async function openPath(server: Server, path: string, options: SocketOptions): Promise<Opened> {
  await mustBeFree(path);
  // It gets its name last, when everything about it is right; what has been left there goes in the same moment. And closing
  // it takes away only the first name (libuv does so by the name): the other may be another daemon's by then.
  const made = join(dirname(path), `.${randomBytes(3).toString('hex')}`);
  // The socket is made by listen() itself, before it returns: until group and mode are right, it is ours alone.
  const umask = process.umask(0o177);
  const opened = listening(server, options, () =>
    server.listen({ path: made, backlog: BACKLOG, exclusive: true }),
  );
  process.umask(umask);
  await opened;
  try {
    const { ino, dev, gid } = lstatSync(made);
    const isMine = (stats: Stats): boolean => stats.ino === ino && stats.dev === dev;
    await permit(made, options, { isMine, gid });
    renameSync(made, path);
    return {
      permit: (changed) => permit(path, changed, { isMine, gid }),
      remove() {
        try {
          if (isMine(lstatSync(path))) unlinkSync(path);
        } catch {
          // Gone already.
        }
      },
    };
  } catch (error) {
    server.close();
    throw error;
  }
}

/** Of Linux: opens whatever it is, only to say which one is meant. */
const O_PATH = process.platform === 'linux' ? 0o10000000 : undefined;

/**
 * Gives the socket `at` its group and its mode: it, and nothing that somebody has put in its place, such as a link to
 * a file of ours. Throws a ListenError.
 */
async function permit(
  at: string,
  options: SocketOptions,
  { isMine, gid: own }: { isMine: (stats: Stats) => boolean; gid: number },
): Promise<void> {
  const { group, mode } = options;
  const gid = group === undefined ? own : await groupOf(group);
  let fd: number | undefined;
  try {
    fd = O_PATH && openSync(at, O_PATH | constants.O_NOFOLLOW);
    const stats = fd === undefined ? lstatSync(at) : fstatSync(fd);
    if (!isMine(stats))
      throw new ListenError(
        `${nameOf(options)}: something else has been put there: remove it, and start again`,
      );
    const socket = fd === undefined ? at : `/proc/self/fd/${fd}`;
    if (stats.gid !== gid) {
      // Neither group may have what is meant for the other.
      chmodSync(socket, 0o600);
      chownSync(socket, -1, gid);
    }
    chmodSync(socket, mode);
  } catch (error) {
    if (error instanceof ListenError) throw error;
    throw new ListenError(
      `${nameOf(options)}: mode and group ${group} cannot be given (${codeOf(error)}): the user of this program must be in the group`,
    );
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

async function groupOf(group: string | number): Promise<number> {
  try {
    return await numberOf('group', group);
  } catch (error) {
    throw new ListenError((error as Error).message);
  }
}

/** There may be a socket that a process has left behind; none that somebody listens at, nor anything but a socket. */
async function mustBeFree(path: string): Promise<void> {
  const found = attempt(path, () => lstatSync(path, { throwIfNoEntry: false }));
  // listen() says EACCES for a folder that is not there (libuv).
  if (found === undefined) return void attempt(path, () => lstatSync(dirname(path)));
  if (!found.isSocket())
    throw new ListenError(`${path} is there and no socket: remove it, or choose another path`);
  const answer = await new Promise<string>((resolve) => {
    const probe = createConnection(path);
    probe.on('connect', () => {
      probe.destroy();
      resolve('EADDRINUSE');
    });
    probe.on('error', (error) => resolve(codeOf(error)));
  });
  // EAGAIN: somebody listens, and has too much to do.
  const code = answer === 'EAGAIN' ? 'EADDRINUSE' : answer;
  if (code !== 'ECONNREFUSED') throw new ListenError(`${path}: ${why({ code })}`);
}

function attempt<Result>(path: string, work: () => Result): Result {
  try {
    return work();
  } catch (error) {
    throw new ListenError(`${path}: ${why(error)}`);
  }
}

function listening(server: Server, options: SocketOptions, listen: () => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const onError = (error: Error): void => reject(new ListenError(`${nameOf(options)}: ${why(error)}`));
    server.once('error', onError);
    server.once('listening', () => {
      server.off('error', onError);
      resolve();
    });
    try {
      listen();
    } catch (error) {
      onError(error as Error);
    }
  });
}

function why(error: unknown): string {
  switch (codeOf(error)) {
    case 'ENOENT':
      return 'the folder does not exist (RuntimeDirectory= in the unit makes one below /run)';
    case 'EACCES':
    case 'EPERM':
      return 'this user may not make a socket there';
    case 'EADDRINUSE':
      return 'another process listens there';
    default:
      return `cannot be opened (${codeOf(error)})`;
  }
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? (error as Error).name;
}
