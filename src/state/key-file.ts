// The key that all who share a state have in common, in a file only its owner can read. Whoever is first makes it.
import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  linkSync,
  openSync,
  readFileSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';

/** What we make ourselves is 32 random bytes in base64url: 43. */
const MIN_BYTES = 32;
/** A key is short: who names a log by mistake is told at once. */
const MAX_BYTES = 64 * 1024;
const NEWLINE = 0x0a;

/** The key of the state in `folder`, which is made where there is none: everybody who asks gets the same. */
export function keyBeside(folder: string): Buffer {
  const file = join(folder, 'key');
  try {
    return digest(file);
  } catch (error) {
    if (!isCode(error, 'ENOENT')) throw error;
  }
  makeKey(folder, file);
  return digest(file);
}

/**
 * Complete and on the disk before it has its name, so that a crash never leaves half a key; and named by link(2), which
 * does not replace, so that the first of many wins and all others read theirs.
 */
function makeKey(folder: string, file: string): void {
  const { randomBytes } = process.getBuiltinModule('node:crypto');
  const draft = join(folder, `.key.${process.pid}.${randomBytes(8).toString('hex')}`);
  try {
    const fd = openSync(draft, 'wx', 0o600);
    try {
      writeFileSync(fd, `${randomBytes(32).toString('base64url')}\n`);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    try {
      linkSync(draft, file);
    } catch (error) {
      if (!isCode(error, 'EEXIST')) throw error;
    }
  } finally {
    try {
      unlinkSync(draft);
    } catch {
      // It was not made: what kept it from that is what is thrown.
    }
  }
  const fd = openSync(folder, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** SHA-256 of what `file` has in it, apart from one newline at its end. Throws where others could know it. */
function digest(file: string): Buffer {
  // Not to wait for ever where the name is a pipe's.
  const fd = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const { mode, uid, size } = fstatSync(fd);
    if ((mode & constants.S_IFMT) !== constants.S_IFREG) throw new Error(`state: ${file} is not a file`);
    if ((mode & 0o077) !== 0)
      throw new Error(`state: others can read or write the key in ${file}: chmod 0600 ${file}`);
    if (uid !== 0 && uid !== process.geteuid?.())
      throw new Error(`state: ${file} belongs to another user, who knows the key`);
    if (size > MAX_BYTES) throw new Error(`state: ${file} is too long for a key`);
    const bytes = readFileSync(fd);
    const content = bytes.at(-1) === NEWLINE ? bytes.subarray(0, -1) : bytes;
    if (content.length < MIN_BYTES)
      throw new Error(`state: the key in ${file} has fewer than ${MIN_BYTES} bytes`);
    return process.getBuiltinModule('node:crypto').createHash('sha256').update(content).digest();
  } finally {
    closeSync(fd);
  }
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}
