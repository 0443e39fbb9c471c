// Every shell block of the README is run, in its order, on a machine that is this one with a layer on top: what somebody
// copies works, and what is shown as output comes out. A block that nobody runs fails.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { root } from '../../support/bridge.ts';
import { startProvider } from '../../support/provider.ts';
import { makeCheckout } from '../support/checkout.ts';
import { type Machine, type Ran, type RunOptions, startMachine } from '../support/machine.ts';

interface Block {
  readonly language: string;
  readonly text: string;
}

const readme = readFileSync(join(root, 'README.md'), 'utf8');
const blocks: Block[] = [...readme.matchAll(/^```(\w*)\n([\s\S]*?)^```$/gm)].map(
  ([, language = '', text = '']) => ({
    language,
    text,
  }),
);
/** A session shows commands after a $, and what they print. */
const isSession = ({ text }: Block): boolean => /^(?:\$ |# extauth-oauth)/m.test(text);
const isShell = (block: Block): boolean =>
  /^(?:sh|bash|shell|console)$/.test(block.language) || isSession(block);

const SERVER = { user: 'ejabberd', home: '/var/lib/ejabberd' };
const CONFIG = '/etc/extauth-oauth/config.yml';
const PASSWORD = 'wonderland';

let machine: Machine;
let checkout: string;
let provider: Awaited<ReturnType<typeof startProvider>>;

interface Runner {
  /** How the block begins; a $ is not part of it. */
  readonly begins: string;
  readonly run: (text: string) => void | Promise<void>;
}

/** As it stands, in the checkout. */
async function asItStands(text: string, options: RunOptions = {}): Promise<string> {
  const { code, out } = await machine.sh(text, { cwd: checkout, ...options });
  assert.equal(code, 0, out);
  return out;
}

const runners: readonly Runner[] = [
  {
    begins: 'npm ci && npm run demo',
    async run(text) {
      assert.match(await asItStands(text), /REQUEST +SECRET +ANSWER/);
    },
  },
  {
    // It takes as long as everything else together, and .ci/run has run it by the time it comes to this test.
    begins: 'npm ci && npm test',
    run() {
      const script = readFileSync(join(root, '.ci/run'), 'utf8').split('\n');
      for (const line of ['npm ci', 'npm test']) assert.ok(script.includes(line), line);
    },
  },
  {
    begins: '.package/deb',
    async run(text) {
      await asItStands(text);
      assert.match(
        await asItStands('extauth-oauth --version && man -w 5 extauth-oauth'),
        /extauth-oauth\.5\.gz/,
      );
      // The way of the next block is another one to the same place.
      await asItStands('dpkg --purge extauth-oauth');
    },
  },
  {
    begins: 'extauth-oauth init',
    async run(text) {
      const [{ command = '', output = '' } = {}] = commandsIn(text);
      const typed = [
        ['address of the provider: ', `${provider.issuer}/`],
        ['[yes]: ', ''],
        ['XMPP server: ', 'chat.example.org'],
        ['[ejabberd]: ', ''],
        ['[tokens]: ', 'passwords'],
        ['[xmpp]: ', ''],
        ['(not shown): ', provider.clientSecret],
      ].map(([when = '', answer = '']) => ({ when, text: answer }));
      const ran = await machine.sh(command, { typed });
      assert.equal(ran.code, 0, ran.out);
      assert.ok(!ran.out.includes(provider.clientSecret), 'the secret is on the terminal');
      // The lines to paste follow.
      assertShown(ran, `${output}...\n`);
      await asItStands('rm -r /etc/extauth-oauth');
    },
  },
  {
    begins: 'npm pack && npm install -g',
    async run(text) {
      await asItStands(text);
      const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
      assert.equal((await asItStands('extauth-oauth --version')).trim(), version);
      const places = await asItStands(
        'ls -d "$(npm root -g)/extauth-oauth" && command -v extauth-oauth-prosody',
      );
      assert.equal(places.trim().split('\n').length, 2);
    },
  },
  {
    begins: 'install -d -m 755 /etc/extauth-oauth',
    async run(text) {
      await asItStands(text, { input: `${provider.clientSecret}\n` });
      const secret = await asItStands('stat -c "%U %a" /etc/extauth-oauth/client_secret');
      assert.equal(secret.trim(), 'ejabberd 600');
    },
  },
  {
    begins: 'extauth-oauth check',
    async run(text) {
      await writeConfig();
      // An ejabberd.yml like the one that is shown further down, but for the cache: what check is to find.
      const yaml = blocks.find(({ text }) => text.startsWith('auth_method: [external]'))?.text ?? '';
      const input = `hosts: [chat.example.org]\n${yaml.replace(/^auth_use_cache: .*\n/m, '')}`;
      await asItStands('cat >/etc/ejabberd/ejabberd.yml', {
        input,
      });
      const [check, ...logins] = commandsIn(text);
      const checked = await machine.sh(check?.command ?? '', { as: SERVER });
      assert.equal(checked.code, 1, checked.out);
      const rows = linesOf(checked.out);
      for (const line of linesOf(check?.output ?? ''))
        assert.ok(rows.includes(line), `${line}\nnot in\n${rows.join('\n')}`);

      const other = provider.clients.other;
      const token = await provider.token('alice', { format: 'jwt', client: 'other', audience: other.id });
      for (const [index, { command, output }] of logins.entries()) {
        const typed = { when: '(not shown): ', text: index === 0 ? PASSWORD : token };
        const ran = await machine.sh(command, { as: SERVER, typed: [typed] });
        assert.ok(!ran.out.includes(typed.text), 'the secret is on the terminal');
        assertShown(ran, output);
      }
    },
  },
  {
    // The file is root's alone, which is what it shows.
    begins: 'extauth-oauth login alice@chat.example.org --as ejabberd',
    async run(text) {
      await writeConfig();
      await asItStands(`chmod 600 ${CONFIG}`);
      const typed = { when: '(not shown): ', text: PASSWORD };
      for (const { command, output } of commandsIn(text)) {
        const ran = await machine.sh(command, { typed: [typed] });
        assert.ok(!ran.out.includes(PASSWORD), 'the secret is on the terminal');
        assertShown(ran, output);
      }
    },
  },
  {
    begins: 'cd "$(npm root -g)/extauth-oauth/examples"',
    async run(text) {
      // Nobody's init runs there: units are enabled in the files, and starting them is what serve.test.ts is for.
      const stub =
        'real=$(command -v systemctl)\nprintf \'#!/bin/sh\\n[ "$1" = daemon-reload ] && exit\\nshift 2; exec %s --root=/ enable "$@"\\n\' "$real" >/usr/local/bin/systemctl\nchmod 755 /usr/local/bin/systemctl';
      await asItStands(stub);
      assert.equal((await asItStands(text)).match(/Created symlink/g)?.length, 3);
      // Every unit of the service's is as systemd wants it, from where it has been installed.
      const verified =
        'systemd-analyze verify --recursive-errors=no extauth-oauth.service extauth-oauth-ejabberd.socket 2>&1';
      assert.doesNotMatch((await machine.sh(verified)).out, /extauth-oauth\S*:\d+:|bad-setting/);
    },
  },
  {
    begins: 'install -d -o ejabberd -g ejabberd -m 700 /var/lib/extauth-oauth',
    async run(text) {
      await asItStands(text);
      assert.equal((await asItStands('stat -c "%U %a" /var/lib/extauth-oauth')).trim(), 'ejabberd 700');
    },
  },
  {
    begins: 'extauth-oauth users list',
    async run(text) {
      await writeConfig('state: lmdb:/var/lib/extauth-oauth\n');
      // `login` leaves it to the server to make the store: one login over the wire.
      const request = `auth:alice:chat.example.org:${PASSWORD}`;
      const wire = `printf '\\0\\${request.length.toString(8)}%s' '${request}' | extauth-oauth | od -An -tx1`;
      assert.match((await machine.sh(wire, { as: SERVER })).out, /00 02 00 01/);
      for (const { command, output } of commandsIn(text))
        assertShown(await machine.sh(command, { as: SERVER }), output);
    },
  },
];

/** The README's own configuration, of this provider. */
async function writeConfig(extra = ''): Promise<void> {
  const yaml =
    blocks.find(({ language, text }) => language === 'yaml' && text.startsWith('issuer:'))?.text ?? '';
  const ours = yaml.replace(/^issuer: .*$/m, `issuer: ${provider.issuer}`);
  assert.ok(ours.includes(provider.issuer) && ours.includes('client_id: xmpp'));
  await asItStands(`cat >${CONFIG}; chmod 644 ${CONFIG}`, { input: ours + extra });
}

interface Shown {
  readonly command: string;
  readonly output: string;
}

function commandsIn(text: string): Shown[] {
  return text
    .split(/^[$#] (?=\S)/m)
    .slice(1)
    .map((part) => {
      const end = part.indexOf('\n');
      return { command: part.slice(0, end), output: part.slice(end + 1) };
    });
}

/** Where a line editor puts the cursor. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: ESC begins it
const CURSOR = /\u001b\[\d*[GJK]/g;

/** Without what differs from one run to the next: addresses, times, days, subjects, and the width of all that. */
function linesOf(text: string): string[] {
  return text
    .replaceAll(CURSOR, '')
    .replaceAll(/https?:\/\/(?:127\.0\.0\.1:\d+|id\.example\.org\/realms\/company)/g, 'ISSUER')
    .replaceAll(/\b\d+(?:\.\d)? ms\b/g, 'TIME')
    .replaceAll(/\b\d{4}-\d\d-\d\d (\d{4}-\d\d-\d\d) \S+ of /g, 'DAY DAY SUBJECT of ')
    .replaceAll(/--re([ug])id=\d+/g, '--re$1id=ID')
    .split('\n')
    .map((line) => line.replace(/\s+/g, ' ').trim())
    .filter(Boolean);
}

/** What was printed is what is shown; a line of dots stands for any number of them. */
function assertShown({ out }: Ran, shown: string): void {
  const printed = linesOf(out);
  let at = 0;
  let any = false;
  for (const line of linesOf(shown)) {
    if (line === '...') {
      any = true;
      continue;
    }
    const next: number = any ? printed.indexOf(line, at) : at;
    assert.equal(printed[next], line, `shown, and not printed:\n${out}`);
    at = next + 1;
    any = false;
  }
  if (!any) assert.deepEqual(printed.slice(at), [], 'printed, and not shown');
}

const firstLine = (text: string): string => text.replace(/^[$#] /, '').split('\n')[0] ?? '';
const runnersOf = (block: Block): Runner[] =>
  runners.filter(({ begins }) => firstLine(block.text).startsWith(begins));

describe('the README', () => {
  before(async () => {
    assert.equal(
      process.geteuid?.(),
      0,
      'these tests install things, on a layer of their own: run them as root',
    );
    checkout = makeCheckout({ installed: false });
    provider = await startProvider({
      users: { alice: { password: PASSWORD }, bob: { password: 'builder' } },
    });
    machine = await startMachine();
    // A new user's has none of ours.
    await asItStands(
      'rm -rf /usr/bin/extauth-oauth* /usr/lib/extauth-oauth /usr/lib/node_modules/extauth-oauth /etc/extauth-oauth /var/lib/extauth-oauth /etc/systemd/system/*extauth-oauth* /usr/lib/systemd/system/extauth-oauth*',
    );
  });
  after(async () => {
    await machine?.stop();
    await provider?.stop();
  });

  it('has no shell block that nobody runs, and none is run that is not there', () => {
    const shell = blocks.filter(isShell);
    assert.ok(shell.length >= runners.length);
    for (const block of shell) assert.equal(runnersOf(block).length, 1, `who runs this?\n${block.text}`);
    for (const runner of runners)
      assert.ok(
        shell.some((block) => runnersOf(block).includes(runner)),
        runner.begins,
      );
    // What looks like a command, and is not marked as one.
    const unmarked = blocks.filter(
      (block) =>
        !isShell(block) && /^(?:sudo |npm |apt|cd |systemctl |install |extauth-oauth )/m.test(block.text),
    );
    assert.deepEqual(unmarked, []);
  });

  for (const block of blocks.filter(isShell)) {
    it(`works: ${firstLine(block.text)}`, { timeout: 200_000 }, async () => {
      await runnersOf(block)[0]?.run(block.text);
    });
  }
});
