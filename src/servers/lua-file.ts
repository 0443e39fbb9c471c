// Files of Lua: read, found by pattern, and taken apart into statements by luaparse, which runs nothing.
import { readdirSync } from 'node:fs';
import { basename, dirname, resolve } from 'node:path';
import luaparse from 'luaparse';
import { readPlainFile } from '../plain-file.ts';
import { ServerConfigError } from './errors.ts';

/** The statements of a file. */
export function parseLua(file: string): luaparse.Chunk {
  let text: string;
  try {
    // One character a byte, as luaparse wants it.
    text = readPlainFile(file).toString('latin1');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const what =
      code === 'EACCES' || code === 'EPERM' ? 'cannot be read by this user' : `cannot be read (${code})`;
    throw new ServerConfigError({ file, what });
  }
  try {
    return luaparse.parse(text, {
      luaVersion: '5.3',
      encodingMode: 'pseudo-latin1',
      locations: true,
      comments: false,
    });
  } catch (error) {
    const { line, message } = error as { line?: number; message: string };
    // luaparse quotes what it has met, which may be half a secret.
    const what = message
      .replace(/^\[\d+:\d+\] /, '')
      .replace(/ near [\s\S]*$/, '')
      .replace(/^(unexpected \S+) '[\s\S]*$/, '$1');
    throw new ServerConfigError({ file, line: line ?? 1, what: `is no Lua: ${what}` });
  }
}

/** The files of an Include with * or ? in its last part. Prosody takes them as they lie in the folder: unsorted. */
export function matching(path: string): string[] {
  const pattern = basename(path);
  return readdirSync(dirname(path))
    .filter((name) => !name.startsWith('.') && isMatch(pattern, name))
    .sort()
    .map((name) => resolve(dirname(path), name));
}

/** Goes back to the last asterisk alone, so that a pattern with many of them takes no longer than name times pattern. */
function isMatch(pattern: string, name: string): boolean {
  let [at, from, star, taken] = [0, 0, -1, 0];
  while (from < name.length) {
    if (pattern[at] === '*') {
      star = at++;
      taken = from;
    } else if (pattern[at] === '?' || pattern[at] === name[from]) {
      at++;
      from++;
    } else if (star === -1) return false;
    else {
      at = star + 1;
      from = ++taken;
    }
  }
  return /^\**$/.test(pattern.slice(at));
}

/** Visits all that a statement is made of. */
export function everyNode(node: unknown, visit: (node: { type: string }) => void): void {
  if (Array.isArray(node)) {
    for (const each of node) everyNode(each, visit);
  } else if (typeof node === 'object' && node !== null) {
    if ('type' in node && typeof node.type === 'string') visit(node as { type: string });
    for (const each of Object.values(node)) everyNode(each, visit);
  }
}

/** Counted from 1. */
export function lineOf(statement: luaparse.Statement): number {
  return statement.loc?.start.line ?? 0;
}
