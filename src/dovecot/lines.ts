// The lines of the Dovecot authentication protocol: a command and its parameters, separated by tabs, ended by LF. Knows
// bytes, no streams. https://doc.dovecot.org/developer_manual/design/auth_protocol/
import type { ByteQueue } from '../extauth/byte-queue.ts';

export interface Line {
  /** Command and parameters, not unescaped yet. Of a line that is too long, what stands at its beginning. */
  readonly fields: readonly string[];
  readonly tooLong: boolean;
}

/** A password of 64 KiB in base64 and names of 1 KiB. Dovecot itself stops at 16 KiB, its clients at 8 or 12. */
export const MAX_LINE = 96 * 1024;
/** Command, id and mechanism: what it takes to answer a line that is too long. */
const HEAD = 64;
const LF = 0x0a;

/** A reader of lines. Stateful: it remembers how far it has searched, and what it is dropping. */
export function createLineReader(): (queue: ByteQueue) => Line | undefined {
  let searched = 0;
  let head: string | undefined;
  return (queue) => {
    const end = queue.indexOf(LF, searched);
    if (end === -1) {
      searched = queue.length;
      if (searched > MAX_LINE) {
        head ??= queue.peek(HEAD).toString('utf8');
        queue.skip(searched);
        searched = 0;
      }
      return undefined;
    }
    searched = 0;
    if (head === undefined && end <= MAX_LINE) {
      const fields = queue.peek(end).toString('utf8').split('\t');
      queue.skip(end + 1);
      return { fields, tooLong: false };
    }
    const fields = (head ?? queue.peek(HEAD).toString('utf8')).split('\t');
    head = undefined;
    queue.skip(end + 1);
    return { fields, tooLong: true };
  };
}

const ESCAPED: Readonly<Record<string, string>> = {
  '\0': '\x010',
  '\x01': '\x011',
  '\t': '\x01t',
  '\r': '\x01r',
  '\n': '\x01n',
};
const UNESCAPED: Readonly<Record<string, string>> = { 0: '\0', 1: '\x01', t: '\t', r: '\r', n: '\n' };

/** A value as it may stand between tabs. */
export function escapeValue(value: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what the protocol escapes
  return value.replace(/[\0\x01\t\r\n]/g, (character) => ESCAPED[character] ?? '');
}

/** Anything else behind the escape character stands for itself. */
export function unescapeValue(value: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: 0x01 is the protocol's escape character
  return value.replace(/\x01(.?)/gs, (_, character: string) => UNESCAPED[character] ?? character);
}
