// The other end of a connection to the daemon: what socat or an XMPP server's own module would be.
import { createConnection, type Socket } from 'node:net';
import { frame } from './bridge.ts';

export interface Peer {
  readonly socket: Socket;
  send(bytes: Buffer | string): void;
  /** Resolves with the next `count` bytes; rejects when the connection ends before, or after `within` milliseconds. */
  receive(count: number, within?: number): Promise<Buffer>;
  /** The next line, without its LF. */
  line(within?: number): Promise<string>;
  /** Sends one frame and resolves with the answer. */
  ask(request: string | Buffer, within?: number): Promise<number>;
  /** Has no more to say, and still listens. */
  end(): void;
  /** Goes at once. */
  leave(): void;
  /** Resolves, when the connection is closed, with what nobody has received. */
  readonly closed: Promise<Buffer>;
}

/** `place`: a path, or a port of the loopback interface as `127.0.0.1:1234` or `[::1]:1234`. */
export function connectTo(place: string): Socket {
  const [, host = '', port = ''] = /^\[?([\d.]+|::1)\]?:(\d+)$/.exec(place) ?? [];
  const socket =
    port === ''
      ? createConnection({ path: place, allowHalfOpen: true })
      : createConnection({ host, port: Number(port), allowHalfOpen: true });
  return socket;
}

export function connectPeer(place: string): Peer {
  const socket = connectTo(place);
  let bytes = Buffer.alloc(0);
  let gone = false;
  let wake = (): void => {};
  socket.on('data', (chunk: Buffer) => {
    bytes = Buffer.concat([bytes, chunk]);
    wake();
  });
  socket.on('error', () => {});
  socket.on('end', () => {
    gone = true;
    wake();
    socket.end();
  });
  const closed = new Promise<Buffer>((resolve) => {
    socket.on('close', () => {
      gone = true;
      wake();
      resolve(bytes);
    });
  });

  async function until(isThere: () => boolean, within: number): Promise<void> {
    const deadline = Date.now() + within;
    while (!isThere()) {
      const left = deadline - Date.now();
      if (gone) throw new Error('the connection was closed');
      if (left <= 0) throw new Error(`nothing within ${within} ms`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  function take(count: number): Buffer {
    const taken = bytes.subarray(0, count);
    bytes = bytes.subarray(count);
    return taken;
  }

  async function receive(count: number, within = 5000): Promise<Buffer> {
    await until(() => bytes.length >= count, within);
    return take(count);
  }

  return {
    socket,
    closed,
    receive,
    send: (more) => void socket.write(more),
    async line(within = 5000) {
      await until(() => bytes.includes(10), within);
      return take(bytes.indexOf(10) + 1)
        .toString('utf8')
        .slice(0, -1);
    },
    async ask(request, within) {
      socket.write(frame(request));
      const answer = await receive(4, within);
      if (answer.readUInt16BE() !== 2) throw new Error(`odd answer ${answer.toString('hex')}`);
      return answer.readUInt16BE(2);
    },
    end: () => void socket.end(),
    leave: () => void socket.destroy(),
  };
}

/** What a client of the Dovecot protocol does first: hears the greeting, and says which version it speaks. */
export async function greet(peer: Peer): Promise<string[]> {
  const lines: string[] = [];
  do lines.push(await peer.line());
  while (lines.at(-1) !== 'DONE');
  peer.send('VERSION\t1\t1\nCPID\t1\n');
  return lines;
}

/** A PLAIN message as the parameter of a Dovecot request. */
export function plain(user: string, password: string): string {
  return Buffer.from(`\0${user}\0${password}`).toString('base64');
}
