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
    // Every part with its length: no two lists run together to the same text.
    let text = '';
    for (const part of parts) text += part === undefined ? '-' : `${part.length}:${part}`;
    const length = Buffer.byteLength(text);
    const input = length <= TEXT ? inner : padded(key, 0x36, length);
    input.write(text, BLOCK);
    outer.write(hash('sha256', input.subarray(0, BLOCK + length), 'binary'), BLOCK, 'latin1');
    input.fill(0, BLOCK, BLOCK + length);
    return hash('sha256', outer, 'base64url');
  };
}

function padded(key: Buffer, pad: number, more: number): Buffer {
  const buffer = Buffer.alloc(BLOCK + more);
  for (let at = 0; at < BLOCK; at++) buffer[at] = (key[at] ?? 0) ^ pad;
  return buffer;
}
