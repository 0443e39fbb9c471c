// The terminal guard. Prosody's mod_auth_external starts its program on a pseudo-terminal, sends a line and takes
// whatever comes back next for the answer, whoever it was meant for: echoed input, a late answer, an answer too many.
// So on a terminal silence is always safe and a spare byte never is. Every rule here drops something rather than risk it:
// - a fresh terminal echoed what was sent before it was raw: what is already there when we start is swallowed;
// - more than one line in one read, or input while a request is being judged, is an injection or a backlog: no answer to any;
// - an answer that would come after the reader has given up is not written.

import { ByteQueue } from './byte-queue.ts';
import { createLines, type Reply } from './codec.ts';
import { type Command, parseCommand } from './command.ts';
import type { Answer, Session } from './session.ts';

export interface TerminalOptions {
  readonly answer: Answer;
  readonly write: (bytes: Buffer) => void;
  /** Milliseconds since this process was started. */
  readonly now: () => number;
  /** The terminal was not raw before the wrapper made it so: nobody has answered on it yet. */
  readonly fresh: boolean;
  /** Prosody's `external_auth_timeout` in milliseconds, less a margin: no answer is written later than this. */
  readonly readerTimeout?: number;
  /** Somebody who sits at the terminal has typed ^C or ^D, which are bytes like any other where it is raw. */
  readonly onInterrupt?: () => void;
}

/** `external_auth_timeout` is 5 s by default; the margin covers the way through both processes. */
const READER_TIMEOUT = 4700;

/** How long a fresh terminal must be silent before what comes next is taken for a new query. */
const QUIET_AFTER_SWALLOW = 20;

/**
 * Only `setpass` can carry a newline of the user's making (Prosody's SASL refuses control characters in a login). What
 * was injected behind it may come in a read of its own: wait this long for it before answering. `setpass` is rare.
 */
const INJECTION_GRACE = 50;

/** How closely it is watched whether this process stands still. */
const PULSE = 100;

const LF = 0x0a;
const CTRL_C = 0x03;
const CTRL_D = 0x04;

/** A session on a terminal. `feed` must be called once for each read, with all of it. */
export function createTerminalSession({
  answer,
  write,
  now,
  fresh,
  readerTimeout = READER_TIMEOUT,
  onInterrupt = () => {},
}: TerminalOptions): Session {
  // A query may have waited as long as this process stood still: stopped, swapped out, or not started yet. It counts as
  // having come when the process was last seen running; 0 on this clock is when the process was started.
  let lastSeen = 0;
  let seenBefore = 0;
  setInterval(() => {
    seenBefore = lastSeen;
    lastSeen = now();
  }, PULSE).unref();
  let lines = createLines();
  const queue = new ByteQueue();
  let swallowing = fresh;
  let quietSince = 0;
  /** The rest of a dropped line is still to come. */
  let skipping = false;
  /** The request being judged; replaced or cleared, its answer is dropped. */
  let current: symbol | undefined;
  let onIdle: (() => void)[] = [];

  function drop(chunk: Uint8Array): void {
    current = undefined;
    queue.skip(queue.length);
    // It remembers how far it has looked in what is no longer there.
    lines = createLines();
    skipping = chunk.at(-1) !== LF;
  }

  function done(): void {
    for (const resolve of onIdle) resolve();
    onIdle = [];
  }

  async function judge(command: Command | undefined, arrivedAt: number): Promise<void> {
    const mine = Symbol('request');
    current = mine;
    const reply: Reply = await answer(command, { arrivedAt, format: 'lines', isSetpass: false });
    if (command?.op !== 'auth' && command?.op !== 'isuser') {
      await new Promise((resolve) => setTimeout(resolve, INJECTION_GRACE));
    }
    if (current !== mine) return;
    current = undefined;
    if (now() - arrivedAt < readerTimeout) write(lines.replies[reply]);
    done();
  }

  return {
    feed(chunk) {
      const at = now();
      if (swallowing) {
        // The first read, and whatever follows it at once: it was in the terminal before we were.
        if (quietSince === 0 || at - quietSince < QUIET_AFTER_SWALLOW) {
          quietSince = at;
          drop(chunk);
          return;
        }
        swallowing = false;
      }
      const idle = current === undefined && queue.length === 0 && !skipping;
      if (idle && chunk.length === 1 && (chunk[0] === CTRL_C || chunk[0] === CTRL_D)) return onInterrupt();
      const newline = chunk.indexOf(LF);
      if (skipping) {
        if (newline === -1) return;
        skipping = false;
        if (newline !== chunk.length - 1) drop(chunk);
        return;
      }
      if (current !== undefined || (newline !== -1 && newline !== chunk.length - 1)) {
        drop(chunk);
        done();
        return;
      }
      queue.push(chunk, seenBefore);
      const { arrivedAt } = queue;
      const line = lines.next(queue);
      if (line === undefined) return;
      void judge(line === 'oversize' ? undefined : parseCommand(line), arrivedAt);
    },
    idle: () => (current === undefined ? Promise.resolve() : new Promise((resolve) => onIdle.push(resolve))),
  };
}
