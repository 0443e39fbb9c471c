// One conversation of the Dovecot authentication client protocol, server side: lines in, lines out, many logins at a time,
// each known by its id. https://doc.dovecot.org/developer_manual/design/auth_protocol/
//
// The one rule that matters: each AUTH and each CONT is answered by exactly one line, and nothing else is ever said. A
// client like Prosody's takes the next line for the answer to its last question, whatever that was.
import { ByteQueue } from '../extauth/byte-queue.ts';
import { createLineReader, type Line } from './lines.ts';
import { createLogins, type SaslAnswer } from './logins.ts';
import type { SaslFault } from './outcome.ts';
import type { Mechanism } from './sasl.ts';

export interface DovecotOptions {
  readonly answer: SaslAnswer;
  /** What is announced, and nothing else is taken. */
  readonly mechanisms: () => readonly Mechanism[];
  readonly write: (bytes: string) => void;
  /** Stops and restarts the flow of input. */
  readonly pause: () => void;
  readonly resume: () => void;
  /** Gives the connection up: the other side speaks something else. */
  readonly close: (why: string) => void;
  readonly onFault: (fault: SaslFault, arrivedAt: number) => void;
  /** Milliseconds of a monotonic clock. */
  readonly now: () => number;
  /** What this connection is called: ours, and unguessable. */
  readonly ids: { readonly pid: number; readonly connection: number; readonly cookie: string };
}

export interface DovecotSession {
  /** More input. The chunk is copied. */
  feed(chunk: Uint8Array): void;
  /** Resolves when every line that has come has been read, and every login that somebody waits for has been answered. */
  idle(): Promise<void>;
  /** Nobody listens any more: nothing else is begun. Resolves when nothing is being judged, either. */
  stop(): Promise<void>;
  /** When the first byte of a line came that is not all here, or of the greeting; `undefined` when nothing is missing. */
  unfinishedSince(): number | undefined;
}

/** 1.2 is what Dovecot 2.3 speaks; clients only look at the first number. */
const VERSION = { major: '1', minor: '2' };
/**
 * Lines read, and milliseconds spent on them, before others have their turn: a client that floods us harms itself alone.
 * A malformed one takes microseconds, a signature 0.1 ms.
 */
const BATCH = 64;
const TURN = 0.2;
/** Commands that there are not, before we believe that this is no client of the protocol. */
const MAX_NONSENSE = 16;

/** Says hello at once: clients wait for that, and some say nothing before. */
export function createDovecotSession(options: DovecotOptions): DovecotSession {
  const { answer, mechanisms, write, pause, resume, close, onFault, now, ids } = options;
  const queue = new ByteQueue();
  const nextLine = createLineReader();
  const openedAt = now();
  let greeted = false;
  let closed = false;
  let replies = '';
  let reading = false;
  /** Others have their turn, and there are lines that were not read yet. */
  let behind = false;
  let nonsense = 0;
  let waiters: { readonly isOver: () => boolean; readonly resolve: () => void }[] = [];

  const logins = createLogins({
    answer,
    mechanisms,
    onFault,
    onLate(line) {
      say(line);
      if (!reading) flush();
      settle();
    },
  });

  say(`VERSION\t${VERSION.major}\t${VERSION.minor}`);
  // Who listens in learns the secret: clients keep such mechanisms off connections that are not encrypted.
  for (const mechanism of mechanisms()) say(`MECH\t${mechanism}\tplaintext`);
  say(`SPID\t${ids.pid}`);
  say(`CUID\t${ids.connection}`);
  say(`COOKIE\t${ids.cookie}`);
  say('DONE');
  flush();

  function say(line: string | undefined): void {
    if (line !== undefined && !closed) replies += `${line}\n`;
  }

  /** What could be answered at once leaves in one write, however many lines came in one read. */
  function flush(): void {
    if (replies === '') return;
    const lines = replies;
    replies = '';
    write(lines);
  }

  function giveUp(why: string): undefined {
    flush();
    forget();
    close(why);
  }

  function forget(): void {
    closed = true;
    logins.forget();
    settle();
  }

  /** The line that answers, or `undefined` where it comes later, or there is none. */
  function read({ fields, tooLong }: Line, arrivedAt: number): string | undefined {
    const [command = '', id = '', ...rest] = fields;
    if (!greeted) {
      // Whoever begins otherwise speaks another protocol: HTTP, say, that a web page has sent to a port of this machine.
      if (command !== 'VERSION') return giveUp('it does not begin with VERSION');
      if (id !== VERSION.major) return giveUp('it speaks another version of the protocol');
      greeted = true;
      return undefined;
    }
    if (command !== 'AUTH' && command !== 'CONT' && command !== 'CANCEL') {
      // A later version of the protocol may have more of them.
      return command !== 'CPID' && ++nonsense > MAX_NONSENSE
        ? giveUp('it says nothing of this protocol')
        : undefined;
    }
    // Without a number there is nothing that could be answered.
    if (!/^[0-9]{1,10}$/.test(id)) return giveUp('a request has no number');
    if (command === 'CANCEL') {
      logins.cancel(id);
      settle();
      return undefined;
    }
    // An answer to the one would be taken for an answer to the other.
    if (logins.isJudging(id)) return giveUp('two requests have one number');
    if (tooLong) return logins.refuse(id, arrivedAt);
    return command === 'AUTH'
      ? logins.begin(id, rest, arrivedAt)
      : logins.proceed(id, rest[0] ?? '', arrivedAt);
  }

  function isIdle(): boolean {
    return logins.awaited() === 0 && !behind;
  }

  function until(isOver: () => boolean): Promise<void> {
    return isOver() ? Promise.resolve() : new Promise((resolve) => waiters.push({ isOver, resolve }));
  }

  function settle(): void {
    const over = waiters.filter(({ isOver }) => isOver());
    if (over.length === 0) return;
    waiters = waiters.filter((each) => !over.includes(each));
    for (const { resolve } of over) resolve();
  }

  function readSome(): void {
    reading = true;
    const endsAt = now() + TURN;
    let rest = BATCH;
    for (; rest > 0 && !closed; rest = now() < endsAt ? rest - 1 : 0) {
      const { arrivedAt } = queue;
      const line = nextLine(queue);
      if (line === undefined) break;
      say(read(line, arrivedAt));
    }
    reading = false;
    flush();
    if (rest === 0 && !closed) takeTurns();
    else settle();
  }

  function takeTurns(): void {
    behind = true;
    pause();
    setImmediate(() => {
      behind = false;
      readSome();
      resume();
    });
  }

  return {
    feed(chunk) {
      if (closed) return;
      queue.push(chunk, now());
      if (!behind) readSome();
    },
    idle: () => until(isIdle),
    stop() {
      forget();
      return until(() => logins.underWay() === 0);
    },
    unfinishedSince: () => (queue.length > 0 ? queue.arrivedAt : greeted ? undefined : openedAt),
  };
}
