// ejabberd.yml: what is read here is what ejabberd makes of it.
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, it } from 'node:test';
import { type EjabberdConfig, flagOf, readEjabberdConfig } from '../src/servers/ejabberd-config.ts';
import { ServerConfigError } from '../src/servers/errors.ts';
import { temporaryFolder } from './support/bridge.ts';

/** Files by their names below a root, of which the first is read. */
async function read(files: Record<string, string>): Promise<EjabberdConfig> {
  const root = temporaryFolder();
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, name)), { recursive: true });
    writeFileSync(join(root, name), text);
  }
  return readEjabberdConfig(Object.keys(files)[0] ?? '', { root });
}

const main = '/etc/ejabberd/ejabberd.yml';

describe('ejabberd.yml', () => {
  it('says for each host what holds there', async () => {
    const config = await read({
      [main]: `
hosts: [Chat.example, work.example]
auth_method: external
modules: { mod_roster: {} }
host_config:
  work.example:
    auth_method: [internal]
append_host_config:
  chat.example:
    auth_method: [ldap]
    modules: { mod_register: {} }
`,
    });
    assert.deepEqual(config.hosts, ['chat.example', 'work.example']);
    assert.equal(config.option('auth_method'), 'external');
    assert.deepEqual(config.option('auth_method', 'work.example'), ['internal']);
    assert.deepEqual(config.option('auth_method', 'chat.example'), ['external', 'ldap']);
    assert.deepEqual(config.option('modules', 'chat.example'), { mod_roster: {}, mod_register: {} });
    assert.deepEqual(config.option('modules', 'work.example'), { mod_roster: {} });
    assert.ok(config.isOverridden('auth_method', 'work.example'));
    assert.ok(!config.isOverridden('modules', 'work.example'));
  });

  const included: [title: string, include: string, expected: unknown][] = [
    ['whole', '/etc/ejabberd/more.yml', { auth_use_cache: false, loglevel: 'debug' }],
    ['by a name beside the file', 'more.yml', { auth_use_cache: false, loglevel: 'debug' }],
    ['in a list', '[/etc/ejabberd/more.yml]', { auth_use_cache: false, loglevel: 'debug' }],
    [
      'but for what is disallowed',
      '{ /etc/ejabberd/more.yml: { disallow: [loglevel] } }',
      { auth_use_cache: false, loglevel: undefined },
    ],
    [
      'for what is allowed alone',
      '{ /etc/ejabberd/more.yml: { allow_only: [loglevel] } }',
      { auth_use_cache: undefined, loglevel: 'debug' },
    ],
  ];
  for (const [title, include, expected] of included) {
    it(`includes another file ${title}`, async () => {
      const config = await read({
        [main]: `hosts: [a]\ninclude_config_file: ${include}\n`,
        '/etc/ejabberd/more.yml': 'auth_use_cache: false\nloglevel: debug\n',
      });
      const { auth_use_cache, loglevel } = {
        auth_use_cache: config.option('auth_use_cache'),
        loglevel: config.option('loglevel'),
      };
      assert.deepEqual({ auth_use_cache, loglevel }, expected);
      assert.deepEqual(config.files, [main, '/etc/ejabberd/more.yml']);
    });
  }

  it('looks for a name without a folder where ejabberd works', async () => {
    const config = await read({
      [main]: 'hosts: [a]\ninclude_config_file: more.yml\n',
      '/var/lib/ejabberd/more.yml': 'loglevel: debug\n',
      '/etc/ejabberd/more.yml': 'loglevel: none\n',
    });
    assert.equal(config.option('loglevel'), 'debug');
  });

  it('puts what a macro means in its place, wherever it is defined', async () => {
    const config = await read({
      [main]: `
include_config_file: macros.yml
hosts: HOSTS
extauth_program: "@NODE@ /opt/bridge.js"
listen: [{ port: 5222, module: ejabberd_c2s, max_stanza_size: SIZE }]
`,
      '/etc/ejabberd/macros.yml':
        'define_macro: { HOSTS: [A.example], SIZE: LARGE, LARGE: 262144, NODE: /usr/bin/node }\n',
    });
    assert.deepEqual(config.hosts, ['a.example']);
    assert.equal(config.listeners[0]?.max_stanza_size, 262144);
    assert.equal(config.option('extauth_program'), '/usr/bin/node /opt/bridge.js');
  });

  const broken: [title: string, files: Record<string, string>, says: RegExp][] = [
    [
      'no YAML',
      { [main]: 'hosts: [a]\nlisten:\n  - port: 1\n module: x\n' },
      /ejabberd\.yml, line \d+: is not valid YAML/,
    ],
    ['a list', { [main]: '- hosts\n' }, /is no mapping/],
    [
      'an included file that is not there',
      { [main]: 'include_config_file: /none.yml\n' },
      /\/none\.yml: does not exist/,
    ],
    ['itself', { [main]: `include_config_file: ${main}\n` }, /includes itself/],
  ];
  for (const [title, files, says] of broken) {
    it(`is refused with its place where it is ${title}`, async () => {
      await assert.rejects(
        read(files),
        (error) => error instanceof ServerConfigError && says.test(error.message),
      );
    });
  }

  it('is read where macros stand for each other', async () => {
    const config = await read({
      [main]: 'hosts: [a]\ndefine_macro: { A: B, B: A }\nz: A\n',
    });
    assert.deepEqual(config.hosts, ['a']);
    assert.equal(config.option('z'), 'A');
  });

  for (const end of [
    'define_macro: { A: *l12 }',
    'x: &x { y: *x }',
    'hosts: [*l12]',
    'host_config: *l12',
    'include_config_file: *l12',
  ])
    it(`is not read where a few lines stand for billions of values: ${end}`, { timeout: 5000 }, async () => {
      const lines = Array.from({ length: 12 }, (_, n) => `l${n + 1}: &l${n + 1} [${`*l${n}, `.repeat(10)}]`);
      const text = `l0: &l0 [A]\n${lines.join('\n')}\n${end}\n`;
      await assert.rejects(read({ [main]: text }), /stands for too many values/);
    });

  it('is not read where a few files that include others twice stand for millions', async () => {
    const name = (n: number): string => main.replace('ejabberd.yml', `${n}.yml`);
    const files = Array.from({ length: 20 }, (_, n) => [
      n === 0 ? main : name(n),
      `include_config_file: ["${name(n + 1)}", "${name(n + 1)}"]\n`,
    ]);
    await assert.rejects(
      read(Object.fromEntries([...files, [name(20), 'hosts: [a.example]\n']])),
      /too many/,
    );
  });

  it('quotes nothing of a file that it cannot read', async () => {
    const text = 'sql_password: "canary\nhosts: [a]\n';
    await assert.rejects(read({ [main]: text }), (error: Error) => !error.message.includes('canary'));
  });

  it('has more words for yes and no than YAML', () => {
    assert.deepEqual(['on', 'yes', true, 'true'].map(flagOf), [true, true, true, true]);
    assert.deepEqual(['off', 'no', false, 'n'].map(flagOf), [false, false, false, false]);
    assert.equal(flagOf('perhaps'), undefined);
  });
});
