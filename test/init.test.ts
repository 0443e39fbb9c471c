import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { chmodSync, existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { after, before, describe, it } from 'node:test';
import { check } from '../src/commands/check.ts';
import { type InitOptions, init } from '../src/commands/init.ts';
import { linesFor, type Server, servers } from '../src/setup/servers.ts';
import { starter } from '../src/setup/starter.ts';
import { program, root, startBridge, temporaryFolder } from './support/bridge.ts';
import { type Ran, runCommand } from './support/command.ts';
import { startProvider, type TestProvider } from './support/provider.ts';

/** A folder of its own for what is written, with the secret beside it unless it is typed. */
function place(secret?: string): string {
  const folder = temporaryFolder();
  if (secret !== undefined) {
    writeFileSync(join(folder, 'client_secret'), `${secret}\n`);
    chmodSync(join(folder, 'client_secret'), 0o600);
  }
  return join(folder, 'config.yml');
}

describe('init', () => {
  let provider: TestProvider;
  before(async () => {
    provider = await startProvider();
  });
  after(() => provider.stop());

  /** `init` without a terminal, in this process. */
  async function run(output: string, flags: Partial<InitOptions> = {}): Promise<Ran> {
    const [out, complaints]: [string[], string[]] = [[], []];
    const code = await init({
      issuer: provider.issuer,
      hosts: ['chat.example', 'Other.example'],
      server: 'ejabberd',
      passwords: false,
      tokens: false,
      clientId: provider.clientId,
      secretFile: undefined,
      public: false,
      caFile: undefined,
      output,
      terminal: false,
      folder: root,
      print: (line) => out.push(line),
      complain: (line) => complaints.push(line),
      ...flags,
    });
    return { code, stdout: out.join('\n'), stderr: complaints.join('\n') };
  }

  for (const server of servers) {
    it(`writes for ${server} what passes check, and logs users in`, async () => {
      const output = place(provider.clientSecret);
      const written = await run(output, { server, passwords: true, tokens: true });
      assert.equal(written.code, 0, written.stderr);
      assert.equal(statSync(output).mode & 0o777, 0o640);
      assert.ok(!`${written.stdout}${readFileSync(output)}`.includes(provider.clientSecret));
      const found: string[] = [];
      const checked = {
        config: output,
        root: temporaryFolder(),
        print: (line: string) => void found.push(line),
      };
      assert.equal(await check(checked), 0, found.join('\n'));
      const bridge = startBridge({ config: output });
      const password = provider.users.alice?.password ?? '';
      const tokens = [
        await provider.token('alice', { format: 'jwt' }),
        `token:${await provider.token('alice')}`,
      ];
      for (const [login, answer] of [
        [`alice:chat.example:${password}`, 1],
        ['alice:chat.example:wrong', 0],
        [`bob:chat.example:${password}`, 0],
        [`alice:other.example:${tokens[0]}`, 1],
        [`alice:chat.example:${tokens[1]}`, 1],
        [`alice:third.example:${password}`, 0],
      ] as const) {
        assert.equal(await bridge.ask(`auth:${login}`), answer, bridge.log());
      }
      await bridge.stop();
    });
  }

  it('takes tokens alone when passwords are not asked for', async () => {
    const output = place(provider.clientSecret);
    await run(output);
    assert.match(readFileSync(output, 'utf8'), /^credential: token$/m);
    assert.doesNotMatch(readFileSync(output, 'utf8'), /^resource_owner_password/m);
  });

  const failures: [name: string, flags: () => Partial<InitOptions>, code: number, message: RegExp][] = [
    [
      'the issuer is spelt differently',
      () => ({ issuer: `${provider.issuer}/` }),
      1,
      /calls itself (http:\S+\d): write --issuer \1$/m,
    ],
    ['nobody is there', () => ({ issuer: 'http://127.0.0.1:9' }), 1, /127\.0\.0\.1/],
    [
      'there is no metadata',
      () => ({ issuer: `${provider.issuer}/nothing` }),
      1,
      /no metadata at .*: is issuer right\?/,
    ],
    ['the issuer is not safe', () => ({ issuer: 'http://id.example' }), 1, /must begin with https/],
    [
      'a host is none',
      () => ({ hosts: ['alice@chat.example'] }),
      1,
      /alice@chat\.example is no virtual host/,
    ],
    ['a file is not there', () => ({ caFile: '/nowhere/ca.pem' }), 1, /\/nowhere\/ca\.pem cannot be read/],
    [
      'something is missing',
      () => ({ issuer: undefined, hosts: [], server: undefined, clientId: undefined }),
      2,
      /--issuer URL, --host VIRTUAL\.HOST, --server ejabberd\|prosody.*, --client-id ID/,
    ],
  ];
  for (const [name, flags, code, message] of failures) {
    it(`says so and writes nothing when ${name}`, async () => {
      const output = place('a-secret');
      const ran = await run(output, flags());
      assert.equal(ran.code, code, ran.stderr);
      assert.match(ran.stderr, message);
      assert.doesNotMatch(ran.stdout + ran.stderr, /a-secret/);
      assert.ok(!existsSync(output));
    });
  }

  it('takes no secret from the command line, and writes YAML', async () => {
    const flag = await runCommand(['init', '--client-secret', 'CANARY']);
    const json = await runCommand(['init', '--output', '/tmp/config.json']);
    assert.deepEqual([flag.code, json.code], [2, 2]);
    assert.match(flag.stderr, /Unknown argument/);
    assert.doesNotMatch(flag.stderr, /CANARY/);
    assert.match(json.stderr, /ends in \.yml/);
  });

  it('asks for the secret of a client that has one', async () => {
    const output = place();
    const without = await run(output);
    assert.deepEqual([without.code, existsSync(output)], [2, false]);
    assert.match(without.stderr, /--secret-file FILE \(or the secret in \S+\/client_secret, or --public/);
    const open = await run(output, { public: true });
    assert.equal(open.code, 0);
    assert.match(readFileSync(output, 'utf8'), /^client_auth_method: none$/m);
  });

  it('writes over nothing', async () => {
    const output = place('x');
    writeFileSync(output, 'mine');
    const { code, stderr } = await run(output);
    assert.equal(code, 1);
    assert.match(stderr, /config\.yml exists, and nothing is written over/);
    assert.equal(readFileSync(output, 'utf8'), 'mine');
  });

  it('works when it is typed', async () => {
    const output = place(provider.clientSecret);
    const { issuer, clientId } = provider;
    const hosts = ['--host', 'chat.example', '--host', 'other.example'];
    const written = await runCommand([
      ...['init', '--issuer', issuer, ...hosts, '--server', 'ejabberd', '--client-id', clientId],
      ...['--passwords', '--output', output],
    ]);
    assert.equal(written.code, 0, written.stderr);
    const checked = await runCommand(['check', '--config', output, '--root', temporaryFolder()]);
    assert.equal(checked.code, 0, `${checked.stdout}${checked.stderr}`);
  });
});

describe('the lines for a server', () => {
  const at = {
    config: '/srv/c.yml',
    hosts: ['chat.example'],
    folder: '/opt/x',
    node: '/usr/bin/node',
    packaged: false,
  };
  const expected: [server: Server, ...RegExp[]][] = [
    [
      'ejabberd',
      /^extauth_program: "env EXTAUTH_OAUTH_CONFIG=\/srv\/c\.yml \/usr\/bin\/node \/opt\/x\/bin\/extauth-oauth\.js"$/m,
      /^auth_use_cache: false$/m,
      /max_stanza_size: 65536$/m,
    ],
    [
      'prosody',
      /^external_auth_command = "\/opt\/x\/bin\/extauth-oauth-prosody"$/m,
      /^external_auth_blocking = true$/m,
    ],
    [
      'prosody-dovecot',
      /^VirtualHost "chat\.example"\n\tauthentication = "dovecot"\n\tdovecot_auth_socket = "\/run\/extauth-oauth\/chat\.example\.sock"$/m,
      /^systemctl enable --now extauth-oauth-prosody@chat\.example\.socket$/m,
    ],
    ['mongooseim', /^\[auth\.external\]\n {2}program = "/m],
  ];
  for (const [server, ...patterns] of expected) {
    it(`are those that ${server} needs`, () => {
      const shown = linesFor(server, at).join('\n');
      for (const pattern of patterns) assert.match(shown, pattern);
      assert.doesNotMatch(shown, /\$[a-z]/);
    });
  }
  it("are shorter for Debian's package", () => {
    const packaged = {
      ...at,
      config: '/etc/extauth-oauth/config.yml',
      folder: '/usr/lib/extauth-oauth',
      packaged: true,
    };
    const shown = (server: Server): string => linesFor(server, packaged).join('\n');
    assert.match(shown('ejabberd'), /^extauth_program: "\/usr\/bin\/extauth-oauth"$/m);
    assert.match(shown('prosody'), /^external_auth_command = "\/usr\/bin\/extauth-oauth-prosody"$/m);
    assert.doesNotMatch(shown('prosody-dovecot'), /^cp |ExecStart|User=/m);
    assert.match(shown('prosody-dovecot'), /^LoadCredential=$/m);
  });
  it('name no configuration that is found without', () => {
    const shown = linesFor('ejabberd', { ...at, config: '/etc/extauth-oauth/config.yml' }).join('\n');
    assert.match(shown, /^extauth_program: "\/usr\/bin\/node/m);
  });
});

describe('init on a terminal', () => {
  let provider: TestProvider;
  before(async () => {
    provider = await startProvider();
  });
  after(() => provider.stop());

  /** Answers the questions as they come. */
  async function type(
    output: string,
    steps: readonly (readonly [question: string, answer: string])[],
  ): Promise<Ran> {
    const typist = join(root, 'test/support/typist.py');
    const command = [process.execPath, program, 'init', '--output', output];
    const child = spawn('python3', [typist, JSON.stringify(steps), ...command], {
      env: { PATH: process.env.PATH ?? '', XDG_CONFIG_HOME: '/nonexistent', TERM: 'xterm' },
    });
    const exit = new Promise<number | null>((resolve) => child.on('close', resolve));
    const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)]);
    return { code: await exit, stdout, stderr };
  }

  it('asks for what it needs, again where an answer cannot be, and never shows the secret', async () => {
    const output = place();
    const { code, stdout } = await type(output, [
      ['Issuer', 'http://127.0.0.1:9'],
      ['Issuer', `${provider.issuer}/`],
      ['Is that the one', ''],
      ['Virtual hosts', 'chat.example, other.example'],
      ['Server', ''],
      ['Users type', 'passwords'],
      ['Client id', ''],
      ['Client secret', provider.clientSecret],
    ]);
    assert.equal(code, 0, stdout);
    assert.ok(!stdout.includes(provider.clientSecret));
    assert.match(stdout, /calls itself/);
    const secret = join(output, '..', 'client_secret');
    assert.equal(statSync(secret).mode & 0o777, 0o600);
    assert.equal(readFileSync(secret, 'utf8').trim(), provider.clientSecret);
    const checked = await runCommand(['check', '--config', output, '--root', temporaryFolder()]);
    assert.equal(checked.code, 0, checked.stdout);
    const bridge = startBridge({ config: output });
    assert.equal(await bridge.ask(`auth:alice:other.example:${provider.users.alice?.password}`), 1);
    await bridge.stop();
  });

  it('writes nothing when it is given up', async () => {
    const output = place();
    const { code, stdout } = await type(output, [['Issuer', '\x03']]);
    assert.equal(code, 1, stdout);
    assert.match(stdout, /given up: nothing is written/);
    assert.ok(!existsSync(output));
  });
});

describe("init's configuration", () => {
  const discovery = {
    issuer: 'https://id.example',
    otherHosts: [],
    scopes: undefined,
    claims: undefined,
    grants: undefined,
    clientAuth: undefined,
    introspects: true,
    hasKeys: true,
  };
  const wishes = {
    hosts: ['chat.example'],
    server: 'ejabberd',
    passwords: true,
    tokens: false,
    clientId: 'xmpp',
    secretFile: '/etc/extauth-oauth/client_secret',
    caFile: undefined,
  } as const;
  const cases: [string, object, object, RegExp, RegExp?][] = [
    ['asks for the scope profile', {}, {}, /^scope: openid profile$/m],
    ['asks for no scope that there is not', { scopes: ['openid'] }, {}, /^scope: openid$/m],
    [
      'takes nicknames where there are no user names',
      { claims: ['sub', 'nickname'] },
      {},
      /^username_field: \[preferred_username, nickname\]$/m,
    ],
    [
      'takes addresses where there is nothing else',
      { claims: ['email'], scopes: ['openid', 'email'] },
      {},
      /^scope: openid email\n[\s\S]*^username_field: email\nusername_mapping: split$/m,
    ],
    [
      'shows the secret as the provider takes it',
      { clientAuth: ['client_secret_basic'] },
      {},
      /^client_auth_method: basic$/m,
    ],
    [
      'names other hosts of the provider',
      { otherHosts: ['api.id.example'] },
      {},
      /^trusted_endpoint_hosts: \[api\.id\.example\]$/m,
      /take out of trusted_endpoint_hosts/,
    ],
    [
      'says that the password grant may be missing',
      { grants: ['authorization_code'] },
      {},
      /^resource_owner_password: true$/m,
      /does not name the password grant/,
    ],
    [
      'says that nobody tells whom tokens are for',
      { introspects: false, hasKeys: false },
      { passwords: false, tokens: true },
      /^credential: token$/m,
      /neither keys nor introspection/,
    ],
    [
      'trusts an authority of its own',
      {},
      { caFile: '/etc/ca.pem' },
      /^http:\n {2}ca_file: \/etc\/ca\.pem$/m,
    ],
  ];
  for (const [name, said, wanted, yaml, note] of cases) {
    it(name, () => {
      const made = starter({ ...discovery, ...said }, { ...wishes, ...wanted });
      assert.match(made.yaml, yaml);
      assert.match(made.notes.join('\n'), note ?? /^$/);
    });
  }
});
