// Reading files: what the configuration, its secrets and certificates have in common.
import { readFileSync, statSync } from 'node:fs';

/** Reads files for one load and remembers them all, so that a change of any of them can be noticed. */
export interface Reader {
  read(file: string): { text: string; mode: number; owner: number };
}

export function createReader(onRead: (file: string) => void = () => {}): Reader {
  return {
    read(file) {
      onRead(file);
      const { mode, uid } = statSync(file);
      return { text: readFileSync(file, 'utf8'), mode, owner: uid };
    },
  };
}

/** Runs `read`; a file that cannot be read becomes `fail(message)`. */
export function attempt<Value, Failure>(
  read: () => Value,
  fail: (message: string) => Failure,
): Value | Failure {
  try {
    return read();
  } catch (error) {
    switch ((error as NodeJS.ErrnoException).code) {
      case 'ENOENT':
        return fail('does not exist');
      case 'EACCES':
      case 'EPERM':
        return fail('cannot be read by this user');
      case 'EISDIR':
        return fail('is a folder');
      default:
        return fail(`cannot be read (${(error as NodeJS.ErrnoException).code ?? 'unknown error'})`);
    }
  }
}
