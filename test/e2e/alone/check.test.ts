// `check` on this machine: Debian's own configuration files as they come, and our program started as Debian's users.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { Finding } from '../../../src/check/finding.ts';
import { flagOf, listOf, readEjabberdConfig } from '../../../src/servers/ejabberd-config.ts';
import { program, prosodyProgram, temporaryFolder, writeConfig } from '../../support/bridge.ts';
import { type Scripted, startScripted } from '../../support/scripted-provider.ts';

const debian = { ejabberd: '/etc/ejabberd/ejabberd.yml', prosody: '/etc/prosody/prosody.cfg.lua' };

interface Ran {
  readonly code: number | null;
  readonly findings: readonly Finding[];
  readonly wrong: readonly string[];
}

/** What Debian's ejabberd says of the same: for both hosts, and of its listeners. */
function askEjabberd(file: string): unknown {
  const libraries = ['/usr/lib/erlang/lib', '/usr/lib/x86_64-linux-gnu'].flatMap((place) =>
    readdirSync(place).map((name) => join(place, name, 'ebin')),
  );
  const ask = `
    [application:ensure_all_started(A) || A <- [crypto, p1_utils, fast_yaml, yconf, fast_xml, stringprep, xmpp, fast_tls]],
    application:load(ejabberd), ejabberd_hooks:start_link(), ok = ejabberd_config:load(),
    Get = fun(O, H) -> ejabberd_config:get_option({O, H}) end,
    Hosts = [[Get(auth_method, H), Get(auth_use_cache, H), Get(disable_sasl_mechanisms, H)] || H <- [<<"a.example">>, <<"b.example">>]],
    Sizes = [maps:get(max_stanza_size, M) || {_, _, M} <- ejabberd_config:get_option(listen)],
    io:format("~nANSWER ~s~n", [jiffy:encode(Hosts ++ [Sizes])]), halt(0).`;
  const out = execFileSync(
    'erl',
    ['-noshell', '-pa', ...libraries.filter((each) => existsSync(each)), '-eval', ask],
    {
      encoding: 'utf8',
      env: {
        PATH: process.env.PATH ?? '',
        HOME: '/tmp',
        EJABBERD_CONFIG_PATH: file,
        ERL_CRASH_DUMP: '/dev/null',
      },
    },
  );
  return JSON.parse(/^ANSWER (.*)$/m.exec(out)?.[1] ?? 'null');
}

describe('check, on a Debian', () => {
  let provider: Scripted;
  let config: string;
  before(async () => {
    assert.equal(process.geteuid?.(), 0, 'these tests need root');
    provider = await startScripted();
    config = writeConfig({
      validation_endpoint: provider.endpoints.userinfo,
      validation: 'userinfo',
      client_id: 'xmpp',
    });
    chmodSync(config, 0o644);
    readable(config);
  });
  after(() => provider.stop());

  /** For the users of servers, too. */
  function readable(file: string): string {
    for (const folder of [dirname(file), dirname(dirname(file))]) chmodSync(folder, 0o755);
    return file;
  }

  const run = (...args: string[]): Promise<Ran> => runThrough([], ...args);

  async function runThrough(through: readonly string[], ...args: string[]): Promise<Ran> {
    const [file = '', ...rest] = [
      ...through,
      process.execPath,
      program,
      'check',
      '--config',
      config,
      '--json',
    ];
    const child = spawn(file, [...rest, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
    let out = '';
    child.stdout.on('data', (chunk) => {
      out += chunk;
    });
    const code = await new Promise<number | null>((resolve) => child.on('close', resolve));
    const { findings } = JSON.parse(out) as { findings: Finding[] };
    const wrong = findings.filter(({ level }) => level !== 'ok').map(({ level, what }) => `${level} ${what}`);
    return { code, findings, wrong };
  }

  it('has one line for each server that asks nobody outside, as they come', async () => {
    const ran = await run();
    assert.deepEqual(ran.wrong, ['warning ejabberd', 'warning prosody']);
    assert.equal(ran.code, 0);
  });

  it("says all that Debian's ejabberd.yml needs", async () => {
    const ran = await run('--ejabberd', debian.ejabberd);
    assert.deepEqual(
      ran.wrong.filter((each) => each !== 'warning prosody'),
      [
        'warning ejabberd auth_method',
        'ERROR ejabberd extauth_program',
        'ERROR ejabberd auth_use_cache',
        'ERROR ejabberd listen 5222 max_stanza_size',
        'warning ejabberd listen 5222 backlog',
        'ERROR ejabberd listen 5223 max_stanza_size',
        'warning ejabberd listen 5223 backlog',
      ],
    );
    assert.equal(ran.code, 1);
    assert.ok(
      ran.findings
        .filter(({ level, what }) => level !== 'ok' && what.startsWith('ejabberd '))
        .every(({ line }) => line !== undefined),
    );
  });

  it('finds nothing more when what it said has been written', async () => {
    const text = readFileSync(debian.ejabberd, 'utf8')
      .replaceAll('max_stanza_size: 262144', 'max_stanza_size: 65536\n    backlog: 1000')
      .concat(
        `\nauth_method: [external]\nextauth_program: "/usr/bin/node ${program}"\nauth_use_cache: false\n`,
      );
    const file = readable(join(temporaryFolder(), 'ejabberd.yml'));
    writeFileSync(file, text);
    const ran = await run('--ejabberd', file);
    assert.deepEqual(ran.wrong, []);
    assert.equal(ran.code, 0);
  });

  it("says what Debian's prosody.cfg.lua needs, and what it lacks for a terminal", async () => {
    const ran = await run('--prosody', debian.prosody);
    assert.deepEqual(
      ran.wrong.filter((each) => each !== 'warning ejabberd'),
      ['warning prosody authentication'],
    );
    const text = readFileSync(debian.prosody, 'utf8').replace(
      'authentication = "internal_hashed"',
      `authentication = "external_insecure"\nexternal_auth_command = "${prosodyProgram}"`,
    );
    const file = readable(join(temporaryFolder(), 'prosody.cfg.lua'));
    mkdirSync(join(dirname(file), 'conf.d'));
    writeFileSync(file, text);
    const external = await run('--prosody', file);
    assert.deepEqual(external.wrong, [
      'ERROR prosody plugin_paths',
      'ERROR prosody modules_enabled',
      'ERROR lpty',
    ]);
    assert.match(external.findings.map(({ found }) => found).join(), /there is one for Lua 5\.1/);
  });

  it('reads ejabberd.yml as the ejabberd that is installed here does', async () => {
    const folder = temporaryFolder();
    const file = join(folder, 'ejabberd.yml');
    writeFileSync(
      file,
      `hosts: [a.example, b.example]
auth_method: external
extauth_program: /bin/true
include_config_file: { ${folder}/more.yml: { disallow: [auth_use_cache] } }
host_config: { b.example: { auth_use_cache: no } }
append_host_config: { a.example: { auth_method: [ldap], disable_sasl_mechanisms: [PLAIN] } }
`,
    );
    writeFileSync(
      join(folder, 'more.yml'),
      `define_macro: { OFF: [X-OAUTH2], LARGE: 262144 }
auth_use_cache: false
disable_sasl_mechanisms: OFF
listen: [{ port: 5222, module: ejabberd_c2s, max_stanza_size: LARGE }]
`,
    );
    const config = await readEjabberdConfig(file);
    const ours = ['a.example', 'b.example'].map((host) => [
      listOf(config.option('auth_method', host)),
      flagOf(config.option('auth_use_cache', host)) ?? true,
      config.option('disable_sasl_mechanisms', host),
    ]);
    const sizes = config.listeners.map(({ max_stanza_size }) => max_stanza_size);
    assert.deepEqual(askEjabberd(file), [...ours, sizes]);
  });

  const ejabberdWith = (command: string): string => {
    const file = readable(join(temporaryFolder(), 'ejabberd.yml'));
    writeFileSync(
      file,
      `hosts: [chat.example]\nauth_method: [external]\nauth_use_cache: false\nextauth_program: "${command}"\ndisable_sasl_mechanisms: [X-OAUTH2]\n`,
    );
    return file;
  };
  const asUser = async (command: string): Promise<Finding[]> => {
    const { findings } = await run('--ejabberd', ejabberdWith(command), '--as-user', 'ejabberd');
    return findings.filter(({ what }) => what === 'extauth_program');
  };

  it('starts our program as the user ejabberd, who is answered', async () => {
    const [finding] = await asUser(`env EXTAUTH_OAUTH_CONFIG=${config} /usr/bin/node ${program}`);
    assert.equal(finding?.level, 'ok', JSON.stringify(finding));
    assert.match(finding?.found ?? '', /^started as ejabberd it answers after \d+ ms/);
  });

  it('finds a Node that only root can run, by its folder and by trying', async () => {
    const folder = temporaryFolder();
    const node = join(folder, 'node');
    copyFileSync(process.execPath, node);
    readable(node);
    chmodSync(folder, 0o700);
    const findings = await asUser(`${node} ${program}`);
    assert.deepEqual(
      findings.map(({ level }) => level),
      ['ERROR', 'ERROR'],
    );
    assert.match(findings[0]?.found ?? '', /ejabberd cannot run .*\/node: .* is 0700 and belongs to root/);
    assert.match(
      findings[1]?.found ?? '',
      /ends with exit code 126, and does not answer: .*Permission denied/i,
    );
  });

  it('finds a Node that stops at its options', async () => {
    const [finding] = await asUser(`env NODE_OPTIONS=--no-such-option /usr/bin/node ${program}`);
    assert.equal(finding?.level, 'ERROR');
    assert.match(finding?.found ?? '', /--no-such-option is not allowed in NODE_OPTIONS/);
  });

  it('starts the wrapper as the user prosody, who is answered', async () => {
    const file = readable(join(temporaryFolder(), 'prosody.cfg.lua'));
    writeFileSync(
      file,
      `authentication = "external_insecure"\nexternal_auth_command = "${prosodyProgram}"\nVirtualHost "chat.example"\n`,
    );
    const { findings } = await run('--prosody', file, '--as-user', 'prosody');
    const found = findings.find(({ what }) => what === 'external_auth_command');
    assert.match(found?.found ?? '', /^started as prosody it answers/);
  });

  it('says that only root can be somebody else, and what this user cannot look at', async () => {
    const nobody = ['setpriv', '--reuid=nobody', '--regid=nogroup', '--clear-groups'];
    const file = ejabberdWith(`/usr/bin/node ${program}`);
    const ran = await runThrough(nobody, '--ejabberd', file, '--as-user', 'ejabberd');
    assert.ok(ran.wrong.includes('warning prosody'), ran.wrong.join());
    const said = ran.findings.map(({ found, line }) => `${found} ${line}`).join('\n');
    assert.match(said, /prosody\.cfg\.lua cannot be read by this user/);
    assert.match(said, /only root can try it as ejabberd sudo extauth-oauth check --as-user ejabberd/);
  });
});
