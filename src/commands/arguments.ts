// What commands have in common: how what was typed is read, and where what they say goes.
import { resolve } from 'node:path';
import { printable } from '../log.ts';

/** The command line is not understood. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

export function print(text: string): void {
  process.stdout.write(`${harmless(text)}\n`);
}

export function complain(text: string): void {
  process.stderr.write(`${harmless(text)}\n`);
}

/** For who paints lines, and has seen to what is in them. */
export function printPainted(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** A provider, a server's process or its files may have said what is in it: no terminal obeys that. */
export function harmless(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: all but tabs and ends of lines
  return printable(text.replace(/[\x00-\x08\x0b-\x1f]/g, ' '));
}

/** The working directory is a server's to choose, but here somebody has typed the name in it. */
export function fileOf(value: unknown, flag = 'config'): string | undefined {
  if (value === undefined) return undefined;
  if (typeof value !== 'string' || value === '') throw new UsageError(`--${flag} needs a file, once`);
  return resolve(value);
}

/** A flag that is given twice is a list to yargs. */
export function once(flag: string, value: unknown): string | undefined {
  if (value === undefined || (typeof value === 'string' && value !== '')) return value;
  throw new UsageError(`--${flag} needs a value, once`);
}
