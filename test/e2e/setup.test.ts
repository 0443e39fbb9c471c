// As somebody does who has just installed it: `init` or `migrate`, and what they print pasted into real servers.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { load } from 'js-yaml';
import { root, temporaryFolder } from '../support/bridge.ts';
import { runCommand } from '../support/command.ts';
import { type DaemonConfig, startDaemon } from '../support/daemon.ts';
import { startProvider, type TestProvider } from '../support/provider.ts';
import { startEjabberd } from './support/ejabberd.ts';
import { startProsody } from './support/prosody.ts';
import { logOut, mustBeRefused, mustLogIn } from './support/xmpp.ts';

let provider: TestProvider;
let password: string;

before(async () => {
  provider = await startProvider();
  password = provider.users.alice?.password ?? '';
});
after(() => provider.stop());

/** What is printed between two lines that begin so. */
function between(printed: string, first: string, last: string): string {
  const lines = printed.split('\n');
  const [from, to] = [first, last].map((text) => lines.findIndex((line) => line.startsWith(text)));
  assert.ok(from !== undefined && to !== undefined && from >= 0 && to > from, printed);
  return lines.slice(from + 1, to).join('\n');
}

async function mustLetInAliceAlone(port: number, domain: string): Promise<void> {
  await logOut(await mustLogIn({ port, domain, username: 'alice', password }));
  await mustBeRefused({ port, domain, username: 'alice', password: 'wrong' });
  await mustBeRefused({ port, domain, username: 'bob', password });
}

function init(server: string, output: string): ReturnType<typeof runCommand> {
  const secretFile = join(temporaryFolder(), 'secret');
  writeFileSync(secretFile, provider.clientSecret, { mode: 0o600 });
  return runCommand([
    ...['init', '--issuer', provider.issuer, '--host', 'chat.example', '--server', server, '--passwords'],
    ...['--client-id', provider.clientId, '--secret-file', secretFile, '--output', output],
  ]);
}

/** The daemon on sockets of its own: those of the file are systemd's to open, where only root may. */
async function serve(output: string) {
  const folder = temporaryFolder();
  const { listen, ...rest } = load(readFileSync(output, 'utf8')) as DaemonConfig;
  const hosts = listen.map(({ host }) => ({ name: String(host), socket: join(folder, `${host}.sock`) }));
  const sockets = hosts.map(({ name, socket }) => ({ path: socket, protocol: 'dovecot', host: name }));
  return { hosts, daemon: await startDaemon({ config: { ...rest, listen: sockets } }) };
}

test('init, its lines in ejabberd.yml, and alice is in', async () => {
  const { code, stdout } = await init('ejabberd', join(temporaryFolder(), 'config.yml'));
  assert.equal(code, 0, stdout);
  const { extauth_program: program, ...settings } = load(
    between(stdout, 'In ejabberd.yml', 'There, too'),
  ) as Record<string, unknown>;
  const ejabberd = await startEjabberd({ hosts: ['chat.example'], program: String(program), settings });
  try {
    await mustLetInAliceAlone(ejabberd.port, 'chat.example');
  } finally {
    await ejabberd.stop();
  }
});

test('init, its lines in prosody.cfg.lua, and alice is in', async () => {
  const output = join(temporaryFolder(), 'config.yml');
  const { code, stdout } = await init('prosody-dovecot', output);
  assert.equal(code, 0, stdout);
  const { hosts, daemon } = await serve(output);
  const lines = between(stdout, 'In prosody.cfg.lua', 'Never load')
    .replace('c2s_require_encryption = true', '')
    .replaceAll(/"\/run\/extauth-oauth\/(.*)\.sock"/g, (_, name) =>
      JSON.stringify(hosts.find((host) => host.name === name)?.socket),
    );
  const prosody = await startProsody({ hosts: [], settings: [lines] });
  try {
    await mustLetInAliceAlone(prosody.port, 'chat.example');
  } finally {
    await prosody.stop();
    await daemon.stop();
  }
});

test('migrate, its lines in prosody.cfg.lua, and alice is in on both hosts', async () => {
  const folder = temporaryFolder();
  mkdirSync(join(folder, 'conf.d'));
  writeFileSync(
    join(folder, 'prosody.cfg.lua'),
    `local id = "${provider.issuer}"
authentication = "oauth_external"
oauth_external_issuer = id
oauth_external_token_endpoint = id .. "/token"
oauth_external_validation_endpoint = id .. "/me"
oauth_external_client_id = "${provider.clientId}"
oauth_external_client_secret = "${provider.clientSecret}"
oauth_external_scope = "openid profile email"
Include "conf.d/*.cfg.lua"
`,
  );
  writeFileSync(join(folder, 'conf.d/one.cfg.lua'), 'VirtualHost "one.example"\n');
  writeFileSync(
    join(folder, 'conf.d/corp.cfg.lua'),
    'VirtualHost "corp.example"\noauth_external_username_field = "email"\noauth_external_username_mapping = "split"\n',
  );
  const output = join(folder, 'ours/config.yml');
  const { code, stdout } = await runCommand(['migrate', join(folder, 'prosody.cfg.lua'), '--output', output]);
  assert.equal(code, 0, stdout);
  const checked = await runCommand(['check', '--config', output, '--root', temporaryFolder()]);
  assert.equal(checked.code, 0, checked.stdout);
  const { hosts, daemon } = await serve(output);
  assert.deepEqual(hosts.map(({ name }) => name).toSorted(), ['corp.example', 'one.example']);
  const lines = between(stdout, 'In prosody.cfg.lua', 'Never load')
    .replace('c2s_require_encryption = true', '')
    .replaceAll(/"\/run\/extauth-oauth\/(.*)\.sock"/g, (_, name) =>
      JSON.stringify(hosts.find((host) => host.name === name)?.socket),
    );
  const prosody = await startProsody({ hosts: [], settings: [lines] });
  try {
    for (const { name } of hosts) await mustLetInAliceAlone(prosody.port, name);
  } finally {
    await prosody.stop();
    await daemon.stop();
  }
});

test("systemd has nothing to say against the units and the settings of init's own", async () => {
  const { stdout } = await init('prosody-dovecot', join(temporaryFolder(), 'config.yml'));
  const folder = join(temporaryFolder(), 'units');
  cpSync(join(root, 'examples/systemd'), folder, { recursive: true });
  renameSync(
    join(folder, 'extauth-oauth-prosody@.socket'),
    join(folder, 'extauth-oauth-prosody@chat.example.socket'),
  );
  mkdirSync(join(folder, 'extauth-oauth.service.d'));
  writeFileSync(
    join(folder, 'extauth-oauth.service.d/local.conf'),
    `${between(stdout, 'cat > /etc', 'END')}\n`,
  );
  const units = ['./extauth-oauth.service', './extauth-oauth-prosody@chat.example.socket'];
  const found = execFileSync(
    'sh',
    ['-c', 'systemd-analyze "$@" 2>&1', 'sh', 'verify', '--recursive-errors=no', ...units],
    {
      cwd: folder,
      encoding: 'utf8',
      env: { PATH: process.env.PATH ?? '', SYSTEMD_COLORS: '0', SYSTEMD_UNIT_PATH: `${folder}:` },
    },
  );
  assert.deepEqual(
    found.split('\n').filter((line) => line !== '' && !line.includes('/usr/bin/node is not executable')),
    [],
  );
});
