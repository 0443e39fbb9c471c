// Secrets in files: read where nobody else may, one line each. What is wrong becomes a problem, never an exception.
import { Secret } from '../verdict.ts';
import { attempt, type Reader } from './files.ts';
import type { Problem } from './problems.ts';

/** Who else must not read a secret's file: group and others. */
const OTHERS = 0o077;

export interface Secrets {
  /** `undefined`: it cannot be read, which has been reported. */
  read(file: string, path: string): ReturnType<Reader['read']> | undefined;
  /** `forbidden`: who must not read it, as bits of the mode. */
  text(file: string, path: string, forbidden?: number): string | undefined;
  line(file: string, path: string, forbidden?: number): Secret | undefined;
}

/** `path`: the option that names the file. */
export function createSecrets(reader: Reader, problems: Problem[]): Secrets {
  const fail = (path: string, message: string): undefined => void problems.push({ path, message });

  function read(file: string, path: string): ReturnType<Reader['read']> | undefined {
    return attempt(
      () => reader.read(file),
      (message) => fail(path, `${file} ${message}`),
    );
  }

  function text(file: string, path: string, forbidden = OTHERS): string | undefined {
    const content = read(file, path);
    if (content === undefined || (content.mode & forbidden) === 0) return content?.text;
    return fail(path, `${file} can be read by group or others: chmod 600`);
  }

  return {
    read,
    text,
    line(file, path, forbidden) {
      const content = text(file, path, forbidden);
      if (content === undefined) return undefined;
      const secret = content.replace(/\r?\n$/, '');
      if (secret !== '' && !/[\r\n\0]/.test(secret)) return new Secret(secret);
      return fail(path, `${file} must hold one line: the secret`);
    },
  };
}
