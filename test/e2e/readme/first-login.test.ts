// From nothing to the first login, as somebody does it who has a Debian with Node and a server, and a provider: the README's
// commands, the lines that `init` prints pasted into Debian's own files, systemd, and an XMPP client. Counted and timed.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import { root } from '../../support/bridge.ts';
import { startProvider, type TestProvider } from '../../support/provider.ts';
import { makeCheckout } from '../support/checkout.ts';
import { accepts, within } from '../support/ejabberd.ts';
import { type Machine, startMachine } from '../support/machine.ts';
import { logOut, mustBeRefused, mustLogIn } from '../support/xmpp.ts';

const domain = 'chat.example';
const password = 'wonderland';
/** Of Debian's own configuration files. */
const port = 5222;

let provider: TestProvider;
let machine: Machine;
let checkout: string;

before(async () => {
  checkout = makeCheckout({ installed: true });
  provider = await startProvider({ users: { alice: { password }, bob: { password: 'builder' } } });
});
after(() => provider?.stop());
beforeEach(async () => {
  machine = await startMachine({ systemd: true });
});
afterEach(async () => {
  await machine?.sh('systemctl stop extauth-oauth.service ejabberd prosody epmd.service epmd.socket || true');
  await machine?.stop();
});

async function sh(lines: string, options: Parameters<Machine['sh']>[1] = {}): Promise<string> {
  const { code, out } = await machine.sh(lines, options);
  assert.equal(code, 0, out);
  return out;
}

/** Whole seconds of what has been done since the last time. */
function stopwatch(): { lap(what: string): void; told(): string } {
  const spent: string[] = [];
  let since = performance.now();
  return {
    lap(what) {
      spent.push(`${what} ${Math.round((performance.now() - since) / 1000)} s`);
      since = performance.now();
    },
    told: () => spent.join(', '),
  };
}

/** The README's line. */
async function install(): Promise<void> {
  const line = /^\.package\/deb .*$/m.exec(readFileSync(join(root, 'README.md'), 'utf8'))?.[0] ?? '';
  assert.notEqual(line, '');
  await sh(line, { cwd: checkout });
}

/** What it prints. Six answers. */
async function init(server: string): Promise<string> {
  const answers = [
    ['Issuer', provider.issuer],
    ['Virtual hosts', domain],
    ['Server', server],
    ['Users type', 'passwords'],
    ['Client id', provider.clientId],
    ['Client secret', provider.clientSecret],
  ];
  const typist = join(root, 'test/support/typist.py');
  await sh(`cat >/root/answers`, { input: JSON.stringify(answers) });
  const printed = await sh(`python3 ${typist} "$(cat /root/answers)" extauth-oauth init`);
  assert.ok(!printed.includes(provider.clientSecret), printed);
  return printed;
}

/** A certificate of the test's own is not one that anybody trusts. */
async function mustLogInAlone(lap: (what: string) => void): Promise<void> {
  process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';
  try {
    const isUp = within(30_000, () => accepts(port));
    assert.ok(await isUp, (await machine.sh('journalctl --no-pager | tail -50')).out);
    await logOut(await mustLogIn({ port, domain, username: 'alice', password }));
    lap('the first login');
    await mustBeRefused({ port, domain, username: 'alice', password: 'wrong' });
    await mustBeRefused({ port, domain, username: 'bob', password });
  } finally {
    delete process.env.NODE_TLS_REJECT_UNAUTHORIZED;
  }
}

test('ejabberd: two commands, six answers, the lines pasted, a restart: alice is in, and nobody else by her password', {
  timeout: 230_000,
}, async (t) => {
  const { lap, told } = stopwatch();
  await install();
  lap('install');
  const printed = await init('ejabberd');
  lap('init');

  const file = '/etc/ejabberd/ejabberd.yml';
  const original = await sh(`cat ${file}`);
  await sh(`cat >${file}`, { input: pasted(original, printed) });
  assert.doesNotMatch(await sh('extauth-oauth check'), /ERROR/);
  lap('the lines, and check');

  const [restart = ''] = /systemctl restart ejabberd/.exec(printed) ?? [];
  await sh(restart);
  lap('restart');
  await mustLogInAlone(lap);
  t.diagnostic(`from nothing to the first login: ${told()}`);
});

test('Prosody: the same, with the lines for the daemon pasted into a shell', {
  timeout: 230_000,
}, async (t) => {
  // A server that is in use has one.
  const certificate = `/etc/prosody/certs/${domain}`;
  await sh(
    `openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=${domain} -keyout ${certificate}.key -out ${certificate}.crt
chown prosody ${certificate}.*`,
  );
  const { lap, told } = stopwatch();
  await install();
  lap('install');
  const printed = await init('prosody-dovecot');
  lap('init');

  const file = '/etc/prosody/prosody.cfg.lua';
  const lines = printed.split('\n');
  const [from, never, daemon, last] = [
    'In prosody.cfg.lua',
    'Never load',
    'The daemon',
    'systemctl restart',
  ].map((start) => lines.findIndex((line) => line.startsWith(start))) as [number, number, number, number];
  assert.ok(from >= 0 && from < never && never < daemon && daemon < last, printed);
  const original = await sh(`cat ${file}`);
  const own = lines.slice(from + 1, never);
  const virtualHost = own.findIndex((line) => line.startsWith('VirtualHost'));
  // What holds for all goes before the first virtual host; and no "register", as it says.
  const text = original
    .replace(/^\s*"register";.*\n/m, '')
    .replace(/^(?=VirtualHost )/m, () => `${own.slice(0, virtualHost).join('\n')}\n`);
  await sh(`cat >${file}`, { input: `${text}\n${own.slice(virtualHost).join('\n')}\n` });
  lap('the lines');

  await sh(lines.slice(daemon + 1, last + 1).join('\n'));
  lap('the daemon, and restart');
  const found = await sh('extauth-oauth check');
  assert.doesNotMatch(found, /ERROR/);
  lap('check');
  await mustLogInAlone(lap);
  const shown = await sh('systemctl show -p User -p NRestarts -p ActiveState extauth-oauth.service');
  assert.deepEqual(shown.trim().split('\n').toSorted(), [
    'ActiveState=active',
    'NRestarts=0',
    'User=extauth-oauth',
  ]);
  t.diagnostic(`from nothing to the first login: ${told()}`);
});

/** The file with what `init` has printed in the places that it names. */
function pasted(original: string, printed: string): string {
  const lines = printed.split('\n');
  const from = lines.findIndex((line) => line.startsWith('In ejabberd.yml'));
  const listeners = lines.findIndex((line) => line.startsWith('There, too'));
  const end = lines.findIndex((line) => line.startsWith('And no mod_register'));
  assert.ok(from >= 0 && from < listeners && listeners < end, printed);
  const top = lines.slice(from + 1, listeners).filter((line) => /^\w+:/.test(line));
  const settings = lines
    .slice(listeners + 1, end)
    .filter((line) => /^ +\w+: /.test(line))
    .map((line) => `    ${line.trim()}\n`);
  assert.ok(top.length >= 4 && settings.length >= 3, printed);
  let text = original.replace(/^hosts:\n(?: +- .*\n)+/m, `hosts:\n  - ${domain}\n`);
  for (const line of top) {
    const name = line.slice(0, line.indexOf(':'));
    text = text.replace(new RegExp(`^${name}:.*\\n(?:[ -]+.*\\n)*`, 'm'), '');
  }
  text = text.replace(/^ {2}mod_register:.*\n(?: {4,}.*\n)*/m, '');
  text = text.replace(/^( {4}module: ejabberd_c2s\n)((?: {4}.*\n)*)/gm, (_, module: string, rest: string) => {
    const others = rest
      .split(/(?<=\n)/)
      .filter((line) => !settings.some((each) => each.split(':')[0] === line.split(':')[0]));
    return module + settings.join('') + others.join('');
  });
  return `${text}\n${top.join('\n')}\n`;
}
