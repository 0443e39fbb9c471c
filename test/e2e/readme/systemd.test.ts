// The units of examples/systemd under a systemd that runs, installed as the README says: sockets that stay, a daemon without
// an account of its own that is told its secret, and real servers that come in by it.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { root } from '../../support/bridge.ts';
import { startProvider, type TestProvider } from '../../support/provider.ts';
import { makeCheckout } from '../support/checkout.ts';
import { accepts, within } from '../support/ejabberd.ts';
import { type Machine, startMachine } from '../support/machine.ts';
import { logOut, mustBeRefused, mustLogIn } from '../support/xmpp.ts';

const domain = 'chat.example.org';
const password = 'wonderland';
const port = 5222;
const readme = readFileSync(join(root, 'README.md'), 'utf8');

/** The block of the README that begins so. */
function block(begins: string): string {
  const found = [...readme.matchAll(/^```\w*\n([\s\S]*?)^```$/gm)].find(([, text = '']) =>
    text.startsWith(begins),
  );
  assert.ok(found?.[1], begins);
  return found[1];
}

describe('the units, under systemd', { concurrency: false }, () => {
  let machine: Machine;
  let provider: TestProvider;

  async function sh(lines: string, options: Parameters<Machine['sh']>[1] = {}): Promise<string> {
    const { code, out } = await machine.sh(lines, options);
    assert.equal(
      code,
      0,
      `${out}\n${(await machine.sh('journalctl --no-pager -u extauth-oauth | tail -20')).out}`,
    );
    return out;
  }
  const show = async (property: string): Promise<string> =>
    (await sh(`systemctl show -p ${property} --value extauth-oauth.service`)).trim();
  const isRunning = async (): Promise<boolean> => (await show('ActiveState')) === 'active';
  /** What ejabberd would be told: one request, by its user, through its line. */
  async function ask(request: string): Promise<string> {
    const length = request.length.toString(8).padStart(3, '0');
    const line = `printf '\\0\\${length}%s' '${request}' | socat -t20 - UNIX-CONNECT:/run/extauth-oauth/extauth.sock | od -An -tx1`;
    return (await sh(line, { as: { user: 'ejabberd', home: '/' } })).trim();
  }
  const logIn = (user: string, secret: string): Promise<string> => ask(`auth:${user}:${domain}:${secret}`);
  const YES = '00 02 00 01';
  const NO = '00 02 00 00';

  before(async () => {
    assert.equal(
      process.geteuid?.(),
      0,
      'these tests start systemd, on a layer of their own: run them as root',
    );
    provider = await startProvider({ users: { alice: { password }, bob: { password: 'builder' } } });
    machine = await startMachine({ systemd: true });
    await sh(block('npm pack && npm install -g'), { cwd: makeCheckout({ installed: true }) });
    await sh(
      'install -d -m 755 /etc/extauth-oauth && install -m 600 /dev/stdin /etc/extauth-oauth/client_secret',
      {
        input: provider.clientSecret,
      },
    );
    const [cd = '', , ...rest] = block('cd "$(npm root -g)').split('\n');
    await sh(
      `${cd}\nsed 's|^issuer: .*|issuer: ${provider.issuer}|' serve.yml >/etc/extauth-oauth/config.yml\n${rest.join('\n')}`,
    );
  });
  after(async () => {
    await machine?.sh(
      'systemctl stop extauth-oauth.service ejabberd prosody epmd.service epmd.socket || true',
    );
    await machine?.stop();
    await provider?.stop();
  });

  it('run a daemon that is not root, and has the secret from systemd', async () => {
    assert.equal(await isRunning(), true);
    const main = await show('MainPID');
    const [uid = '', capabilities = '', filtered = ''] = (
      await sh(`awk '/^Uid:/ {print $2} /^CapEff:/ {print $2} /^Seccomp:/ {print $2}' /proc/${main}/status`)
    ).split('\n');
    assert.ok(Number(uid) > 60_000, `a user that is there for as long as the service: ${uid}`);
    assert.deepEqual([capabilities, filtered], ['0000000000000000', '2']);
    const first = await logIn('alice', password);
    assert.equal(first, YES, await sh('sleep 1; journalctl --no-pager -o cat -u extauth-oauth'));
    assert.equal(await logIn('alice', 'builder'), NO);
    assert.equal(await logIn('bob', password), NO);
    const log = await sh('journalctl --no-pager -o cat -u extauth-oauth');
    assert.match(log, /"user":"alice".*"verdict":"accepted"/);
    assert.ok(!log.includes(password) && !log.includes(provider.clientSecret));
  });

  it('let nobody else connect', async () => {
    const socket = '/run/extauth-oauth/extauth.sock';
    assert.equal(
      (await sh(`stat -c '%U:%G %a' ${socket} /run/extauth-oauth/${domain}.sock`)).trim(),
      'root:ejabberd 660\nroot:prosody 660',
    );
    const { code } = await machine.sh(`socat -u OPEN:/dev/null UNIX-CONNECT:${socket}`, {
      as: { user: 'prosody', home: '/' },
    });
    assert.notEqual(code, 0);
  });

  it('have metrics', async () => {
    assert.match(
      await sh('curl -sf http://127.0.0.1:9464/metrics'),
      /^extauth_oauth_requests_total\{.*\} \d+$/m,
    );
  });

  it('answer a login that comes while a killed daemon is away', async () => {
    const main = await show('MainPID');
    await sh('systemctl kill -s KILL extauth-oauth.service');
    assert.equal(await logIn('alice', password), YES);
    assert.notEqual(await show('MainPID'), main);
  });

  it('read the configuration again on reload, in the same process', async () => {
    const main = await show('MainPID');
    await sh(
      'sed -i "s/^resource_owner_password: true/resource_owner_password: false/" /etc/extauth-oauth/config.yml',
    );
    await sh('systemctl reload extauth-oauth.service');
    assert.ok(await within(5000, async () => (await logIn('alice', password)) === NO));
    await sh(
      'sed -i "s/^resource_owner_password: false/resource_owner_password: true/" /etc/extauth-oauth/config.yml',
    );
    await sh('systemctl reload extauth-oauth.service');
    assert.ok(await within(5000, async () => (await logIn('alice', password)) === YES));
    assert.equal(await show('MainPID'), main);
  });

  it('start a daemon again that stands still', { timeout: 60_000 }, async () => {
    await sh(
      "mkdir -p /run/systemd/system/extauth-oauth.service.d; printf '[Service]\\nWatchdogSec=3\\nTimeoutAbortSec=1\\n' >/run/systemd/system/extauth-oauth.service.d/test.conf; systemctl daemon-reload; systemctl restart extauth-oauth.service",
    );
    const main = await show('MainPID');
    await sleep(5000);
    assert.equal(await show('MainPID'), main, 'it says in time that it is well');
    // Which SIGABRT does not end, as it would end one that works in circles.
    await sh(`kill -STOP ${main}`);
    assert.equal(await logIn('alice', password), YES, 'answered by the next one');
    assert.notEqual(await show('MainPID'), main);
    await sh('rm -r /run/systemd/system/extauth-oauth.service.d; systemctl daemon-reload');
  });

  it('start it when somebody asks, and stop at once', async () => {
    const started = performance.now();
    await sh('systemctl stop extauth-oauth.service');
    assert.ok(performance.now() - started < 5000);
    assert.equal(await isRunning(), false);
    assert.equal(await logIn('alice', password), YES);
    assert.equal(await isRunning(), true);
  });

  it('stop with the sockets, and leave none behind', async () => {
    await sh(
      `systemctl stop extauth-oauth.service extauth-oauth-ejabberd.socket extauth-oauth-prosody@${domain}.socket`,
    );
    assert.equal((await sh('ls -A /run/extauth-oauth 2>/dev/null || true')).trim(), '');
    await sh(
      `systemctl start extauth-oauth-ejabberd.socket extauth-oauth-prosody@${domain}.socket extauth-oauth.service`,
    );
    assert.equal(await logIn('alice', password), YES);
  });

  /** The server's certificate is nobody's. */
  async function mustLetInAlone({ costsALogin }: { costsALogin: boolean }): Promise<void> {
    process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';
    try {
      assert.ok(await within(30_000, () => accepts(port)));
      await logOut(await mustLogIn({ port, domain, username: 'alice', password }));
      await mustBeRefused({ port, domain, username: 'bob', password });
      const main = await show('MainPID');
      await sh('systemctl restart extauth-oauth.service');
      if (costsALogin) await mustBeRefused({ port, domain, username: 'alice', password });
      await logOut(await mustLogIn({ port, domain, username: 'alice', password }));
      assert.notEqual(await show('MainPID'), main);
    } finally {
      delete process.env.NODE_TLS_REJECT_UNAUTHORIZED;
    }
  }

  it("carry Debian's ejabberd by the README's line for socat, also over a restart of the daemon", {
    timeout: 90_000,
  }, async () => {
    const yaml = block('auth_method: [external]').replace(
      /^extauth_program: .*\nextauth_pool_size: .*\n/m,
      '',
    );
    const line = block('extauth_program: "sh -c').replace('64', '8');
    const certificate = 'certfiles: [/etc/ejabberd/ejabberd.pem]\n';
    await sh('cat >/etc/ejabberd/ejabberd.yml', {
      input: `hosts: [${domain}]\n${certificate}${line}${yaml}modules: {}\n`,
    });
    await sh('systemctl start ejabberd');
    await mustLetInAlone({ costsALogin: false });
    await sh('systemctl stop ejabberd');
  });

  it("carry Debian's Prosody by examples/prosody-dovecot.cfg.lua, also over a restart of the daemon", {
    timeout: 90_000,
  }, async () => {
    const pem = `/etc/prosody/certs/${domain}`;
    await sh(`openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=${domain} -keyout ${pem}.key -out ${pem}.crt
chown prosody ${pem}.*
cp "$(npm root -g)/extauth-oauth/examples/prosody-dovecot.cfg.lua" /etc/prosody/prosody.cfg.lua
systemctl start prosody`);
    await mustLetInAlone({ costsALogin: true });
    await sh('systemctl stop prosody');
  });
});
