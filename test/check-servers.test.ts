// Real configuration files of servers with one fault each: `check` finds that and nothing else, and nothing in the same files
// without it (test/fixtures/check: a whole machine, and for each fault the files in which it differs).
import assert from 'node:assert/strict';
import { chmodSync, cpSync, existsSync, mkdirSync, readdirSync, rmSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { Finding } from '../src/check/finding.ts';
import { check } from '../src/commands/check.ts';
import { root, temporaryFolder, writeConfig } from './support/bridge.ts';
import { type Scripted, startScripted } from './support/scripted-provider.ts';

const fixtures = join(root, 'test/fixtures/check');

const MACHINES = ['ejabberd', 'ejabberd-serve', 'prosody', 'prosody-dovecot'] as const;

interface Case {
  readonly fixture: string;
  readonly machine?: (typeof MACHINES)[number];
  /** Level and thing. */
  readonly finds: readonly (readonly [Finding['level'], string])[];
  /** What the one who reads it must be told. */
  readonly says: RegExp;
  readonly token?: string;
  readonly config?: object;
  /** What files in git cannot be. */
  readonly prepare?: (folder: string) => void;
}

const WRONG = 'ERROR' as const;
const ODD = 'warning' as const;

const ofEjabberd: readonly Case[] = [
  {
    fixture: 'auth-use-cache',
    finds: [[WRONG, 'ejabberd auth_use_cache']],
    says: /is true.*second token.*auth_use_cache: false/,
  },
  {
    fixture: 'auth-use-cache-by-default',
    finds: [[WRONG, 'ejabberd auth_use_cache']],
    says: /true by default.*auth_use_cache: false/,
  },
  {
    fixture: 'auth-use-cache-of-one-host',
    finds: [[WRONG, 'ejabberd auth_use_cache']],
    says: /is true \(work\.example\.org\)/,
  },
  { fixture: 'cache-in-included-file', finds: [[WRONG, 'ejabberd auth_use_cache']], says: /is true/ },
  { fixture: 'extauth-cache', finds: [[ODD, 'ejabberd extauth_cache']], says: /before 17\.06/ },
  {
    fixture: 'auth-method-of-one-host',
    finds: [[ODD, 'ejabberd auth_method']],
    says: /internal for old\.example\.org.*host_config/,
  },
  { fixture: 'auth-method-two', finds: [[ODD, 'ejabberd auth_method']], says: /external, and internal/ },
  { fixture: 'auth-method-appended', finds: [[ODD, 'ejabberd auth_method']], says: /external, and ldap/ },
  {
    fixture: 'program-not-set',
    finds: [[WRONG, 'ejabberd extauth_program']],
    says: /is not set.*extauth_program: "/,
  },
  {
    fixture: 'program-not-there',
    finds: [[WRONG, 'extauth_program']],
    says: /\/opt\/extauth-oauth\/bin\/extauth-oauth\.js does not exist/,
  },
  { fixture: 'program-of-others', finds: [[ODD, 'extauth_program']], says: /xcauth.* is not this program/ },
  {
    fixture: 'program-not-executable',
    finds: [[WRONG, 'extauth_program']],
    says: /\/usr\/local\/bin\/extauth-oauth is not executable.*chmod \+x/,
  },
  {
    fixture: 'node-not-in-path',
    finds: [[WRONG, 'extauth_program']],
    says: /run by node, which is not in the server's PATH \(\/opt\/erlang\/bin:\/bin\)/,
  },
  {
    fixture: 'node-in-home',
    finds: [[WRONG, 'ejabberd.service ProtectHome']],
    says: /hides \/home\/admin\/\.nvm/,
  },
  {
    fixture: 'node-of-root',
    finds: [[WRONG, 'extauth_program']],
    says: /ejabberd cannot run \/opt\/private\/node: \/opt\/private is 0700/,
    prepare: (folder) => chmodSync(join(folder, 'opt/private'), 0o700),
  },
  {
    fixture: 'pool-too-large',
    finds: [[ODD, 'ejabberd extauth_pool_size']],
    says: /64 workers for 1 host: about 1280 MB of 3921 MB.*socat/,
  },
  {
    fixture: 'max-stanza-size',
    finds: [[WRONG, 'ejabberd listen 5222 max_stanza_size']],
    says: /is 262144.*65,535 bytes.*max_stanza_size: 65536/,
  },
  {
    fixture: 'max-stanza-size-not-set',
    finds: [[WRONG, 'ejabberd listen 5222 max_stanza_size']],
    says: /there is no limit/,
  },
  {
    fixture: 'max-stanza-size-by-macro',
    finds: [[WRONG, 'ejabberd listen 5222 max_stanza_size']],
    says: /is 262144/,
  },
  { fixture: 'backlog', finds: [[ODD, 'ejabberd listen 5222 backlog']], says: /backlog: 1000/ },
  { fixture: 'mod-register', finds: [[ODD, 'ejabberd mod_register']], says: /change passwords/ },
  {
    fixture: 'x-oauth2',
    finds: [[ODD, 'ejabberd X-OAUTH2']],
    says: /disable_sasl_mechanisms: \["X-OAUTH2", "DIGEST-MD5"\]/,
  },
  { fixture: 'include-not-there', finds: [[WRONG, 'ejabberd']], says: /auth\.yml: does not exist/ },
  {
    fixture: 'host-not-listed',
    config: { hosts: { '*.example.org': {} } },
    finds: [[WRONG, 'hosts']],
    says: /asks about new\.example\.com.*unknown_host.*hosts: \{ "new\.example\.com": \{\} \}/,
  },
  {
    fixture: 'apparmor-enforced',
    finds: [[WRONG, 'AppArmor']],
    says: /does not let ejabberd start \/usr\/bin\/node.*\/usr\/bin\/node Ux,.*apparmor_parser -r/,
  },
  { fixture: 'apparmor-same-profile', finds: [[ODD, 'AppArmor']], says: /own profile \(rmix\)/ },
  {
    fixture: 'memory-deny-write-execute',
    finds: [[WRONG, 'ejabberd.service MemoryDenyWriteExecute']],
    says: /MemoryDenyWriteExecute=no/,
  },
  {
    fixture: 'system-call-filter',
    finds: [[WRONG, 'ejabberd.service SystemCallFilter']],
    says: /~@io-event: Node needs it.*@system-service/,
  },
  {
    fixture: 'system-call-filter-unsure',
    finds: [[ODD, 'ejabberd.service SystemCallFilter']],
    says: /not sure that Node starts/,
  },
  {
    fixture: 'private-network',
    finds: [[WRONG, 'ejabberd.service PrivateNetwork']],
    says: /provider cannot be reached/,
  },
  {
    fixture: 'restrict-address-families',
    finds: [[WRONG, 'ejabberd.service RestrictAddressFamilies']],
    says: /no AF_INET/,
  },
  { fixture: 'limit-as', finds: [[WRONG, 'ejabberd.service LimitAS']], says: /2G: Node reserves addresses/ },
  {
    fixture: 'node-options',
    finds: [[ODD, 'ejabberd NODE_OPTIONS']],
    says: /--require --inspect: inherited.*UnsetEnvironment=NODE_OPTIONS/,
  },
  {
    fixture: 'node-options-of-ejabberdctl',
    finds: [[ODD, 'ejabberd NODE_OPTIONS']],
    says: /--max-old-space-size: inherited/,
  },
  {
    fixture: 'node-options-of-the-process',
    finds: [[ODD, 'ejabberd NODE_OPTIONS']],
    says: /--enable-fips: inherited by every worker \(process 4711 \(beam\.smp\)\)/,
  },
  {
    fixture: 'ld-library-path',
    finds: [[ODD, 'ejabberd LD_LIBRARY_PATH']],
    says: /\/opt\/ejabberd\/lib.*env -u LD_LIBRARY_PATH/,
  },
  {
    fixture: 'https-proxy',
    finds: [[ODD, 'ejabberd HTTPS_PROXY']],
    says: /http: \{ proxy: http:\/\/proxy\.corp\.example:3128 \}/,
  },
  {
    fixture: 'stanza-size-small',
    token: 'x'.repeat(4000),
    finds: [
      [ODD, 'its size'],
      [WRONG, 'its user'],
      [WRONG, 'ejabberd listen 5222 max_stanza_size'],
    ],
    says: /sample token of 4000 bytes does not fit/,
  },
  {
    fixture: 'pre-auth-stanza-size',
    token: 'x'.repeat(4000),
    finds: [
      [ODD, 'its size'],
      [WRONG, 'its user'],
      [WRONG, 'ejabberd listen 5222 max_stanza_size'],
    ],
    says: /is 4096: the sample token/,
  },
  {
    fixture: 'ejabberd',
    token: 'x'.repeat(6500),
    finds: [
      [ODD, 'its size'],
      [WRONG, 'its user'],
      [ODD, 'ejabberd listen 5222 pre_auth_max_stanza_size'],
    ],
    says: /8192 in ejabberd 26\.07.*6500 bytes does not fit.*pre_auth_max_stanza_size: 65536/,
  },
];

const ofProsody: readonly Case[] = [
  {
    fixture: 'prosody-register',
    finds: [[WRONG, 'prosody modules_enabled']],
    says: /"register", by which users change passwords/,
  },
  {
    fixture: 'prosody-register-in-include',
    finds: [[WRONG, 'prosody modules_enabled']],
    says: /"register", by which/,
  },
  {
    fixture: 'prosody-protocol',
    finds: [[WRONG, 'prosody external_auth_protocol']],
    says: /external_auth_protocol = "generic"/,
  },
  {
    fixture: 'prosody-no-wrapper',
    finds: [[WRONG, 'prosody external_auth_command']],
    says: /is not our wrapper.*accepts wrong passwords/,
  },
  {
    fixture: 'prosody-wrapper-not-there',
    finds: [[WRONG, 'external_auth_command']],
    says: /\/opt\/extauth-oauth\/bin\/extauth-oauth-prosody does not exist/,
  },
  {
    fixture: 'prosody-blocking',
    finds: [[WRONG, 'prosody external_auth_blocking']],
    says: /external_auth_blocking = true/,
  },
  {
    fixture: 'prosody-timeout',
    finds: [[WRONG, 'prosody external_auth_timeout']],
    says: /is 4 s, and an answer may take 4 s.*external_auth_timeout = 5/,
  },
  {
    fixture: 'prosody-one-host',
    finds: [[ODD, 'prosody authentication']],
    says: /internal_hashed for old\.example\.org/,
  },
  {
    fixture: 'lpty-new',
    finds: [[WRONG, 'lpty']],
    says: /wants the terminal for its own.*1\.0\.1/,
    prepare: (folder) => rmSync(join(folder, 'usr/local/lib/luarocks'), { recursive: true }),
  },
  {
    fixture: 'lpty-other-lua',
    finds: [[WRONG, 'lpty']],
    says: /none for Lua 5\.4, which Prosody runs on \(there is one for Lua 5\.1\)/,
    prepare: (folder) => rmSync(join(folder, 'usr/local/lib/lua'), { recursive: true }),
  },
  {
    fixture: 'prosody-no-module',
    finds: [[WRONG, 'prosody plugin_paths']],
    says: /there is no mod_auth_external_insecure in \/opt\/modules, /,
  },
  {
    fixture: 'prosody-protocol-of-one-host',
    finds: [[WRONG, 'prosody external_auth_protocol']],
    says: /external_auth_protocol = "generic"/,
  },
  {
    fixture: 'prosody-memory-deny-write-execute',
    finds: [[WRONG, 'prosody.service MemoryDenyWriteExecute']],
    says: /Node does not start/,
  },
  {
    fixture: 'prosody',
    token: 'x'.repeat(1500),
    finds: [
      [ODD, 'its size'],
      [WRONG, 'its user'],
      [WRONG, 'prosody token size'],
    ],
    says: /mod_auth_external takes 1000 bytes/,
  },
];

const socket = '/run/extauth-oauth/chat.example.org.sock';
const ofDovecot: readonly Case[] = [
  {
    fixture: 'dovecot-socket',
    finds: [[WRONG, 'prosody dovecot_auth_socket']],
    says: /\/run\/extauth\/chat\.sock.*no socket of ours.*dovecot_auth_socket = "\/run\/extauth-oauth\/chat/,
  },
  {
    fixture: 'dovecot-append-host',
    finds: [[WRONG, 'prosody auth_append_host']],
    says: /name that was typed/,
  },
  { fixture: 'dovecot-legacyauth', finds: [[WRONG, 'prosody modules_enabled']], says: /with any password/ },
  {
    fixture: 'dovecot-no-module',
    finds: [[WRONG, 'prosody plugin_paths']],
    says: /there is no mod_auth_dovecot in .*apt install prosody-modules/,
    prepare: (folder) => rmSync(join(folder, 'usr/lib/prosody'), { recursive: true }),
  },
  {
    fixture: 'dovecot-stanza-size',
    token: 'x'.repeat(9000),
    finds: [
      [ODD, 'its size'],
      [WRONG, 'its user'],
      [WRONG, 'prosody c2s_unauthed_stanza_size_limit'],
    ],
    says: /is 10000: the sample token of 9000 bytes/,
  },
];

const ofServe: readonly Case[] = [
  {
    fixture: 'serve-memory-deny-write-execute',
    finds: [[WRONG, 'extauth-oauth.service MemoryDenyWriteExecute']],
    says: /systemctl edit extauth-oauth\.service/,
  },
  {
    fixture: 'no-socat',
    finds: [[WRONG, 'extauth_program']],
    says: /no socat in the server's PATH.*apt install socat/,
    prepare: (folder) => rmSync(join(folder, 'usr/bin/socat')),
  },
];

const all: readonly Case[] = [
  ...ofEjabberd,
  ...ofProsody.map((each) => ({ machine: 'prosody' as const, ...each })),
  // The server's own hardening is nothing to a daemon beside it.
  ...ofServe.map((each) => ({
    machine: 'ejabberd-serve' as const,
    config: { listen: [{ protocol: 'extauth', path: '/run/extauth-oauth/extauth.sock' }] },
    ...each,
  })),
  ...ofDovecot.map((each) => ({
    machine: 'prosody-dovecot' as const,
    config: { listen: [{ protocol: 'dovecot', path: socket, mechanisms: ['PLAIN'] }] },
    ...each,
  })),
];

describe('check, of a server', () => {
  let provider: Scripted;
  before(async () => {
    provider = await startScripted();
  });
  after(() => provider.stop());

  /** The machine, with the files of the fixture over it. */
  function machineOf({ fixture, machine = 'ejabberd', prepare }: Case): string {
    const folder = temporaryFolder();
    for (const each of [machine, fixture]) {
      cpSync(join(fixtures, each), folder, { recursive: true });
      chmodSync(folder, 0o755);
    }
    prepare?.(folder);
    return folder;
  }

  /** What is found and not in order. */
  async function examine(each: Case): Promise<Finding[]> {
    const config = writeConfig({
      validation_endpoint: provider.endpoints.userinfo,
      validation: 'userinfo',
      client_id: 'xmpp',
      ...each.config,
    });
    // As in /etc: there is no secret in it, and the user of the server reads it.
    chmodSync(config, 0o644);
    for (const folder of [dirname(config), dirname(dirname(config))]) chmodSync(folder, 0o755);
    const { findings } = await run(config, machineOf(each), each.token);
    // Nobody listens at the socket of the example here, or may make one below /run.
    return findings.filter(({ level, what }) => level !== 'ok' && !what.startsWith('listen'));
  }

  for (const machine of MACHINES) {
    it(`finds nothing wrong with the ${machine} that the faults are made of`, async () => {
      const config = all.find((each) => each.machine === machine)?.config ?? {};
      assert.deepEqual(await examine({ fixture: machine, machine, config, finds: [], says: / / }), []);
    });
  }

  for (const each of all) {
    it(`finds ${each.fixture} and nothing else`, async () => {
      const findings = await examine(each);
      assert.deepEqual(
        findings.map(({ level, what }) => [level, what]),
        each.finds,
        JSON.stringify(findings, null, 2),
      );
      const last = findings.at(-1);
      assert.match([last?.found, last?.why, last?.line].join(' ').replaceAll('\n', ' '), each.says);
      assert.ok(!JSON.stringify(findings).includes('canary'), 'a secret');
    });
  }

  it('says that a format of passwords has no effect, and that this is in order', async () => {
    const config = writeConfig({ validation_endpoint: provider.endpoints.userinfo, client_id: 'xmpp' });
    const { findings } = await run(
      config,
      machineOf({ fixture: 'ejabberd', finds: [], says: / / }),
      undefined,
    );
    const found = findings.find(({ what }) => what === 'ejabberd auth_password_format');
    assert.deepEqual([found?.level, found?.found.includes('no effect')], ['ok', true]);
  });

  it('has a test for every fixture', () => {
    const tested = new Set<string>([
      ...all.map(({ fixture }) => fixture),
      ...MACHINES,
      'protect-system-strict',
    ]);
    assert.deepEqual(
      readdirSync(fixtures).filter((name) => !tested.has(name)),
      [],
    );
  });

  it('finds a state that the hardened server cannot write', async () => {
    const folder = temporaryFolder();
    const state = join(folder, 'state');
    mkdirSync(state, { mode: 0o700 });
    const findings = await examine({
      fixture: 'protect-system-strict',
      config: { state: `lmdb:${state}` },
      finds: [],
      says: / /,
    });
    assert.ok(existsSync(state) && statSync(state).isDirectory());
    assert.deepEqual(
      findings.map(({ level, what }) => [level, what]),
      [[WRONG, 'ejabberd.service ProtectSystem']],
    );
    assert.equal(findings[0]?.line?.startsWith(`ReadWritePaths=${state} `), true);
  });
});

interface Ran {
  readonly code: number;
  readonly findings: readonly Finding[];
}

async function run(config: string, folder: string, token: string | undefined): Promise<Ran> {
  const lines: string[] = [];
  const code = await check({
    config,
    json: true,
    root: folder,
    readToken: async () => token,
    print: (line) => lines.push(line),
  });
  return { code, ...(JSON.parse(lines.join('\n')) as { findings: Finding[] }) };
}
