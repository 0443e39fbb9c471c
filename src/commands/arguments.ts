// What commands have in common: how what was typed is read, and where what they say goes.
import { resolve } from 'node:path';

/** The command line is not understood. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

export function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

export function complain(line: string): void {
  process.stderr.write(`${line}\n`);
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
