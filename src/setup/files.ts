// Writes the files of a new set-up: all or none, never over what is there, and for nobody's eyes but those who need them.
import {
  closeSync,
  existsSync,
  fchmodSync,
  fchownSync,
  mkdirSync,
  openSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { numberOf } from '../daemon/accounts.ts';

/** For the operator: what hinders a set-up, and what to do. Never with a secret in it. */
export class SetupError extends Error {
  override readonly name = 'SetupError';
}

export interface NewFile {
  readonly file: string;
  readonly text: string;
  /** The configuration is root's, and the server's group may read it; a secret is the server's own. */
  readonly kind: 'configuration' | 'secret';
}

export interface Written {
  /** What is left for root to do, so that the server can read them; empty where it can. */
  readonly commands: readonly string[];
}

/** `account`: the user that the server runs as. */
export async function writeFiles(files: readonly NewFile[], account: string): Promise<Written> {
  const there = files.find(({ file }) => existsSync(file));
  if (there !== undefined) {
    throw new SetupError(
      `${there.file} exists, and nothing is written over: move it away, or name another file by --output`,
    );
  }
  const owner = await ownerOf(account);
  const done: string[] = [];
  try {
    for (const { file, text, kind } of files) {
      mkdirSync(dirname(file), { recursive: true, mode: 0o755 });
      const mode = kind === 'secret' ? 0o600 : 0o640;
      // By its descriptor: who may write to the folder could put another file in its place meanwhile.
      const descriptor = openSync(file, 'wx', mode);
      done.push(file);
      try {
        writeFileSync(descriptor, text);
        // Whatever the umask is: the server's group must be able to read the configuration.
        fchmodSync(descriptor, mode);
        if (owner !== undefined) fchownSync(descriptor, kind === 'secret' ? owner.uid : 0, owner.gid);
      } finally {
        closeSync(descriptor);
      }
    }
  } catch (error) {
    for (const file of done) unlinkSync(file);
    const { code, path } = error as NodeJS.ErrnoException;
    throw new SetupError(
      `${path ?? 'a file'} cannot be written (${code}): run this as root, or name a file by --output`,
    );
  }
  if (owner !== undefined || process.geteuid?.() === (await numberOf('user', account).catch(() => -1)))
    return { commands: [] };
  return {
    commands: files.map(({ file, kind }) =>
      kind === 'secret' ? `chown ${account}: ${file}` : `chown root:${account} ${file}`,
    ),
  };
}

/** Debian's package has put the units where systemd looks; otherwise they lie beside the program. */
export function isPackaged(folder: string): boolean {
  return !existsSync(join(folder, 'examples/systemd'));
}

/** Only root gives files away, and only to who is there. */
async function ownerOf(account: string): Promise<{ uid: number; gid: number } | undefined> {
  if (process.geteuid?.() !== 0) return undefined;
  try {
    return { uid: await numberOf('user', account), gid: await numberOf('group', account) };
  } catch {
    return undefined;
  }
}
