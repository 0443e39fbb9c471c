// What the child says of its requests: the lines of its log, wherever the configuration sends them.
import { statSync } from 'node:fs';
import type { Account } from '../check/access.ts';
import { readAs } from '../check/become.ts';
import { readPlainFile } from '../plain-file.ts';

export interface LogLine {
  readonly level: string;
  readonly event: string;
  readonly [name: string]: unknown;
}

export interface ChildLog {
  /** All of them since `watchLog`. */
  lines(): LogLine[];
}

export interface LogFile {
  readonly path: string;
  /** Who writes it, and named it: nothing else is read than what this user may. */
  readonly account: Account | undefined;
}

/** `file`: where it is written to besides, and by others, too; what stands in it already is not ours. */
export function watchLog(errors: () => string, file: LogFile | undefined): ChildLog {
  const from = file === undefined ? 0 : readAs(file.account, () => sizeOf(file.path));
  const added = (): string => {
    if (file === undefined) return '';
    // It may have been replaced by a new one.
    return readAs(file.account, () => readText(file.path, (size) => (size < from ? 0 : from)));
  };
  return { lines: () => [errors(), added()].flatMap(parse) };
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

/** What cannot be read is empty. */
export function readText(file: string, from?: (size: number) => number): string {
  try {
    return readPlainFile(file, from).toString();
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
