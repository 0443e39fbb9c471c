// Opening the sockets that others connect to: a Unix socket that nobody can reach before its permissions are right, a port
// of the loopback interface, or what systemd has opened for us.
import { chmodSync, chownSync, lstatSync, unlinkSync } from 'node:fs';
import { createConnection, type Server } from 'node:net';
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

/** Connections that the kernel holds for us; it has a limit of its own (net.core.somaxconn). */
const BACKLOG = 4096;

/**
 * Makes `server` listen where the options say. `passed`: descriptors of listening sockets that systemd has opened, by
 * name. Throws a ListenError. Returns how the socket is taken away again.
 */
export async function open(
  server: Server,
  options: SocketOptions,
  passed: ReadonlyMap<string, number>,
): Promise<() => void> {
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
    return () => {};
  }
  if (path !== undefined) return openPath(server, path, options);
  if (address !== undefined) {
    await listening(server, options, () => server.listen({ ...address, backlog: BACKLOG, exclusive: true }));
    return () => {};
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

async function openPath(server: Server, path: string, options: SocketOptions): Promise<() => void> {
  await removeStale(path);
  // The socket is made by listen() itself, before it returns: until group and mode are right, it is ours alone.
  const umask = process.umask(0o177);
  const opened = listening(server, options, () => server.listen({ path, backlog: BACKLOG, exclusive: true }));
  process.umask(umask);
  await opened;
  try {
    permit(path, options);
  } catch (error) {
    server.close();
    throw error;
  }
  const mine = lstatSync(path).ino;
  return () => {
    try {
      // Another daemon may have put its own there.
      if (lstatSync(path).ino === mine) unlinkSync(path);
    } catch {
      // Gone already.
    }
  };
}

/** Gives the socket at `path` its group and its mode. Throws a ListenError. */
export function permit(path: string, { group, mode }: SocketOptions): void {
  try {
    if (group !== undefined) chownSync(path, -1, groupOf(group));
    chmodSync(path, mode);
  } catch (error) {
    if (error instanceof ListenError) throw error;
    throw new ListenError(
      `${path}: mode and group ${group} cannot be given (${codeOf(error)}): the user of this program must be in the group`,
    );
  }
}

function groupOf(group: string | number): number {
  try {
    return numberOf('group', group);
  } catch (error) {
    throw new ListenError((error as Error).message);
  }
}

/** Removes a socket that a process has left behind; never one that somebody listens at, nor anything but a socket. */
async function removeStale(path: string): Promise<void> {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isSocket())
    throw new ListenError(`${path} is there and no socket: remove it, or choose another path`);
  const refused = await new Promise<boolean>((resolve) => {
    const probe = createConnection(path);
    probe.on('connect', () => {
      probe.destroy();
      resolve(false);
    });
    probe.on('error', (error: NodeJS.ErrnoException) => resolve(error.code === 'ECONNREFUSED'));
  });
  if (!refused) throw new ListenError(`${path}: another process listens there`);
  unlinkSync(path);
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

function why(error: Error): string {
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
