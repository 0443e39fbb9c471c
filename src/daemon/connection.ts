// One accepted connection: the socket's flow and end, whatever is spoken over it.
import type { Socket } from 'node:net';

/** What is spoken over a connection. */
export interface Conversation {
  feed(chunk: Uint8Array): void;
  /** Resolves when nothing is being judged. */
  idle(): Promise<void>;
  /** Nobody listens any more: nothing else is begun. Resolves when nothing is being judged, either. */
  stop(): Promise<void>;
  /** Since when something that has begun is not all here. */
  unfinishedSince(): number | undefined;
}

export interface Flow {
  write(bytes: Buffer | string): void;
  pause(): void;
  resume(): void;
  /** Gives the connection up; what was written still leaves. */
  close(): void;
}

export interface Connection {
  /** Answers what is being judged, and closes. */
  end(): Promise<void>;
  /** Closes at once what has begun to say something and does not go on, or does not take its answers. */
  expire(now: number): void;
}

/** Answers that the other side does not take; more is not asked for until it does. */
const MAX_UNTAKEN = 64 * 1024;
/** A read that was filled: there is more, and libuv would go on reading it, 32 times, before anybody else has a turn. */
const FULL_READ = 64 * 1024;
/** Who has sent half a request, or not taken its answers, for so long, will not any more. */
const PATIENCE = 30_000;

/** A web page may make its browser send this to a port of its own machine, with lines in it that are requests to us. */
const HTTP = /^[A-Z]{3,7} [/*h]/;

export interface ConnectionOptions {
  /** Is given the ways to answer, and gives the conversation. */
  readonly converse: (flow: Flow) => Conversation;
  readonly now: () => number;
  readonly onClose: () => void;
  /** It is hung up: what comes is nothing that is spoken here. */
  readonly onStranger: (why: string) => void;
}

export function createConnection(
  socket: Socket,
  { converse, now, onClose, onStranger }: ConnectionOptions,
): Connection {
  let holds = 0;
  let untakenSince: number | undefined;
  let ended = false;
  let isFirst = true;

  function hold(): void {
    if (holds++ === 0) socket.pause();
  }
  function release(): void {
    if (--holds === 0) socket.resume();
  }

  const conversation = converse({
    write(bytes) {
      if (!socket.writable) return;
      socket.write(bytes);
      if (untakenSince !== undefined || socket.writableLength <= MAX_UNTAKEN) return;
      untakenSince = now();
      hold();
      socket.once('drain', () => {
        untakenSince = undefined;
        release();
      });
    },
    pause: hold,
    resume: release,
    close: () => socket.end(() => socket.destroy()),
  });

  socket.on('data', (chunk: Buffer) => {
    if (isFirst && HTTP.test(chunk.toString('latin1', 0, 16))) {
      onStranger('it speaks HTTP');
      return void socket.destroy();
    }
    isFirst = false;
    if (!ended) conversation.feed(chunk);
    if (chunk.length < FULL_READ) return;
    hold();
    setImmediate(release);
  });
  // The other side has said all it wants to say, and may still wait for answers.
  socket.on('end', () => void finish());
  socket.on('error', () => socket.destroy());
  socket.on('close', () => {
    // Who comes and goes with a login each time has no more of them at a time than who stays.
    void conversation.stop().then(onClose);
  });

  async function finish(): Promise<void> {
    ended = true;
    await conversation.idle();
    socket.end(() => socket.destroy());
  }

  return {
    end: finish,
    expire(at) {
      const since = untakenSince ?? conversation.unfinishedSince();
      if (since !== undefined && at - since > PATIENCE) socket.destroy();
    },
  };
}
