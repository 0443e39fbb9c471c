// The two wire formats of extauth. Knows bytes, no streams.
//
// frames (ejabberd, MongooseIM): 16 bit length, unsigned, big endian, then that many bytes of request; the answer is
//   00 02 00 01 for yes and 00 02 00 00 for no. A frame of length 0 is a request, too, and is answered no.
// lines (Prosody "generic"): one request a line, ended by LF or CR LF; the answer is "1\n" or "0\n".
//
// The one rule that matters: every request is answered exactly once and in order, the other side is blocked on it.
import type { ByteQueue } from './byte-queue.ts';

export type Reply = 'yes' | 'no' | 'error';

export interface Codec {
  readonly format: 'frames' | 'lines';
  /** The next whole request, taken off the queue: its bytes (a view, good until the next push), or `undefined` when it is not all here. */
  next(queue: ByteQueue): Buffer | 'oversize' | undefined;
  readonly replies: Readonly<Record<Reply, Buffer>>;
}

export const frames: Codec = {
  format: 'frames',
  next(queue) {
    if (queue.length < 2) return undefined;
    const length = queue.byteAt(0) * 256 + queue.byteAt(1);
    if (queue.length < 2 + length) return undefined;
    const request = queue.peek(2 + length).subarray(2);
    queue.skip(2 + length);
    return request;
  },
  replies: {
    yes: Buffer.from([0, 2, 0, 1]),
    no: Buffer.from([0, 2, 0, 0]),
    // Neither true nor false: ejabberd logs it and fails the call, where a plain 0 would count as success (setpass).
    error: Buffer.from([0, 2, 0, 2]),
  },
};

/** More than any request that a server can make; a longer line is dropped while it comes and answered no. */
const MAX_LINE = 80 * 1024;
const LF = 0x0a;
const CR = 0x0d;

/** A codec for lines. Stateful: it remembers how far it has searched and whether it is dropping an oversized line. */
export function createLines(): Codec {
  let searched = 0;
  let dropping = false;
  return {
    format: 'lines',
    next(queue) {
      const end = queue.indexOf(LF, searched);
      if (end === -1) {
        searched = queue.length;
        if (searched > MAX_LINE) {
          queue.skip(searched);
          searched = 0;
          dropping = true;
        }
        return undefined;
      }
      searched = 0;
      const line = queue.peek(end);
      queue.skip(end + 1);
      if (dropping || end > MAX_LINE) {
        dropping = false;
        return 'oversize';
      }
      return line.at(-1) === CR ? line.subarray(0, -1) : line;
    },
    replies: { yes: Buffer.from('1\n'), no: Buffer.from('0\n'), error: Buffer.from('0\n') },
  };
}

const COMMANDS = ['auth:', 'isuser:', 'setpass:', 'tryregister:', 'removeuser:', 'removeuser3:', 'certauth:'];

/**
 * Lines when the first bytes are a known command and a colon, frames otherwise; `undefined` while both are possible.
 * The first byte alone does not decide: a first frame of 25 to 31 KB begins with a letter.
 */
export function detect(queue: ByteQueue): Codec | undefined {
  const start = queue.peek(12).toString('latin1');
  if (COMMANDS.some((command) => start.startsWith(command))) return createLines();
  return COMMANDS.some((command) => command.startsWith(start)) ? undefined : frames;
}
