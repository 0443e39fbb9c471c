// Everything an operator copies is loaded here as it stands.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { readmeWithTables } from '../.ci/docs.ts';
import { reference } from '../.ci/reference.ts';
import { EXIT } from '../src/commands/exit.ts';
import type { Reader } from '../src/config/files.ts';
import { loadConfig } from '../src/config/load.ts';
import { REASONS } from '../src/login/reasons.ts';
import { root } from './support/bridge.ts';

/** The real file, and a secret where there is none on this machine. */
const reader: Reader = {
  read: (file) =>
    file.startsWith('/etc/extauth-oauth/')
      ? { text: 'secret-of-16-characters-and-more\n', mode: 0o600, owner: 0 }
      : { text: readFileSync(file, 'utf8'), mode: 0o644, owner: 0 },
};

describe('the example', () => {
  const others = ['ejabberd.yml'];
  const files = readdirSync(join(root, 'examples')).filter(
    (name) => name.endsWith('.yml') && !others.includes(name),
  );
  assert.ok(files.length >= 6);
  for (const name of files) {
    it(`${name} is a configuration without a fault`, () => {
      const { hosts, warnings } = loadConfig({ config: join(root, 'examples', name), env: {} }, reader);
      assert.ok(hosts.length > 0);
      const unsafe = warnings.filter((warning) => warning.unsafe).map(({ path }) => path);
      // Opaque tokens of a provider that says nothing about them: the one thing that cannot be made safe.
      assert.deepEqual(unsafe, ['mastodon.yml', 'userinfo.yml'].includes(name) ? ['audience'] : []);
    });
  }
});

describe("systemd's sockets", () => {
  const unit = (name: string): Map<string, string> => {
    const text = readFileSync(join(root, 'examples/systemd', name), 'utf8');
    return new Map([...text.matchAll(/^(\w+)=(.*)$/gm)].map(([, key = '', value = '']) => [key, value]));
  };
  const { process: options } = loadConfig({ config: join(root, 'examples/serve.yml'), env: {} }, reader);
  for (const [protocol, file] of [
    ['extauth', 'extauth-oauth-ejabberd.socket'],
    ['dovecot', 'extauth-oauth-prosody@.socket'],
  ]) {
    it(`are those that serve.yml names: ${file}`, () => {
      const socket = options.listen?.find((each) => each.protocol === protocol);
      const filled = (key: string): string =>
        unit(file ?? '')
          .get(key)
          ?.replaceAll('%i', socket?.host ?? '') ?? '';
      assert.equal(filled('FileDescriptorName'), socket?.name);
      assert.equal(filled('ListenStream'), socket?.path);
      assert.equal(filled('Service'), 'extauth-oauth.service');
    });
  }
  it('are where the recipes for the servers look', () => {
    const ejabberd = readFileSync(join(root, 'examples/ejabberd.yml'), 'utf8');
    const prosody = readFileSync(join(root, 'examples/prosody-dovecot.cfg.lua'), 'utf8');
    const [extauth, dovecot] = options.listen?.map(({ path = '' }) => path) ?? [];
    assert.ok(ejabberd.includes(`UNIX-CONNECT:${extauth},`) && ejabberd.includes(`nc -NU ${extauth}'`));
    assert.ok(prosody.includes(`dovecot_auth_socket = "${dovecot}"`));
  });
});

describe('the README', () => {
  const readme = readFileSync(join(root, 'README.md'), 'utf8');
  const blocks = [...readme.matchAll(/^```yaml\n(issuer:[\s\S]*?)^```/gm)].map(([, yaml = '']) => yaml);
  it('has configurations that load as they stand, and let no stranger in', () => {
    assert.equal(blocks.length, 2);
    for (const yaml of blocks) {
      const file = '/etc/extauth-oauth/config.yml';
      const { warnings } = loadConfig(
        { config: file, env: {} },
        { read: (name) => (name === file ? { text: yaml, mode: 0o644, owner: 0 } : reader.read(name)) },
      );
      assert.ok(warnings.every(({ unsafe }) => !unsafe));
    }
  });
  it('has a row for every option, with the default and the meaning that it has in the schema', () => {
    assert.equal(readmeWithTables(readme), readme, 'npm run docs');
    assert.ok(reference().length > 80);
  });
  it('explains every reason by the sentence that login prints', () => {
    for (const [reason, { advice }] of Object.entries(REASONS))
      assert.ok(readme.includes(`| \`${reason}\` | ${advice} |\n`), reason);
  });
  it('says every exit code, and none that there is not', () => {
    const section = /## Commands\n([\s\S]*?)\n## /.exec(readme)?.[1] ?? '';
    const column = [...section.matchAll(/^\| `extauth-oauth .*\| ([^|]*) \|$/gm)].map(
      ([, codes = '']) => codes,
    );
    assert.ok(column.length >= 7);
    const said = column.flatMap((codes) => [...codes.matchAll(/\b\d+\b/g)].map(([code]) => Number(code)));
    assert.deepEqual([...new Set(said)].sort(), Object.values(EXIT).toSorted());
  });
});
