// What `npm pack` makes is installed where no registry can be reached, and lets a user log in.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, lstatSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { root, startBridge, temporaryFolder } from './support/bridge.ts';
import { installOffline } from './support/npm.ts';
import { alice, type Scripted, startScripted } from './support/scripted-provider.ts';

/** Packed. It grows by what is bundled, so a library that is brought along by mistake is seen here. */
const MAX_PACKED = 1.5 * 1024 * 1024;

interface Packed {
  readonly filename: string;
  readonly size: number;
  readonly files: readonly { readonly path: string; readonly mode: number }[];
}

describe('the npm package', () => {
  const folder = temporaryFolder();
  let packed: Packed;
  let installed: string;
  let provider: Scripted;
  before(async () => {
    const args = ['pack', '--ignore-scripts', '--json', '--pack-destination', folder];
    [packed] = JSON.parse(execFileSync('npm', args, { cwd: root, encoding: 'utf8' })) as [Packed];
    installed = installOffline(join(folder, packed.filename), join(folder, 'prefix'));
    provider = await startScripted();
  });
  after(() => provider?.stop());

  it('holds the program, what explains it, and nothing else', () => {
    const paths = packed.files.map(({ path }) => path);
    const allowed =
      /^(?:package\.json|README\.md|CHANGELOG\.md|LICENSE|bin\/[\w.-]+|dist\/(?:man\/)?[\w.]+|dist\/(?:man\/)?extauth-oauth\.[15]|examples\/(?:systemd\/)?[\w.@-]+)$/;
    assert.deepEqual(
      paths.filter((path) => !allowed.test(path) || /\.(?:ts|test\.\w+|key|pem|env)$|secret/.test(path)),
      [],
    );
    for (const wanted of [
      'LICENSE',
      'dist/LICENSES.txt',
      'dist/bridge.cjs',
      'dist/bridge.cjs.cache',
      'dist/commands.js',
      'dist/ioredis.cjs',
      'examples/oidc.yml',
      'examples/systemd/extauth-oauth.service',
    ])
      assert.ok(paths.includes(wanted), wanted);
    assert.ok(packed.size < MAX_PACKED, `${packed.size} bytes`);
  });

  it('tells no paths of the machine that built it', () => {
    for (const name of readdirSync(join(installed, 'dist'))) {
      const file = join(installed, 'dist', name);
      if (statSync(file).isFile()) assert.ok(!readFileSync(file, 'latin1').includes(root), name);
    }
  });

  it('has the licence of everything that is bundled', () => {
    const licences = readFileSync(join(installed, 'dist/LICENSES.txt'), 'utf8');
    for (const name of ['cosmiconfig', 'ioredis', 'js-yaml', 'prom-client', 'undici', 'valibot', 'yargs'])
      assert.match(licences, new RegExp(`^${name} \\d+\\.\\d+\\.\\d+ \\(`, 'm'));
    assert.match(licences, /Permission is hereby granted/);
  });

  it('needs no other package: what is not native is bundled', () => {
    const { dependencies = {}, optionalDependencies } = JSON.parse(
      readFileSync(join(installed, 'package.json'), 'utf8'),
    ) as { dependencies?: object; optionalDependencies: object };
    assert.deepEqual(
      Object.keys(dependencies),
      [],
      'stands under devDependencies, and .ci/build.mjs bundles it',
    );
    assert.deepEqual(Object.keys(optionalDependencies), ['koffi', 'lmdb']);
    assert.ok(!existsSync(join(installed, 'node_modules')));
  });

  it('can be started by its names', () => {
    const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
    const bin = join(folder, 'prefix/bin');
    const run = (...args: string[]): string =>
      execFileSync(join(bin, 'extauth-oauth'), args, { encoding: 'utf8' });
    assert.equal(run('--version').trim(), version);
    assert.match(run('--help'), /extauth-oauth check/);
    assert.ok(lstatSync(join(bin, 'extauth-oauth-prosody')).isSymbolicLink());
  });

  it('logs users in, and nobody else', async () => {
    const { token, userinfo } = provider.endpoints;
    const bridge = startBridge({
      installed: join(installed, 'bin/extauth-oauth.js'),
      config: {
        token_endpoint: token,
        validation_endpoint: userinfo,
        client_id: 'xmpp',
        // Not there without the registry: memory takes over.
        state: `lmdb:${join(folder, 'state')}`,
      },
    });
    assert.equal(await bridge.ask(`auth:${alice.name}:chat.example:${alice.password}`), 1);
    assert.equal(await bridge.ask(`auth:bob:chat.example:${alice.password}`), 0);
    await bridge.stop();
    assert.match(bridge.log(), /"event":"state_store","up":false,"message":"[^"]*npm install lmdb/);
  });
});
