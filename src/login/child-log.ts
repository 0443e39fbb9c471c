// What the child says of its requests: the lines of its log, wherever the configuration sends them.
import { closeSync, fstatSync, openSync, readFileSync, readSync, statSync } from 'node:fs';

export interface LogLine {
  readonly level: string;
  readonly event: string;
  readonly [name: string]: unknown;
}

export interface ChildLog {
  /** All of them since `watchLog`. */
  lines(): LogLine[];
}

/** `file`: where it is written to besides, and by others, too; what stands in it already is not ours. */
export function watchLog(errors: () => string, file: string | undefined): ChildLog {
  const from = file === undefined ? 0 : sizeOf(file);
  return {
    lines: () => [errors(), file === undefined ? '' : readFrom(file, from)].flatMap(parse),
  };
}

function parse(text: string): LogLine[] {
  return text.split('\n').flatMap((line) => {
    if (!line.startsWith('{')) return [];
    try {
      return [JSON.parse(line) as LogLine];
    } catch {
      // Cut off, or still being written.
      return [];
    }
  });
}

/** What is no line of the log: of a shell that cannot start the program, of Node. */
export function otherLines(text: string): string[] {
  return text.split('\n').filter((line) => line.trim() !== '' && !line.startsWith('{'));
}

export function readAll(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}

function sizeOf(file: string): number {
  try {
    return statSync(file).size;
  } catch {
    return 0;
  }
}

/** Of a log that many write to, no more than this is looked through. */
const MOST = 4 * 1024 * 1024;

function readFrom(file: string, from: number): string {
  try {
    const fd = openSync(file, 'r');
    try {
      const { size } = fstatSync(fd);
      // It may have been replaced by a new one.
      const start = size < from ? 0 : from;
      const bytes = Buffer.alloc(Math.min(MOST, size - start));
      return bytes.toString('utf8', 0, readSync(fd, bytes, 0, bytes.length, start));
    } finally {
      closeSync(fd);
    }
  } catch {
    return '';
  }
}
