// Names of users and groups as numbers: as the system knows them, wherever it has them from.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

/** How long a directory server may take to answer. */
const ANSWER_WITHIN = 5000;

const run = promisify(execFile);

/** The number of a user or group. Rejects with a sentence for the operator when there is none of that name. */
export async function numberOf(kind: 'user' | 'group', name: string | number): Promise<number> {
  if (typeof name === 'number') return name;
  const database = kind === 'user' ? 'passwd' : 'group';
  let entry = '';
  try {
    // Logins go on meanwhile.
    entry = (await run('getent', ['--', database, name], { timeout: ANSWER_WITHIN })).stdout;
  } catch {
    // Not found, or no getent: the same for us.
  }
  const number = /^[^:]*:[^:]*:(\d+)(?::|$)/.exec(entry)?.[1];
  if (number === undefined) throw new Error(`there is no ${kind} ${name} on this machine`);
  return Number(number);
}
