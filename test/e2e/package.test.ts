// The npm package with native parts, for a machine that reaches no registry: everything that the program can do is there.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { test } from 'node:test';
import { root, startBridge, temporaryFolder } from '../support/bridge.ts';
import { installOffline } from '../support/npm.ts';
import { alice, startScripted } from '../support/scripted-provider.ts';

test('.package/offline makes a package that needs no registry, nor to be told so', async () => {
  const folder = temporaryFolder();
  const file = execFileSync(join(root, '.package/offline'), [folder], { encoding: 'utf8' }).trim();
  // Without --offline npm would ask for minutes, if there were anything to ask for.
  const installed = installOffline(file, join(folder, 'prefix'), []);
  const { load } = createRequire(join(installed, 'dist/'))('koffi') as { load: unknown };
  assert.equal(typeof load, 'function');

  const provider = await startScripted();
  try {
    const { token, userinfo } = provider.endpoints;
    const state = join(folder, 'state');
    const bridge = startBridge({
      installed: join(installed, 'bin/extauth-oauth.js'),
      config: {
        token_endpoint: token,
        validation_endpoint: userinfo,
        client_id: 'xmpp',
        state: `lmdb:${state}`,
      },
    });
    assert.equal(await bridge.ask(`auth:${alice.name}:chat.example:${alice.password}`), 1);
    await bridge.stop();
    assert.match(bridge.log(), /"event":"state_store","up":true/);
    assert.notDeepEqual(readdirSync(state), []);
  } finally {
    await provider.stop();
  }
});

for (const page of ['extauth-oauth.1', 'extauth-oauth.5']) {
  const file = join(root, 'dist/man', page);
  test(`${page} is a manual page without a fault, for groff and for mandoc`, () => {
    const groff = spawnSync('man', ['--warnings', '-E', 'UTF-8', '-l', '-Tutf8', '-Z', file], {
      env: { ...process.env, LC_ALL: 'C.UTF-8', MANROFFSEQ: '', MANWIDTH: '80' },
      encoding: 'utf8',
    });
    assert.equal(groff.stderr, '');
    assert.equal(groff.status, 0);
    const mandoc = spawnSync('mandoc', ['-Tlint', '-Wwarning', file], { encoding: 'utf8' });
    assert.equal(mandoc.stdout + mandoc.stderr, '');
    assert.equal(mandoc.status, 0);
  });
}
