// From nothing to the first login, as somebody does it who has a Debian with Node and ejabberd, and a provider: the README's
// commands, the lines that `init` prints pasted into Debian's own ejabberd.yml, and an XMPP client. Counted and timed.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { root } from '../../support/bridge.ts';
import { startProvider, type TestProvider } from '../../support/provider.ts';
import { makeCheckout } from '../support/checkout.ts';
import { within } from '../support/ejabberd.ts';
import { type Machine, startMachine } from '../support/machine.ts';
import { logOut, mustBeRefused, mustLogIn } from '../support/xmpp.ts';

const domain = 'chat.example';
const password = 'wonderland';
/** Of Debian's ejabberd.yml. The other listeners are closed, which the test has no use for. */
const port = 5222;

let provider: TestProvider;
let machine: Machine;
let checkout: string;

before(async () => {
  checkout = makeCheckout({ installed: true });
  provider = await startProvider({ users: { alice: { password }, bob: { password: 'builder' } } });
  machine = await startMachine();
});
after(async () => {
  await machine?.stop();
  await provider?.stop();
});

test('two commands, six answers, the lines pasted, a restart: alice is in, and nobody else by her password', {
  timeout: 230_000,
}, async (t) => {
  const started = performance.now();
  const spent: string[] = [];
  let since = started;
  const lap = (what: string): void => {
    spent.push(`${what} ${Math.round((performance.now() - since) / 1000)} s`);
    since = performance.now();
  };
  async function sh(lines: string, options: Parameters<Machine['sh']>[1] = {}): Promise<string> {
    const { code, out } = await machine.sh(lines, options);
    assert.equal(code, 0, out);
    return out;
  }

  const install = /^\.package\/deb .*$/m.exec(readFileSync(join(root, 'README.md'), 'utf8'))?.[0] ?? '';
  assert.notEqual(install, '');
  await sh(install, { cwd: checkout });
  lap('install');

  const answers = [
    ['Issuer', provider.issuer],
    ['Virtual hosts', domain],
    ['Server', 'ejabberd'],
    ['Users type', 'passwords'],
    ['Client id', provider.clientId],
    ['Client secret', provider.clientSecret],
  ];
  const typist = join(root, 'test/support/typist.py');
  await sh(`cat >/root/answers`, { input: JSON.stringify(answers) });
  const printed = await sh(`python3 ${typist} "$(cat /root/answers)" extauth-oauth init`);
  assert.ok(!printed.includes(provider.clientSecret), printed);
  lap('init');

  const file = '/etc/ejabberd/ejabberd.yml';
  const original = await sh(`cat ${file}`);
  await sh(`cat >${file}`, { input: pasted(original, printed) });
  const found = await sh('extauth-oauth check');
  assert.doesNotMatch(found, /ERROR/);
  lap('the lines, and check');

  // As Debian's unit starts it; without the port mapper, which somebody else may run here.
  await sh('echo "ERL_DIST_PORT=52100" >>/etc/default/ejabberd');
  await sh('chown -R ejabberd: /var/lib/ejabberd /var/log/ejabberd');
  const service = { as: { user: 'ejabberd', home: '/var/lib/ejabberd' }, cwd: '/var/lib/ejabberd' };
  await sh('/usr/sbin/ejabberdctl start', service);
  t.after(() => machine.sh('/usr/sbin/ejabberdctl stop; /usr/sbin/ejabberdctl stopped', service));
  const isUp = async (): Promise<boolean> =>
    (await machine.sh('/usr/sbin/ejabberdctl status', service)).code === 0;
  assert.ok(await within(60_000, isUp), (await machine.sh('cat /var/log/ejabberd/*.log', service)).out);
  lap('restart');

  // Debian's certificate is its own.
  process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';
  try {
    await logOut(await mustLogIn({ port, domain, username: 'alice', password }));
    lap('the first login');
    await mustBeRefused({ port, domain, username: 'alice', password: 'wrong' });
    await mustBeRefused({ port, domain, username: 'bob', password });
  } finally {
    delete process.env.NODE_TLS_REJECT_UNAUTHORIZED;
  }
  t.diagnostic(`from nothing to the first login: ${spent.join(', ')}; ${answers.length} answers`);
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
