// What commands print may come from a provider, or from a server's files: a terminal must not obey it.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { it } from 'node:test';
import { harmless } from '../src/commands/arguments.ts';
import { program, temporaryFolder } from './support/bridge.ts';

it('what is printed keeps its lines and tabs, and has nothing else that a terminal obeys', () => {
  assert.equal(harmless('a\n\tb \u00e4'), 'a\n\tb \u00e4');
  assert.equal(harmless('\x1b]0;title\x07\r\x1b[2J'), ' ]0;title   [2J');
  assert.equal(harmless('\u009b2J\u202e'), '\\u009b2J\\u202e');
});

it('migrate shows what stands in a prosody.cfg.lua without obeying it', () => {
  const file = join(temporaryFolder(), 'prosody.cfg.lua');
  writeFileSync(
    file,
    'oauth_external_issuer = "https://id.example"\nVirtualHost "\\27[2J\\27]0;title\\7.example"\nauthentication = "oauth_external"\n',
  );
  const { stdout, stderr } = spawnSync(process.execPath, [program, 'migrate', file], { encoding: 'utf8' });
  assert.match(stderr, /title/);
  assert.doesNotMatch(`${stdout}${stderr}`.replace(/[\n\t]/g, ''), /\p{Cc}/u);
});
