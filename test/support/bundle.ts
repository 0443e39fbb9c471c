// Scripts of the tests' own that run as processes of their own: in one file each, since tsx takes 300 ms of every start.
import { chmodSync, mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { atExit } from './at-exit.ts';

// Where packages are found.
const modules = fileURLToPath(new URL('../../node_modules', import.meta.url));
const bundles = new Map<string, Promise<string>>();

/** The path of a script that does what `source`, the address of a module, does by itself; it goes when this process does. */
export function bundled(source: string): Promise<string> {
  const known = bundles.get(source) ?? bundle(source);
  bundles.set(source, known);
  return known;
}

async function bundle(source: string): Promise<string> {
  const folder = mkdtempSync(join(realpathSync(modules), '.extauth-oauth-'));
  atExit(() => rmSync(folder, { recursive: true, force: true }));
  // Other users run it, too.
  chmodSync(folder, 0o755);
  const outfile = join(folder, 'script.mjs');
  // What is bundled has this module in it, and needs no bundler.
  const { build } = await import('esbuild');
  await build({
    bundle: true,
    platform: 'node',
    format: 'esm',
    packages: 'external',
    entryPoints: [fileURLToPath(source)],
    outfile,
  });
  return outfile;
}
