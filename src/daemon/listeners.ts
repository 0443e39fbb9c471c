// All the sockets of the daemon: opened, changed and closed as the configuration says, and the connections over them.
import { createServer, type Server, type Socket } from 'node:net';
import type { SocketOptions } from '../config/listen.ts';
import type { Mechanism } from '../dovecot/sasl.ts';
import { numberOf } from './accounts.ts';
import type { Connection } from './connection.ts';
import type { Libc, Peer } from './libc.ts';
import { ListenError, nameOf, type Opened, open } from './sockets.ts';

/** A socket and what is spoken over it. */
export interface Served extends SocketOptions {
  readonly protocol: 'extauth' | 'dovecot' | 'metrics';
  /** For dovecot: the virtual host, and what is announced in place of all mechanisms. */
  readonly host?: string | undefined;
  readonly mechanisms?: readonly Mechanism[] | undefined;
}

export interface ListenersOptions {
  /** Speaks with who has connected. `onClose` when the connection is gone. */
  readonly accept: (socket: Socket, listener: Listener, onClose: () => void) => Connection;
  /** Somebody was not let in. */
  readonly onTurnedAway: (listener: Listener, why: string, peer?: Peer) => void;
  /** Listening sockets that systemd has opened, by name. */
  readonly passed: ReadonlyMap<string, number>;
  readonly loadLibc: () => Promise<Libc>;
  readonly now: () => number;
}

export interface Listener {
  readonly name: string;
  /** As the configuration has them now. */
  options(): Served;
  readonly connections: ReadonlySet<Connection>;
}

export interface Listeners {
  /**
   * Opens what is new, closes what is gone, and changes the rest in place. Throws a ListenError and nothing else, when it
   * has done all it can; what is open stays.
   */
  apply(listen: readonly Served[]): Promise<void>;
  list(): readonly Listener[];
  /** Names of what systemd has opened, and nobody serves: who connects there waits for ever. */
  unserved(): readonly string[];
  /** Stops listening, and resolves when all connections have had their last answers. */
  close(): Promise<void>;
}

interface Entry extends Listener {
  readonly server: Server;
  current: Served;
  allowed: Allowed | undefined;
  opened: Opened | undefined;
  connections: Set<Connection>;
}

/** Who may connect; `undefined` in place of it: whoever the permissions of the socket let in. */
interface Allowed {
  readonly libc: Libc;
  readonly uids: readonly number[];
  readonly gids: readonly number[];
}

/** How often connections are looked at that may have been left hanging. */
const LOOK_EVERY = 5000;

export function createListeners(options: ListenersOptions): Listeners {
  const { accept, onTurnedAway, loadLibc, now } = options;
  /** Each is closed with its listener, and the number may be somebody's connection from then on. */
  const passed = new Map(options.passed);
  const entries = new Map<string, Entry>();
  /** What was taken out of the configuration, and has logins to answer yet. */
  const leaving = new Set<Entry>();
  const timer = setInterval(() => {
    for (const { connections } of [...entries.values(), ...leaving])
      for (const connection of connections) connection.expire(now());
  }, LOOK_EVERY);
  timer.unref();

  async function apply(listen: readonly Served[]): Promise<void> {
    const wanted = new Map(listen.map((each) => [keyOf(each), each]));
    const gone = [...entries].filter(([key]) => !wanted.has(key));
    const problems: string[] = [];
    for (const [key, each] of wanted) {
      try {
        for (const [other, entry] of gone) if (inTheWay(entry.current, each)) retire(other, entry);
        await applyTo(key, each);
      } catch (error) {
        // The others are none the worse for it.
        const { name, code = name, message } = error as NodeJS.ErrnoException;
        problems.push(
          error instanceof ListenError ? message : `${nameOf(each)}: cannot be opened or changed (${code})`,
        );
      }
    }
    if (problems.length > 0) throw new ListenError(problems.join('; '));
    // Last: a new socket that cannot be opened must not cost the old one.
    for (const [key, entry] of gone) retire(key, entry);
  }

  function retire(key: string, entry: Entry): void {
    if (!entries.delete(key)) return;
    leaving.add(entry);
    void closeEntry(entry).then(() => leaving.delete(entry));
  }

  async function applyTo(key: string, each: Served): Promise<void> {
    const allowed = await allowedBy(each);
    const entry = entries.get(key);
    if (entry === undefined) {
      entries.set(key, await openEntry(each, allowed));
      return;
    }
    entry.current = each;
    entry.allowed = allowed;
    await entry.opened?.permit(each);
  }

  async function openEntry(current: Served, allowed: Allowed | undefined): Promise<Entry> {
    const server = createServer({ allowHalfOpen: true, pauseOnConnect: true });
    const entry: Entry = {
      name: nameOf(current),
      options: () => entry.current,
      server,
      current,
      allowed,
      opened: undefined,
      connections: new Set(),
    };
    server.on('connection', (socket) => welcome(socket, entry));
    const { name } = current;
    if (name !== undefined && options.passed.has(name) && !passed.has(name))
      throw new ListenError(`systemd's ${name} was given back before: start again to have it again`);
    entry.opened = await open(server, current, passed);
    if (name !== undefined) passed.delete(name);
    // Out of descriptors, say: who has connected already stays.
    server.on('error', (error: NodeJS.ErrnoException) =>
      onTurnedAway(entry, `it cannot be accepted (${error.code ?? error.name})`),
    );
    return entry;
  }

  function welcome(socket: Socket, entry: Entry): void {
    const turnAway = (why: string, peer?: Peer): void => {
      socket.on('error', () => {});
      socket.destroy();
      onTurnedAway(entry, why, peer);
    };
    if (entry.connections.size >= entry.current.max_connections)
      return void turnAway('there are too many connections (max_connections)');
    if (entry.allowed !== undefined) {
      const peer = peerOf(socket, entry.allowed.libc);
      if (peer === undefined) return void turnAway('the kernel does not say who it is');
      if (!isAllowed(peer, entry.allowed))
        return void turnAway('it is nobody of allow_uids or allow_gids', peer);
    }
    const connection = accept(socket, entry, () => entry.connections.delete(connection));
    entry.connections.add(connection);
    socket.resume();
  }

  async function allowedBy({ allow_uids, allow_gids }: SocketOptions): Promise<Allowed | undefined> {
    if (allow_uids === undefined && allow_gids === undefined) return undefined;
    try {
      return {
        libc: await loadLibc(),
        uids: await Promise.all((allow_uids ?? []).map((name) => numberOf('user', name))),
        gids: await Promise.all((allow_gids ?? []).map((name) => numberOf('group', name))),
      };
    } catch (error) {
      throw new ListenError(`allow_uids and allow_gids cannot be kept: ${(error as Error).message}`);
    }
  }

  async function closeEntry({ server, opened, connections }: Entry): Promise<void> {
    server.close();
    opened?.remove();
    await Promise.all([...connections].map((connection) => connection.end()));
  }

  return {
    apply,
    list: () => [...entries.values()],
    unserved() {
      const served = new Set([...entries.values()].map(({ current }) => current.name));
      return [...options.passed.keys()].filter((name) => !served.has(name));
    },
    async close() {
      await Promise.all([...entries.values(), ...leaving].map(closeEntry));
    },
  };
}

/** What it takes a new socket to change. The rest holds for the next connection, and the next login. */
function keyOf({ path, address, name, protocol }: Served): string {
  return JSON.stringify([path, address, name, protocol]);
}

/** Of two that listen at the same place, the first must go before the second can come. */
function inTheWay(there: Served, coming: Served): boolean {
  return (['path', 'address', 'name'] as const).some(
    (key) => coming[key] !== undefined && JSON.stringify(there[key]) === JSON.stringify(coming[key]),
  );
}

function isAllowed({ uid, gids }: Peer, allowed: Allowed): boolean {
  return allowed.uids.includes(uid) || gids.some((gid) => allowed.gids.includes(gid));
}

function peerOf(socket: Socket, libc: Libc): Peer | undefined {
  try {
    // Not documented, and there in every version of Node.
    const { fd } = (socket as unknown as { _handle: { fd: number } })._handle;
    return libc.peerOf(fd);
  } catch {
    return undefined;
  }
}
