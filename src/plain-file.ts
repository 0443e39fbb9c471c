// Reads files whose names somebody else has chosen: a server's configuration names others, and so does a server's user.
import { closeSync, constants, fstatSync, openSync, readSync, type Stats, statSync } from 'node:fs';

/** Configuration files are short; of a log, no more than this is looked through. */
export const MAX_BYTES = 8 * 1024 * 1024;

/**
 * The bytes from `from` on, at most so many. Waits for nobody and opens nothing that does something when it is opened: what
 * is no file (a pipe, a device) is an error EINVAL.
 */
export function readPlainFile(file: string, from: (size: number) => number = () => 0): Buffer {
  mustBeFile(statSync(file), file);
  // It may be another one by now.
  const fd = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  try {
    const stats = fstatSync(fd);
    mustBeFile(stats, file);
    const start = from(stats.size);
    const bytes = Buffer.alloc(Math.min(MAX_BYTES, Math.max(0, stats.size - start)));
    return bytes.subarray(0, readSync(fd, bytes, 0, bytes.length, start));
  } finally {
    closeSync(fd);
  }
}

function mustBeFile(stats: Stats, file: string): void {
  if (!stats.isFile()) throw Object.assign(new Error(`${file} is no file`), { code: 'EINVAL', path: file });
}
