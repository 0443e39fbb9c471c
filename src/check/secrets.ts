// The files that the configuration consists of, and whether the users that need them can read them. (That nobody else can
// read a secret is part of loading it.)
import type { Account } from './access.ts';
import { obstacle } from './access.ts';
import { type Finding, fault, ok } from './finding.ts';
import type { Root } from './root.ts';

/** `files`: the configuration itself first. */
export function* examineFiles(
  files: readonly string[],
  { root, users }: { readonly root: Root; readonly users: readonly Account[] },
): Generator<Finding> {
  for (const user of users) {
    let readable = true;
    for (const [index, file] of files.entries()) {
      const stopped = obstacle(root, user, file, 'read');
      if (stopped === undefined) continue;
      readable = false;
      yield fault(file, `cannot be read by ${user.name}, as whom the server runs us: ${stopped}`, {
        why: 'there is no usable configuration then, and every login is refused',
        line: stopped.startsWith(`${file} `)
          ? // Of a secret even the group must be kept out.
            index === 0
            ? `chgrp ${user.name} ${file} && chmod g+r ${file}`
            : `chown ${user.name} ${file}`
          : `chmod o+x ${stopped.slice(0, stopped.indexOf(' is '))}`,
      });
    }
    if (readable && files.length > 0) yield ok('files', `can be read by ${user.name} (${files.length})`);
  }
}
