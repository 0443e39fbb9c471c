// Names of users and groups as numbers: as the system knows them, wherever it has them from.
import { execFileSync } from 'node:child_process';

/** How long a directory server may take to answer. */
const ANSWER_WITHIN = 5000;

/** The number of a user or group. Throws with a sentence for the operator when there is none of that name. */
export function numberOf(kind: 'user' | 'group', name: string | number): number {
  if (typeof name === 'number') return name;
  const database = kind === 'user' ? 'passwd' : 'group';
  let entry = '';
  try {
    entry = execFileSync('getent', ['--', database, name], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
      timeout: ANSWER_WITHIN,
    });
  } catch {
    // Not found, or no getent: the same for us.
  }
  const number = /^[^:]*:[^:]*:(\d+)(?::|$)/.exec(entry)?.[1];
  if (number === undefined) throw new Error(`there is no ${kind} ${name} on this machine`);
  return Number(number);
}
