// npm where there is no network: an empty cache, and a registry that refuses connections.
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { temporaryFolder } from './bridge.ts';

/** `npm install --global` of a file, below `prefix`; gives the folder of the package. */
export function installOffline(
  file: string,
  prefix: string,
  args: readonly string[] = ['--offline'],
): string {
  const away = ['--registry', 'http://127.0.0.1:9/', '--cache', temporaryFolder()];
  execFileSync('npm', ['install', '--global', '--prefix', prefix, ...away, ...args, file], { stdio: 'pipe' });
  return join(prefix, 'lib/node_modules/extauth-oauth');
}
