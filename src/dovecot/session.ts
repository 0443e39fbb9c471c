// One conversation of the Dovecot authentication client protocol, server side: lines in, lines out, many logins at a time,
// each known by its id. https://doc.dovecot.org/developer_manual/design/auth_protocol/
//
// The one rule that matters: each AUTH and each CONT is answered by exactly one line, and nothing else is ever said. A
// client like Prosody's takes the next line for the answer to its last question, whatever that was.
import { ByteQueue } from '../extauth/byte-queue.ts';
import { createLineReader, type Line, unescapeValue } from './lines.ts';
import { FAULTS, failed, type SaslFault, type SaslOutcome, succeeded } from './outcome.ts';
import { isMechanism, type Mechanism, parseMessage, type SaslMessage } from './sasl.ts';

export interface SaslRequest {
  readonly message: SaslMessage;
  /** What the client calls the service that somebody logs in to: `xmpp`, `smtp`, or a virtual host. */
  readonly service: string;
  /** When the first byte of the line came. */
  readonly arrivedAt: number;
}

/** Judges one login. Never throws, never rejects. */
export type SaslAnswer = (request: SaslRequest) => SaslOutcome | Promise<SaslOutcome>;

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
/** Logins judged at a time, and those that wait for the client's next message. Prosody has one, Postfix one a process. */
const MAX_JUDGING = 256;
const MAX_WAITING = 256;
/** Bytes of what those may have said together: a password of 64 KiB costs a multiple of itself while it is judged. */
const MAX_JUDGED = 4 * 1024 * 1024;
/**
 * Lines read, and milliseconds spent on them, before others have their turn: a client that floods us harms itself alone.
 * A malformed one takes microseconds, a signature 0.1 ms.
 */
const BATCH = 64;
const TURN = 0.2;
/** Commands that there are not, before we believe that this is no client of the protocol. */
const MAX_NONSENSE = 16;

/** A login that waits for its client: for the first message, or for the acknowledgement of a refusal. */
type Waiting =
  | { readonly for: 'message'; readonly mechanism: Mechanism; readonly service: string }
  | { readonly for: 'acknowledgement'; readonly failure: string };

interface Judged {
  readonly mechanism: Mechanism;
  readonly service: string;
  readonly encoded: string;
  readonly arrivedAt: number;
}

/**
 * An empty message, as XMPP writes it (RFC 6120 section 6.4.2). Prosody's module passes it on when the client has sent
 * none, and must get it back: an empty field makes the module fail. Postfix leaves the whole parameter out.
 */
const EMPTY = '=';

/** Says hello at once: clients wait for that, and some say nothing before. */
export function createDovecotSession(options: DovecotOptions): DovecotSession {
  const { answer, mechanisms, write, pause, resume, close, onFault, now, ids } = options;
  const queue = new ByteQueue();
  const nextLine = createLineReader();
  const waiting = new Map<string, Waiting>();
  const judging = new Map<string, symbol>();
  /** Those and what was cancelled: it takes as much of us and of the provider until it ends. */
  let underWay = 0;
  let said = 0;
  const openedAt = now();
  let greeted = false;
  let closed = false;
  let replies = '';
  let reading = false;
  /** Others have their turn, and there are lines that were not read yet. */
  let behind = false;
  let nonsense = 0;
  let waiters: { readonly isOver: () => boolean; readonly resolve: () => void }[] = [];

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
    judging.clear();
    waiting.clear();
    settle();
  }

  // Each of these gives the one line that answers, or `undefined` where it comes later, or never has to.

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
    if (command === 'CANCEL') return cancel(id);
    // An answer to the one would be taken for an answer to the other.
    if (judging.has(id)) return giveUp('two requests have one number');
    if (tooLong) {
      waiting.delete(id);
      return faulty(id, 'malformed', arrivedAt);
    }
    return command === 'AUTH' ? begin(id, rest, arrivedAt) : proceed(id, rest[0] ?? '', arrivedAt);
  }

  /** AUTH id mechanism [parameter...] [resp=base64]. */
  function begin(
    id: string,
    [mechanism = '', ...parameters]: readonly string[],
    arrivedAt: number,
  ): string | undefined {
    waiting.delete(id);
    if (!isMechanism(mechanism) || !mechanisms().includes(mechanism))
      return faulty(id, 'mechanism', arrivedAt);
    const of = (name: string): string | undefined =>
      parameters.find((parameter) => parameter.startsWith(`${name}=`))?.slice(name.length + 1);
    const service = unescapeValue(of('service') ?? '');
    const initial = of('resp');
    if (initial === undefined || initial === '' || initial === EMPTY) {
      wait(id, { for: 'message', mechanism, service });
      return `CONT\t${id}\t${initial === undefined ? '' : EMPTY}`;
    }
    return judge(id, { mechanism, service, encoded: initial, arrivedAt });
  }

  function proceed(id: string, encoded: string, arrivedAt: number): string | undefined {
    const login = waiting.get(id);
    waiting.delete(id);
    switch (login?.for) {
      case undefined:
        return faulty(id, 'malformed', arrivedAt);
      case 'acknowledgement':
        return login.failure;
      case 'message':
        return judge(id, { mechanism: login.mechanism, service: login.service, encoded, arrivedAt });
    }
  }

  function cancel(id: string): undefined {
    waiting.delete(id);
    // What it comes to is not said any more.
    judging.delete(id);
    settle();
  }

  function faulty(id: string, fault: SaslFault, arrivedAt: number): string {
    onFault(fault, arrivedAt);
    return failed(id, FAULTS[fault]);
  }

  function wait(id: string, login: Waiting): void {
    // A user who has lost interest need not be cancelled. Nothing is said about the oldest: nobody would understand it.
    const [oldest] = waiting.keys();
    if (waiting.size >= MAX_WAITING && oldest !== undefined) waiting.delete(oldest);
    waiting.set(id, login);
  }

  function judge(id: string, { mechanism, service, encoded, arrivedAt }: Judged): string | undefined {
    const bytes = decodeBase64(encoded);
    const message = bytes === undefined ? undefined : parseMessage(mechanism, bytes);
    if (message === undefined) return faulty(id, 'malformed', arrivedAt);
    if (underWay >= MAX_JUDGING || said + encoded.length > MAX_JUDGED) return faulty(id, 'busy', arrivedAt);
    const outcome = answer({ message, service, arrivedAt });
    if (!(outcome instanceof Promise)) return conclude(id, outcome);
    const ticket = Symbol(id);
    judging.set(id, ticket);
    underWay++;
    said += encoded.length;
    void outcome.then((late) => {
      underWay--;
      said -= encoded.length;
      // Else it was cancelled, or given up; the number may be another login's by now.
      if (judging.get(id) === ticket) {
        judging.delete(id);
        say(conclude(id, late));
        if (!reading) flush();
      }
      settle();
    });
    return undefined;
  }

  function conclude(id: string, outcome: SaslOutcome): string {
    switch (outcome.outcome) {
      case 'accepted':
        return succeeded(id, outcome.user);
      case 'unavailable':
        return failed(id, { user: outcome.user, reason: outcome.reason, code: 'temp_fail' });
      case 'refused': {
        const { challenge, ...parameters } = outcome;
        const failure = failed(id, parameters);
        if (challenge === undefined) return failure;
        wait(id, { for: 'acknowledgement', failure });
        return `CONT\t${id}\t${Buffer.from(challenge).toString('base64')}`;
      }
    }
  }

  function isIdle(): boolean {
    return judging.size === 0 && !behind;
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
      return until(() => underWay === 0);
    },
    unfinishedSince: () => (queue.length > 0 ? queue.arrivedAt : greeted ? undefined : openedAt),
  };
}

/**
 * Strict. Buffer takes anything for base64: it leaves out what does not belong there, so that less comes out, and takes
 * the other alphabet's characters. To look for that is three times as fast as to match every character.
 */
function decodeBase64(text: string): Buffer | undefined {
  if (text === '' || text.length % 4 !== 0 || text.includes('-') || text.includes('_')) return undefined;
  const padding = text.endsWith('==') ? 2 : text.endsWith('=') ? 1 : 0;
  const bytes = Buffer.from(text, 'base64');
  return bytes.length === (text.length / 4) * 3 - padding ? bytes : undefined;
}
