// Whether an account of the machine may use a file, as far as the modes of it and of the folders above say. Access lists are
// not looked at: with one, what `--as-user` tries is the answer.
import { basename } from 'node:path';
import type { Root } from './root.ts';

export interface Account {
  readonly name: string;
  readonly uid: number;
  /** The primary one first. */
  readonly gids: readonly number[];
  readonly home: string;
}

export type Use = 'read' | 'write' | 'execute';

const BIT: Readonly<Record<Use, number>> = { read: 0o4, write: 0o2, execute: 0o1 };

/** `undefined` where the machine's own files (not a directory server) know no such user. */
export function accountOf(root: Root, user: string): Account | undefined {
  const entry = entries(root, '/etc/passwd').find(([name, , uid]) => name === user || uid === user);
  if (entry === undefined) return undefined;
  const [name = '', , uid = '', gid = '', , home = '/'] = entry;
  const others = entries(root, '/etc/group')
    .filter(([, , , members = '']) => members.split(',').includes(name))
    .map(([, , number]) => Number(number));
  return { name, uid: Number(uid), gids: [Number(gid), ...others], home };
}

/** The name that a number has, or the number. */
export function nameOfUser(root: Root, uid: number): string {
  return entries(root, '/etc/passwd').find(([, , number]) => Number(number) === uid)?.[0] ?? String(uid);
}

function entries(root: Root, file: string): string[][] {
  return (root.read(file) ?? '').split('\n').map((line) => line.split(':'));
}

/** What keeps the account from the file: a path, with what its mode is. `undefined` when nothing does, or nothing is there. */
export function obstacle(root: Root, account: Account, path: string, use: Use): string | undefined {
  const real = root.real(path);
  if (real === undefined || account.uid === 0) return undefined;
  const parts = real.split('/').filter((part) => part !== '');
  for (let depth = 0; depth <= parts.length; depth++) {
    const place = `/${parts.slice(0, depth).join('/')}`;
    const wanted = depth === parts.length ? BIT[use] : BIT.execute;
    const stats = root.stat(place);
    if (stats === undefined) return undefined;
    const shift = stats.uid === account.uid ? 6 : account.gids.includes(stats.gid) ? 3 : 0;
    if (((stats.mode >> shift) & wanted) === 0)
      return `${place} is ${octal(stats.mode)} and belongs to ${nameOfUser(root, stats.uid)}`;
  }
  return undefined;
}

export function octal(mode: number): string {
  return `0${(mode & 0o7777).toString(8).padStart(3, '0')}`;
}

/** The first of these files that is there, with a mode by which somebody can run it. */
export function findInPath(root: Root, name: string, path: string): string | undefined {
  return path
    .split(':')
    .filter((folder) => folder.startsWith('/'))
    .map((folder) => `${folder.replace(/\/$/, '')}/${basename(name)}`)
    .find((file) => {
      const stats = root.stat(file);
      return stats?.isFile() === true && (stats.mode & 0o111) !== 0;
    });
}
