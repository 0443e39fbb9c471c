// What a clone of this repository would hold, changes that are not committed included.
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { root, temporaryFolder } from '../../support/bridge.ts';

/** `installed`: as after `npm ci`. */
export function makeCheckout({ installed }: { readonly installed: boolean }): string {
  const checkout = temporaryFolder();
  const files = execFileSync('git', ['ls-files', '-co', '--exclude-standard', '-z'], {
    cwd: root,
    encoding: 'utf8',
  });
  for (const file of files.split('\0').filter(Boolean)) {
    mkdirSync(dirname(join(checkout, file)), { recursive: true });
    copyFileSync(join(root, file), join(checkout, file));
  }
  if (installed) execFileSync('cp', ['-a', join(root, 'node_modules'), checkout]);
  return checkout;
}
