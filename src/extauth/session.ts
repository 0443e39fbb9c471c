// One extauth conversation over a pipe or socket: bytes in, answers out, strictly one at a time and in order.
// Serial on purpose: ejabberd sends the next request only after the answer to the last one.
import { ByteQueue } from './byte-queue.ts';
import { type Codec, createLines, detect, frames, type Reply } from './codec.ts';
import { type Command, parseCommand } from './command.ts';

export interface Request {
  /** When its first byte came. */
  readonly arrivedAt: number;
  readonly format: Codec['format'];
  /** It is malformed, and asks for a password change all the same. */
  readonly isSetpass: boolean;
}

/** Answers one request; `undefined` stands for bytes that are no request. Never throws, never rejects. */
export type Answer = (command: Command | undefined, request: Request) => Reply | Promise<Reply>;

export interface SessionOptions {
  readonly answer: Answer;
  readonly protocol: 'auto' | 'ejabberd' | 'generic';
  readonly write: (bytes: Buffer) => void;
  /** Stops and restarts the flow of input: a peer that pipelines must not fill the memory. */
  readonly pause: () => void;
  readonly resume: () => void;
  /** Gives the stream up, without an answer. */
  readonly close: () => void;
  /** Milliseconds of a monotonic clock. */
  readonly now: () => number;
}

export interface Session {
  /** More input. The chunk is copied. */
  feed(chunk: Uint8Array): void;
  /** Resolves when everything that was read completely has been answered. */
  idle(): Promise<void>;
}

export interface StreamSession extends Session {
  /** Nobody listens any more: no other request is begun. Resolves when none is being judged, either. */
  stop(): Promise<void>;
  /** When the first byte of a request came that is not all here; `undefined` when there is none. */
  unfinishedSince(): number | undefined;
}

/** Input that waits while one request is being judged; one frame is at most 64 KiB + 2. */
const HIGH_WATER = 256 * 1024;

/** ejabberd gives up, and closes the pipe, 30 s after it asked (extauth.erl, CALL_TIMEOUT): nobody waits for a later answer. */
const SERVER_TIMEOUT = 30_000;

/**
 * Requests answered in one go, and milliseconds spent on them, before others have their turn: who floods a daemon harms
 * nobody else. A malformed one takes microseconds, a signature 0.1 ms.
 */
const BATCH = 128;
const TURN = 0.2;

/** A session that reads frames or lines, whichever the first bytes speak. */
export function createSession(options: SessionOptions): StreamSession {
  const { answer, write, pause, resume, close, now } = options;
  const queue = new ByteQueue();
  let codec: Codec | undefined =
    options.protocol === 'ejabberd' ? frames : options.protocol === 'generic' ? createLines() : undefined;
  let busy = false;
  let paused = false;
  let closed = false;
  let rest = 0;
  let turnEndsAt = 0;
  let replies: Buffer[] = [];
  let onIdle: (() => void)[] = [];

  /** What could be answered at once leaves in one write, however many requests came in one read. */
  function flush(): void {
    if (replies.length === 0) return;
    const bytes = replies.length === 1 && replies[0] !== undefined ? replies[0] : Buffer.concat(replies);
    replies = [];
    write(bytes);
  }

  function reply(spoken: Codec, reply: Reply, askedAt: number): void {
    if (now() - askedAt > SERVER_TIMEOUT) {
      closed = true;
      close();
    } else {
      replies.push(spoken.replies[reply]);
    }
  }

  function pump(): void {
    codec ??= detect(queue);
    while (codec !== undefined && !busy && !closed && queue.length > 0) {
      const askedAt = now();
      if (rest-- === 0 || askedAt > turnEndsAt) {
        takeTurns();
        break;
      }
      const spoken = codec;
      const { arrivedAt } = queue;
      const request = spoken.next(queue);
      if (request === undefined) break;
      const command = request === 'oversize' ? undefined : parseCommand(request);
      const isSetpass =
        command === undefined && request !== 'oversize' && request.toString('latin1', 0, 8) === 'setpass:';
      const answered = answer(command, { arrivedAt, format: spoken.format, isSetpass });
      if (typeof answered === 'string') {
        reply(spoken, answered, askedAt);
        continue;
      }
      busy = true;
      void answered.then((late) => {
        busy = false;
        reply(spoken, late, askedAt);
        pump();
      });
    }
    flush();
    if (paused && queue.length < HIGH_WATER) {
      paused = false;
      resume();
    }
    if (!busy) {
      for (const resolve of onIdle) resolve();
      onIdle = [];
    }
  }

  function idle(): Promise<void> {
    return busy ? new Promise((resolve) => onIdle.push(resolve)) : Promise.resolve();
  }

  /** Not with each answer that has come late: what resolves without waiting for anything gives nobody else a turn. */
  function beginTurn(at: number): void {
    rest = BATCH;
    turnEndsAt = at + TURN;
    pump();
  }

  function takeTurns(): void {
    busy = true;
    pause();
    setImmediate(() => {
      busy = false;
      beginTurn(now());
      resume();
    });
  }

  return {
    feed(chunk) {
      if (closed) return;
      const at = now();
      queue.push(chunk, at);
      if (!paused && queue.length >= HIGH_WATER) {
        paused = true;
        pause();
      }
      if (!busy) beginTurn(at);
    },
    stop() {
      closed = true;
      return idle();
    },
    unfinishedSince: () => (busy || queue.length === 0 ? undefined : queue.arrivedAt),
    idle,
  };
}
