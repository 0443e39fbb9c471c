// Names for what must not be named: HMAC-SHA-256 (RFC 2104) of a login's parts. Who reads such a name, in memory, in a file
// or in Redis, cannot even try passwords on it without the key.

/** Parts in, base64url of 32 bytes out. A part that is `undefined` is another than one that is empty. */
export type Digest = (...parts: (string | undefined)[]) => string;

const BLOCK = 64;
const HASH = 32;
/** Bytes of text at hand: a token of 16 KiB and the longest names. A longer text gets a buffer of its own. */
const TEXT = 64 * 1024;

/** `key`: at most 64 bytes. */
export function createDigest(key: Buffer): Digest {
  const { hash } = process.getBuiltinModule('node:crypto');
  // Two hashes in one shot each take half the time of an Hmac object.
  const inner = padded(key, 0x36, TEXT);
  const outer = padded(key, 0x5c, HASH);

  return (...parts) => {
    const digest = withText(inner, parts, (input) => hash('sha256', input, 'binary'));
    outer.write(digest, BLOCK, 'latin1');
    return hash('sha256', outer, 'base64url');
  };
}

/**
 * The same with a key of its own, half the work and bytes for text: SHA-256 of key and text. Who has seen such a name could make another of
 * it, so it must not leave the process.
 */
export function createOwnDigest(): Digest {
  let sha256: ((input: Buffer) => string) | undefined;
  let start: Buffer;
  return (...parts) => {
    if (sha256 === undefined) {
      // Not before it is needed: node:crypto takes as long to load as the rest of a first login.
      const { hash, randomBytes } = process.getBuiltinModule('node:crypto');
      sha256 = (input) => hash('sha256', input, 'binary');
      start = padded(randomBytes(HASH), 0, TEXT);
    }
    return withText(start, parts, sha256);
  };
}

/** What `use` makes of the block that `buffer` begins with, and the parts behind them. */
function withText(
  buffer: Buffer,
  parts: readonly (string | undefined)[],
  use: (input: Buffer) => string,
): string {
  const text = joined(parts);
  // UTF-8 has at most three bytes for each of our characters.
  const input = 3 * text.length <= TEXT ? buffer : Buffer.concat([buffer], BLOCK + 3 * text.length);
  const end = BLOCK + input.write(text, BLOCK);
  const digest = use(input.subarray(0, end));
  input.fill(0, BLOCK, end);
  return digest;
}

/** Every part with its length: no two lists run together to the same text. */
export function joined(parts: readonly (string | undefined)[]): string {
  let text = '';
  for (const part of parts) text += part === undefined ? '-' : `${part.length}:${part}`;
  return text;
}

function padded(key: Buffer, pad: number, more: number): Buffer {
  const buffer = Buffer.alloc(BLOCK + more);
  for (let at = 0; at < BLOCK; at++) buffer[at] = (key[at] ?? 0) ^ pad;
  return buffer;
}
