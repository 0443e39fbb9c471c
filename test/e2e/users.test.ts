// What a real ejabberd makes of our answer to whether somebody exists: a message to a user who is away is kept, one to a
// name that nobody has comes back, whatever state the provider is in.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Element, xml } from '@xmpp/client';
import { program, temporaryFolder, writeConfig } from '../support/bridge.ts';
import { type Script, type Scripted, startScripted } from '../support/scripted-provider.ts';
import { type Ejabberd, startEjabberd, within } from './support/ejabberd.ts';
import { type LoggedIn, logOut, mustLogIn } from './support/xmpp.ts';

const host = 'a.example';
const answerWithin = 10_000;
/** Long enough for every worker's breaker to open, and for its own deadline. OUTAGE_SECONDS: another length. */
const stallFor = Number(process.env.OUTAGE_SECONDS ?? 12) * 1000;

let provider: Scripted;
let ejabberd: Ejabberd;

before(async () => {
  provider = await startScripted();
  for (const endpoint of ['token', 'userinfo'] as const) provider.set(endpoint, healthy[endpoint]);
  const config = writeConfig({
    token_endpoint: provider.endpoints.token,
    validation_endpoint: provider.endpoints.userinfo,
    client_id: 'xmpp',
    client_secret: 'secret',
    revoke_after_login: false,
    state: `lmdb:${temporaryFolder()}/state`,
    deadline: '3s',
    http: { timeout: '1s' },
  });
  ejabberd = await startEjabberd({
    hosts: [host],
    program: `env EXTAUTH_OAUTH_CONFIG=${config} ${process.execPath} ${program}`,
    pool: 2,
    settings: { modules: { mod_offline: {} } },
  });
});

after(async () => {
  await ejabberd?.stop();
  await provider?.stop();
});

/** Whoever knows the password is who he says he is. */
const healthy: Record<'token' | 'userinfo', Script> = {
  token: ({ body }) => {
    const form = new URLSearchParams(body);
    return form.get('password') === 'right'
      ? { body: { access_token: `of-${form.get('username')}`, token_type: 'Bearer' } }
      : { status: 400, body: { error: 'invalid_grant' } };
  },
  userinfo: ({ headers }) => {
    const name = headers.authorization?.replace('Bearer of-', '');
    return { body: { sub: `sub-of-${name}`, preferred_username: name } };
  },
};

const logIn = (username: string): Promise<LoggedIn> =>
  mustLogIn({ port: ejabberd.port, domain: host, username, password: 'right' });

/** What comes in from now on. */
function watch({ client }: LoggedIn): Element[] {
  const stanzas: Element[] = [];
  client.on('stanza', (stanza: Element) => stanzas.push(stanza));
  return stanzas;
}

async function say(from: LoggedIn, to: string, text: string): Promise<void> {
  await from.client.send(
    xml('message', { to: `${to}@${host}`, type: 'chat', id: text }, xml('body', {}, text)),
  );
}

/** Whether the message came back, when something that is answered in any case has been. */
async function bounced(stanzas: Element[], from: LoggedIn, to: string, text: string): Promise<boolean> {
  await say(from, to, text);
  const isBack = (): boolean =>
    stanzas.some((each) => each.name === 'message' && each.attrs.type === 'error' && each.attrs.id === text);
  await within(2000, isBack);
  return isBack();
}

/** None of them has seen anybody: what they know lies in the store. */
async function replaceWorkers(): Promise<void> {
  const before = ejabberd.workers();
  for (const pid of before) process.kill(pid, 'SIGKILL');
  const areNew = (): boolean => {
    const now = ejabberd.workers();
    return now.length === before.length && now.every((pid) => !before.includes(pid));
  };
  assert.ok(await within(answerWithin, areNew), 'ejabberd has started others');
}

/** The texts that were kept for a user. */
async function fetchKept(username: string): Promise<string[]> {
  const user = await logIn(username);
  const stanzas = watch(user);
  await user.client.send(xml('presence'));
  await sleep(1500);
  await logOut(user);
  return stanzas.filter((each) => each.name === 'message').map((each) => each.getChild('body')?.text() ?? '');
}

test('a message to a known user who is away is kept, and one to a stranger comes back, in every outage', async (t) => {
  await logOut(await logIn('alice'));
  const bob = await logIn('bob');
  const stanzas = watch(bob);
  const kept: string[] = [];
  for (const [trouble, script] of [
    ['up', undefined],
    ['down', { status: 503 }],
    ['hanging-up', { reset: 'beforeHeaders' }],
    ['stalling', { stall: true }],
    ['stalling-with-new-workers', { stall: true }],
    ['up-again', undefined],
    ['down-again', { status: 503 }],
  ] as const) {
    if (trouble === 'stalling-with-new-workers') await replaceWorkers();
    for (const endpoint of ['token', 'userinfo'] as const)
      provider.set(endpoint, script ?? healthy[endpoint]);
    const until = Date.now() + (trouble === 'stalling' ? stallFor : 0);
    for (let n = 0; n === 0 || Date.now() < until; n++) {
      const text = `${trouble}-${n}`;
      assert.equal(await bounced(stanzas, bob, 'alice', text), false, text);
      kept.push(text);
      assert.equal(await bounced(stanzas, bob, 'nobody', `${text}-lost`), true, text);
    }
  }
  for (const endpoint of ['token', 'userinfo'] as const) provider.set(endpoint, healthy[endpoint]);
  t.diagnostic(`${kept.length} messages`);
  assert.ok(
    await within(answerWithin, async () => {
      try {
        assert.deepEqual(await fetchKept('alice'), kept);
        return true;
      } catch (error) {
        if (error instanceof assert.AssertionError) throw error;
        return false;
      }
    }),
    'the provider is back',
  );
  await logOut(bob);
});

test('unregister forgets the user here, and what ejabberd has of the name', async () => {
  await logOut(await logIn('carol'));
  const bob = await logIn('bob');
  const stanzas = watch(bob);
  assert.equal(await bounced(stanzas, bob, 'carol', 'to-carol'), false);
  await ejabberd.ctl('unregister', 'carol', host);
  assert.equal(await bounced(stanzas, bob, 'carol', 'to-carol-who-is-gone'), true);
  assert.deepEqual(await fetchKept('carol'), [], 'what was kept for the one before');
  assert.equal(
    provider.seen.every(({ endpoint }) => endpoint === 'token' || endpoint === 'userinfo'),
    true,
    'the provider was asked about logins and nothing else',
  );
  await logOut(bob);
});
