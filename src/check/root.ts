// The machine's files as the server sees them: those below `/`, or below another folder that stands for it (a container's,
// a test's). Links are followed inside of it.
import { lstatSync, readdirSync, readFileSync, readlinkSync, type Stats, statSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';

export interface Root {
  /** The text; `undefined` where there is no such file, or this user may not read it. */
  read(path: string): string | undefined;
  /** What the name leads to in the end. */
  stat(path: string): Stats | undefined;
  /** Names in a folder, sorted; none where there is no such folder. */
  list(path: string): readonly string[];
  /** The path without links; `undefined` where it leads nowhere. */
  real(path: string): string | undefined;
  /** Where the file lies for us. */
  place(path: string): string;
  /** It is there, or might be: its folder may not be looked into. */
  isHidden(path: string): boolean;
}

/** As many as Linux follows. */
const MAX_LINKS = 40;
/** Configuration files are short, and libraries that are searched for a word do not get longer. */
const MAX_BYTES = 8 * 1024 * 1024;

export function createRoot(folder = '/'): Root {
  const at = (path: string): string => join(folder, path);

  function real(path: string): string | undefined {
    let links = 0;
    let todo = normalize(path).split('/');
    let done = '/';
    while (todo.length > 0) {
      const [name = '', ...rest] = todo;
      todo = rest;
      if (name === '' || name === '.') continue;
      if (name === '..') {
        done = dirname(done);
        continue;
      }
      const next = join(done, name);
      const stats = attempt(() => lstatSync(at(next)));
      if (stats === undefined) return undefined;
      if (!stats.isSymbolicLink()) done = next;
      else {
        if (++links > MAX_LINKS) return undefined;
        const target = attempt(() => readlinkSync(at(next)));
        if (target === undefined) return undefined;
        if (target.startsWith('/')) done = '/';
        todo = [...target.split('/'), ...todo];
      }
    }
    return done;
  }

  return {
    real,
    place: at,
    read(path) {
      const place = real(path);
      if (place === undefined) return undefined;
      return attempt(() => {
        const stats = statSync(at(place));
        // A pipe would be waited for. Files below /proc have no size.
        return stats.isFile() && stats.size <= MAX_BYTES ? readFileSync(at(place), 'utf8') : undefined;
      });
    },
    stat(path) {
      const place = real(path);
      return place === undefined ? undefined : attempt(() => statSync(at(place)));
    },
    list(path) {
      const place = real(path);
      return place === undefined ? [] : (attempt(() => readdirSync(at(place)).sort()) ?? []);
    },
    isHidden(path) {
      try {
        lstatSync(at(path));
        return false;
      } catch (error) {
        return ['EACCES', 'EPERM'].includes((error as NodeJS.ErrnoException).code ?? '');
      }
    },
  };
}

function attempt<Value>(read: () => Value): Value | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
