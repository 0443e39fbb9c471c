// The examples of mod_auth_oauth_external's documentation (its present edition and an older one), at providers of our own.
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { check } from '../src/commands/check.ts';
import { migrate as migrateCommand } from '../src/commands/migrate.ts';
import { readProsodyConfig } from '../src/servers/prosody-config.ts';
import { migrate } from '../src/setup/migrate.ts';
import { root, startBridge, temporaryFolder } from './support/bridge.ts';
import { runCommand } from './support/command.ts';
import { startProvider, type TestProvider } from './support/provider.ts';
import { alice, type Scripted, startScripted } from './support/scripted-provider.ts';

/** Writes the files and returns the path of the first. */
function write(files: Readonly<Record<string, string>>): string {
  const folder = temporaryFolder();
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
  return join(folder, Object.keys(files)[0] ?? '');
}

function migrated(lua: string) {
  const config = readProsodyConfig(write({ 'prosody.cfg.lua': lua }));
  return migrate(config, { server: 'ejabberd', folder: '/etc/extauth-oauth' });
}

for (const name of ['../../root/x', 'a b', "a'; reboot; '", 'a"; os.execute("reboot") --'])
  it(`migrate takes ${name} for no virtual host, and writes nothing by that name`, () => {
    const lua = `VirtualHost ${JSON.stringify(name)}\nauthentication = "oauth_external"\noauth_external_client_secret = "x"\n`;
    assert.throws(() => migrated(lua), /no host has such a name/);
  });

/** `migrate --output`, then `check`, then logins (`user host secret`) at a bridge with what came out. */
async function migrateAndLogIn(
  files: Readonly<Record<string, string>>,
  logins: readonly (readonly [login: string, answer: 0 | 1])[],
): Promise<string> {
  const output = join(temporaryFolder(), 'config.yml');
  const told: string[] = [];
  const print = (line: string): void => void told.push(line);
  const options = {
    file: write(files),
    output,
    server: 'ejabberd',
    folder: root,
    print,
    complain: print,
  } as const;
  assert.equal(await migrateCommand(options), 0, told.join('\n'));
  const found: string[] = [];
  const checked = await check({ config: output, root: temporaryFolder(), print: (line) => found.push(line) });
  assert.equal(checked, 0, `${readFileSync(output, 'utf8')}\n${found.join('\n')}`);
  const bridge = startBridge({ config: output });
  for (const [login, answer] of logins) {
    assert.equal(await bridge.ask(`auth:${login}`), answer, `${login}: ${bridge.log()}`);
  }
  await bridge.stop();
  return told.join('\n');
}

describe("migrate, on the module's own documentation", () => {
  let scripted: Scripted;
  before(async () => {
    scripted = await startScripted();
    const names = {
      sub: alice.sub,
      preferred_username: 'someone',
      xmpp_username: 'alice',
      username: 'alice',
    };
    scripted.set('userinfo', ({ headers }) =>
      headers.authorization === `Bearer ${alice.token}` ? { body: names } : { status: 401, body: {} },
    );
  });
  after(() => scripted.stop());

  const logins = [
    [`alice:example.net:${alice.password}`, 1],
    ['alice:example.net:wrong', 0],
    [`bob:example.net:${alice.password}`, 0],
  ] as const;
  const keycloak = (): string => `
oauth_external_discovery_url = "${scripted.origin}/.well-known/openid-configuration"
oauth_external_token_endpoint = "${scripted.endpoints.token}"
oauth_external_validation_endpoint = "${scripted.endpoints.userinfo}"
oauth_external_username_field = "xmpp_username"
`;

  it('Keycloak logs the same users in', async () => {
    const lua = `VirtualHost "example.net"\nauthentication = "oauth_external"\n\n-- KeyCloak URLs${keycloak()}`;
    const told = await migrateAndLogIn({ 'prosody.cfg.lua': lua }, [
      ...logins,
      [`alice:other.net:${alice.password}`, 0],
    ]);
    assert.match(told, /prosody\.cfg\.lua:5 {2}oauth_external_discovery_url/);
    assert.match(told, /credential: password/);
  });

  it('Mastodon logs the same users in', async () => {
    scripted.seen.length = 0;
    await migrateAndLogIn(
      {
        'prosody.cfg.lua': `
VirtualHost "example.net"
authentication = "oauth_external"

oauth_external_token_endpoint = "${scripted.endpoints.token}"
oauth_external_validation_endpoint = "${scripted.endpoints.userinfo}"
oauth_external_username_field = "username"
oauth_external_scope = "read:accounts"
oauth_external_resource_owner_password = true
`,
      },
      logins,
    );
    const forms = scripted.seen.filter(({ endpoint }) => endpoint === 'token').map(({ body }) => body);
    assert.ok(forms.length > 0 && forms.every((body) => body.includes('scope=read%3Aaccounts')));
  });

  it('an older edition, without hosts and with the colons forgotten, logs the same users in', async () => {
    const lua = `-- authentication = "oauth_external"\n${keycloak()}`.replaceAll('http://', 'http//');
    const told = await migrateAndLogIn({ 'prosody.cfg.lua': lua }, logins);
    assert.match(told, /oauth_external_token_endpoint: begins with http\/\/ there; taken for http:\/\//);
    assert.match(told, /no VirtualHost says authentication = "oauth_external"/);
  });
});

describe('migrate, on a file of two virtual hosts with Include and variables', () => {
  let provider: TestProvider;
  let files: Record<string, string>;
  before(async () => {
    provider = await startProvider();
    const { post } = provider.clients;
    files = {
      'prosody.cfg.lua': `
local id = "${provider.issuer}"
modules_enabled = { "roster"; "register"; "saslauth" }
authentication = "oauth_external"
oauth_external_issuer = id
oauth_external_token_endpoint = id .. "/token"
oauth_external_validation_endpoint = id .. "/me"
oauth_external_scope = "openid profile email"
Include "conf.d/*.cfg.lua"
VirtualHost "internal.example"
authentication = "internal_hashed"
`,
      'conf.d/one.cfg.lua': `
VirtualHost "one.example"
oauth_external_client_id = "${post.id}"
oauth_external_client_secret = "${post.secret}"
`,
      'conf.d/two.cfg.lua': `
VirtualHost "corp.example" {
  oauth_external_client_id = "${post.id}";
  oauth_external_client_secret = "${post.secret}";
  oauth_external_username_field = "email";
  oauth_external_username_mapping = "split";
  sql = { password = os.getenv("SQL_PASSWORD") };
}
`,
    };
  });
  after(() => provider.stop());

  it('logs the same users in', async () => {
    const jwt = await provider.token('alice', { format: 'jwt' });
    const others = await provider.token('alice', { format: 'jwt', client: 'other' });
    const password = provider.users.alice?.password ?? '';
    await migrateAndLogIn(files, [
      [`alice:one.example:${password}`, 1],
      ['alice:one.example:wrong', 0],
      [`alice:one.example:${jwt}`, 1],
      [`alice:one.example:${others}`, 0],
      [`bob:one.example:${password}`, 0],
      [`alice:corp.example:${password}`, 1],
      [`alice:internal.example:${password}`, 0],
    ]);
  });

  it('puts each secret into a file for the server alone, and shows none', async () => {
    const first = 'CANARY-of-one';
    const second = 'CANARY-of-two';
    const canaries = Object.fromEntries(
      Object.entries(files).map(([name, text]) => [
        name,
        text.replace(/(client_secret = ")[^"]*/, `$1${name.includes('one') ? first : second}`),
      ]),
    );
    const folder = temporaryFolder();
    const output = join(folder, 'deep', 'config.yml');
    const source = write(canaries);
    const printed = await runCommand(['migrate', source]);
    const written = await runCommand(['migrate', source, '--output', output]);
    const again = await runCommand(['migrate', source, '--output', output]);
    assert.deepEqual([printed.code, written.code, again.code], [0, 0, 1]);
    assert.match(again.stderr, /config\.yml exists, and nothing is written over/);
    const yaml = readFileSync(output, 'utf8');
    assert.doesNotMatch(JSON.stringify([printed, written, again, yaml]), /CANARY/);
    assert.equal(statSync(output).mode & 0o777, 0o640);
    for (const [name, secret] of [
      ['client_secret', first],
      ['client_secret.corp.example', second],
    ] as const) {
      const file = join(folder, 'deep', name);
      assert.equal(readFileSync(file, 'utf8').trim(), secret);
      assert.equal(statSync(file).mode & 0o777, 0o600);
      assert.ok(yaml.includes(`client_secret_file: ${file}`));
    }
    assert.match(printed.stdout, /^# Made by/);
    assert.match(printed.stderr, /client_secret: put the client secret into it/);
  });

  it('says what to change over there, and what it did not understand', async () => {
    const source = write(files);
    const { stderr } = await runCommand(['migrate', source]);
    for (const line of [
      /prosody\.cfg\.lua:4 {2}authentication$/m,
      /one\.cfg\.lua:4 {2}oauth_external_client_secret$/m,
      /prosody\.cfg\.lua:3 {2}modules_enabled: take "register" out$/m,
      /two\.cfg\.lua:2 {2}os\.getenv\("SQL_PASSWORD"\)/,
      /^VirtualHost "one\.example"\n\tauthentication = "dovecot"\n\tdovecot_auth_socket = "\/run\/extauth-oauth\/one\.example\.sock"$/m,
      /^systemctl enable --now extauth-oauth-prosody@one\.example\.socket extauth-oauth-prosody@corp\.example\.socket$/m,
    ]) {
      assert.match(stderr, line);
    }
    assert.doesNotMatch(stderr, /internal\.example/);
  });
});

describe('migrate', () => {
  const options: [lua: string, yaml: RegExp | undefined, note?: RegExp][] = [
    ['issuer = "https://id.example"', /^issuer: https:\/\/id\.example$/m],
    [
      'discovery_url = "https://id.example/.well-known/oauth-authorization-server/realm"',
      /^issuer: https:\/\/id\.example\/realm$/m,
    ],
    [
      'discovery_url = "https://id.example/realm/.well-known/oauth-authorization-server"',
      /^issuer: https:\/\/id\.example\/realm$/m,
    ],
    ['token_endpoint = "https://id.example/t"', /^resource_owner_password: true$/m],
    [
      'token_endpoint = "https://id.example/t"\noauth_external_resource_owner_password = false',
      /^resource_owner_password: false$/m,
      /name them by accepted_clients; until then `check` fails/,
    ],
    ['resource_owner_password = true', /^resource_owner_password: false$/m],
    ['sasl_username_mapping = "join"', /^sasl_username_mapping: join$/m],
    ['username_mapping = "split"', /^username_mapping: split$/m, /took every domain/],
    ['username_mapping = "twist"', undefined, /knows only "split"/],
    ['username_field = "email"', /^username_field: email$/m, /require_email_verified/],
    ['http_settings = { connection_pooling = true }', undefined, /http_settings: means nothing here/],
    ['client_secret = "alone"', undefined, /there is no client_id that it belongs to/],
    ['client_di = "xmpp"', undefined, /the module has no such option/],
    ['scope = 7', /^scope: openid$/m, /is no text/],
  ];
  for (const [lua, yaml, note] of options) {
    it(`takes oauth_external_${lua.replace('\n', ', ')}`, () => {
      const migration = migrated(`oauth_external_${lua}`);
      assert.ok(migration);
      if (yaml !== undefined) assert.match(migration.yaml, yaml);
      if (note !== undefined) assert.match(migration.notes.join('\n'), note);
    });
  }

  it('says the same once for hosts that are alike, and gives a host what it had of its own', () => {
    const alike = migrated(
      'authentication = "oauth_external"\noauth_external_issuer = "https://id.example"\nVirtualHost "a.example"\nVirtualHost "b.example"',
    );
    assert.match(alike?.yaml ?? '', /^issuer: .*$/m);
    assert.match(alike?.yaml ?? '', /^hosts:\n {2}a\.example: {}\n {2}b\.example: {}$/m);
    const own = migrated(
      'authentication = "oauth_external"\noauth_external_scope = "openid"\nVirtualHost "a.example"\nVirtualHost "b.example"\noauth_external_scope = "other"',
    );
    assert.match(own?.yaml ?? '', /a\.example:[\s\S]*scope: openid[\s\S]*b\.example:[\s\S]*scope: other/);
  });

  it("finds nothing in Debian's own file, and says so", async () => {
    const { code, stderr } = await runCommand(['migrate', '/etc/prosody/prosody.cfg.lua']);
    assert.equal(code, 1);
    assert.match(stderr, /nothing to migrate: no oauth_external_ option/);
  });
});
