// The logins of one conversation, each by its number: from the client's messages to the line that answers each.
import { unescapeValue } from './lines.ts';
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

export interface LoginsOptions {
  readonly answer: SaslAnswer;
  /** What is announced, and nothing else is taken. */
  readonly mechanisms: () => readonly Mechanism[];
  readonly onFault: (fault: SaslFault, arrivedAt: number) => void;
  /** A login has been judged: the line that answers it, or `undefined` when nobody waits for that any more. */
  readonly onLate: (line: string | undefined) => void;
}

/** Each message is answered by one line, which is given back at once or told by `onLate`. */
export interface Logins {
  /** AUTH id mechanism [parameter...] [resp=base64]. */
  begin(id: string, fields: readonly string[], arrivedAt: number): string | undefined;
  /** CONT id base64. */
  proceed(id: string, encoded: string, arrivedAt: number): string | undefined;
  /** What is too long to be a message. */
  refuse(id: string, arrivedAt: number): string;
  /** Nothing is said of it any more. */
  cancel(id: string): void;
  isJudging(id: string): boolean;
  /** Nothing is said of any of them any more. */
  forget(): void;
  /** Logins that are being judged, and somebody waits for. */
  awaited(): number;
  /** Those and what was cancelled or forgotten: it takes as much of us and of the provider until it ends. */
  underWay(): number;
}

/** Logins judged at a time, and those that wait for the client's next message. Prosody has one, Postfix one a process. */
const MAX_JUDGING = 256;
const MAX_WAITING = 256;
/** Bytes of what those may have said together: a password of 64 KiB costs a multiple of itself while it is judged. */
const MAX_JUDGED = 4 * 1024 * 1024;
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

export function createLogins({ answer, mechanisms, onFault, onLate }: LoginsOptions): Logins {
  const waiting = new Map<string, Waiting>();
  const judging = new Map<string, symbol>();
  let underWay = 0;
  let said = 0;

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
      // Else it was cancelled, or forgotten; the number may be another login's by now.
      if (judging.get(id) !== ticket) return onLate(undefined);
      judging.delete(id);
      onLate(conclude(id, late));
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

  return {
    begin,
    proceed,
    refuse(id, arrivedAt) {
      waiting.delete(id);
      return faulty(id, 'malformed', arrivedAt);
    },
    cancel(id) {
      waiting.delete(id);
      judging.delete(id);
    },
    isJudging: (id) => judging.has(id),
    forget() {
      waiting.clear();
      judging.clear();
    },
    awaited: () => judging.size,
    underWay: () => underWay,
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
