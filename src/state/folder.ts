// The folder of a state: made when it is missing, refused where others could write to it.
import { accessSync, constants, mkdirSync, statSync, unlinkSync } from 'node:fs';
import { userInfo } from 'node:os';

/** A lock file without data is younger than this only while somebody is making both. */
const MAKING_MS = 10_000;

/** Throws where `folder` cannot be used, and says what to do about it. */
export function claimFolder(folder: string): void {
  try {
    // Mode and all: an existing folder is left as it is.
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const stats = statSync(folder);
    if (stats.uid !== 0 && stats.uid !== process.geteuid?.()) {
      // What root makes there, its owner could not use.
      const what = process.geteuid?.() === 0 ? `run this as user ${stats.uid}` : remedy(folder);
      throw new Error(`state: ${folder} belongs to another user: ${what}`);
    }
    if ((stats.mode & 0o022) !== 0)
      throw new Error(`state: others can write to ${folder}: chmod 0700 ${folder}`);
    accessSync(folder, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (error) {
    throw friendly(folder, error);
  }
}

/** An error of the system in words for who set the folder up. */
export function friendly(folder: string, error: unknown): unknown {
  if (!(error instanceof Error && 'code' in error)) return error;
  const { code } = error;
  if (code === 'EACCES' || code === 'EPERM')
    return new Error(`state: ${folder} cannot be written by this user: ${remedy(folder)}`, { cause: error });
  if (code === 'EROFS')
    return new Error(`state: ${folder} is on a file system that cannot be written`, { cause: error });
  return new Error(`state: ${folder} cannot be used: ${error.message}`, { cause: error });
}

function remedy(folder: string): string {
  return `install -d -o ${userName()} -m 0700 ${folder}`;
}

function userName(): string {
  try {
    return userInfo().username;
  } catch {
    // A user without an entry in passwd, as in containers.
    return String(process.geteuid?.());
  }
}

/**
 * Makes a new store complete where somebody has deleted the data and left the lock: numbers of transactions in it that
 * the new data does not have would lose what is written. Who has both open goes on with them until he looks.
 */
export function removeOrphanedLock(file: string): void {
  if (identity(file) !== undefined) return;
  const lock = statSync(`${file}-lock`, { throwIfNoEntry: false });
  if (lock !== undefined && Date.now() - lock.ctimeMs > MAKING_MS) unlinkSync(`${file}-lock`);
}

/**
 * What tells the files from others of the same names. Never by opening them: to close any descriptor of the lock file
 * would let go of the locks by which others see that we live.
 */
export function identity(file: string): string | undefined {
  const data = statSync(file, { throwIfNoEntry: false });
  if (data === undefined) return undefined;
  const lock = statSync(`${file}-lock`, { throwIfNoEntry: false });
  return `${data.dev}:${data.ino}:${lock?.ino}`;
}
