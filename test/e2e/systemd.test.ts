// The units of examples/systemd as systemd itself reads them.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { root, temporaryFolder } from '../support/bridge.ts';

const folder = join(temporaryFolder(), 'units');
cpSync(join(root, 'examples/systemd'), folder, { recursive: true });
renameSync(
  join(folder, 'extauth-oauth-prosody@.socket'),
  join(folder, 'extauth-oauth-prosody@chat.example.org.socket'),
);
const units = ['.service', '-ejabberd.socket', '-prosody@chat.example.org.socket'].map(
  (end) => `./extauth-oauth${end}`,
);

/** What systemd-analyze says, on both streams. */
function analyze(...args: string[]): string {
  return execFileSync('sh', ['-c', 'systemd-analyze "$@" 2>&1', 'sh', ...args], {
    cwd: folder,
    encoding: 'utf8',
    env: { PATH: process.env.PATH ?? '', SYSTEMD_COLORS: '0' },
  });
}

test('systemd has nothing to say against the units', () => {
  const found = analyze('verify', '--recursive-errors=no', ...units)
    .split('\n')
    // On a machine without Node in /usr/bin that alone is missing.
    .filter((line) => line !== '' && !line.includes('/usr/bin/node is not executable'));
  assert.deepEqual(found, []);
});

test('the service can do little beside its work', () => {
  const level = /Overall exposure level for extauth-oauth\.service: ([\d.]+)/.exec(
    analyze('security', '--offline=yes', './extauth-oauth.service'),
  )?.[1];
  assert.ok(Number(level) < 2.5, `exposure ${level}`);
});
