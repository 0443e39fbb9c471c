// What a real ejabberd makes of a directory that is asked who exists: a message to a user who has never been here is kept
// until his first login, one to a name that nobody has comes back, and no user loses any while the directory is away.
// Prosody is not here: mod_auth_dovecot takes everybody for a user and asks nobody (SASL is all that it hands on).
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Element, xml } from '@xmpp/client';
import { program, temporaryFolder, writeConfig } from '../support/bridge.ts';
import { type Script, type Scripted, startScripted } from '../support/scripted-provider.ts';
import { type Ejabberd, startEjabberd, within } from './support/ejabberd.ts';
import { type LoggedIn, logOut, mustLogIn } from './support/xmpp.ts';

const host = 'a.example';
/** What comes back does so within so many milliseconds, or not at all. */
const backWithin = 1500;
const directoryToken = 'token-for-the-directory';
/** Who is in the directory. */
const users = new Set([
  'bob',
  'carol',
  'dave',
  'erin',
  'frank',
  'grace',
  'heidi',
  'ivan',
  'judy',
  'mike',
  'olivia',
]);

let provider: Scripted;
let directory: Scripted;
let ejabberd: Ejabberd;

before(async () => {
  provider = await startScripted();
  for (const endpoint of ['token', 'userinfo'] as const) provider.set(endpoint, healthy[endpoint]);
  directory = await startScripted();
  directory.set('directory', scim);
  const config = writeConfig({
    token_endpoint: provider.endpoints.token,
    validation_endpoint: provider.endpoints.userinfo,
    client_id: 'xmpp',
    client_secret: 'secret',
    revoke_after_login: false,
    state: `lmdb:${temporaryFolder()}/state`,
    user_exists: 'lookup',
    user_lookup: { type: 'scim', url: directory.endpoints.directory },
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
  await directory?.stop();
  await provider?.stop();
});

/** Whoever knows the password is who he says he is; our client gets a token for the directory. */
const healthy: Record<'token' | 'userinfo', Script> = {
  token: ({ body }) => {
    const form = new URLSearchParams(body);
    if (form.get('grant_type') === 'client_credentials')
      return { body: { access_token: directoryToken, token_type: 'Bearer' } };
    return form.get('password') === 'right'
      ? { body: { access_token: `of-${form.get('username')}`, token_type: 'Bearer' } }
      : { status: 400, body: { error: 'invalid_grant' } };
  },
  userinfo: ({ headers }) => {
    const name = headers.authorization?.replace('Bearer of-', '');
    return { body: { sub: `sub-of-${name}`, preferred_username: name } };
  },
};

const scim: Script = ({ url, headers }) => {
  if (headers.authorization !== `Bearer ${directoryToken}`) return { status: 401 };
  const [, name = ''] =
    /^userName eq "(.*)"$/.exec(new URL(url, 'http://x').searchParams.get('filter') ?? '') ?? [];
  const Resources = users.has(name) ? [{ userName: name, active: true }] : [];
  return { body: { totalResults: Resources.length, Resources } };
};

const logIn = (username: string): Promise<LoggedIn> =>
  mustLogIn({ port: ejabberd.port, domain: host, username, password: 'right' });

/** What comes in from now on. */
function watch({ client }: LoggedIn): Element[] {
  const stanzas: Element[] = [];
  client.on('stanza', (stanza: Element) => stanzas.push(stanza));
  return stanzas;
}

interface Sender {
  /** Whether a message to this user has come back. */
  bounced(to: string, text: string): Promise<boolean>;
  leave(): Promise<void>;
}

async function sender(username: string): Promise<Sender> {
  const user = await logIn(username);
  const stanzas = watch(user);
  return {
    async bounced(to, text) {
      const message = xml('message', { to: `${to}@${host}`, type: 'chat', id: text }, xml('body', {}, text));
      await user.client.send(message);
      return within(backWithin, () =>
        stanzas.some(
          (each) => each.name === 'message' && each.attrs.type === 'error' && each.attrs.id === text,
        ),
      );
    },
    leave: () => logOut(user),
  };
}

/** The texts that were kept for a user, once: ejabberd keeps what the client has not acknowledged (XEP-0198) for the next time. */
async function fetchKept(username: string): Promise<string[]> {
  const user = await logIn(username);
  const stanzas = watch(user);
  await user.client.send(xml('presence'));
  await sleep(1500);
  await logOut(user);
  return stanzas.filter((each) => each.name === 'message').map((each) => each.getChild('body')?.text() ?? '');
}

test('a message to somebody who has never logged in is kept for the first login, one to a stranger comes back', async () => {
  const bob = await sender('bob');
  assert.equal(await bob.bounced('carol', 'hello'), false);
  assert.equal(await bob.bounced('carol', 'are you there?'), false);
  assert.equal(await bob.bounced('nobody', 'hello'), true);
  assert.equal(await bob.bounced('caro', 'hello'), true);
  assert.deepEqual(await fetchKept('carol'), ['hello', 'are you there?']);
  assert.ok(directory.seen.some(({ url }) => url.includes('carol')));
  assert.ok(directory.seen.every(({ headers }) => headers.authorization === `Bearer ${directoryToken}`));
  assert.ok(
    provider.seen.every(
      ({ body, url }) => !`${url}${body}`.includes('username=carol') || body.includes('password=right'),
    ),
  );
  await bob.leave();
});

const outages: [title: string, known: string, fresh: string, regular: string, start: () => Promise<void>][] =
  [
    ['fails', 'dave', 'erin', 'judy', async () => directory.set('directory', { status: 500 })],
    ['stalls', 'frank', 'grace', 'mike', async () => directory.set('directory', { stall: true })],
    ['is down', 'heidi', 'ivan', 'olivia', () => directory.stop()],
  ];
for (const [title, known, fresh, regular, start] of outages) {
  test(`while the directory ${title}, nobody's messages are lost, and there is no user who was none a moment ago`, async () => {
    const bob = await sender('bob');
    // Asked before, and logged in before.
    const stranger = `stranger-of-${known}`;
    assert.equal(await bob.bounced(known, 'before'), false);
    // Each worker has its own memory.
    for (let n = 0; n < 3; n++) assert.equal(await bob.bounced(stranger, `before-${n}`), true);
    await logOut(await logIn(regular));
    await start();
    const kept: string[] = [];
    for (let n = 0; n < 3; n++) {
      assert.equal(await bob.bounced(known, `kept-${n}`), false);
      assert.equal(await bob.bounced(regular, `kept-${n}`), false, 'who has been here');
      assert.equal(await bob.bounced(fresh, `kept-${n}`), false, 'whom nobody has asked for');
      kept.push(`kept-${n}`);
    }
    assert.equal(await bob.bounced(stranger, 'in the outage'), true, 'last known');
    // Logins do not need it.
    assert.deepEqual(await fetchKept(fresh), kept);
    assert.deepEqual(await fetchKept(known), ['before', ...kept]);
    assert.deepEqual(await fetchKept(regular), kept);
    if (title === 'is down') directory = await startScripted({ port: directory.port });
    directory.set('directory', scim);
    // Once the pause is over.
    let round = 0;
    assert.ok(
      await within(60_000, () => bob.bounced(`newcomer-${known}-${++round}`, `after-${round}`)),
      'strangers come back again',
    );
    await bob.leave();
  });
}
