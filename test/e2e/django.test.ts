// A provider that others wrote: Debian's django-oauth-toolkit behind a real ejabberd. Its access tokens are opaque, any
// of its confidential clients may introspect any token, and its discovery answers at a second address and names neither
// introspection nor revocation.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { program, temporaryFolder, writeConfig } from '../support/bridge.ts';
import { type DjangoProvider, startDjango } from './support/django-provider.ts';
import { type Ejabberd, startEjabberd, within } from './support/ejabberd.ts';
import { attempt } from './support/xmpp.ts';

/** Passwords, and opaque tokens found by discovery alone: at UserInfo. */
const found = 'found.example';
/** Tokens by introspection, the endpoint named. */
const named = 'named.example';
/** The same for tokens of `other-app`, too. */
const both = 'both.example';
/** The same with a secret that is not our client's. */
const wrong = 'wrong.example';
/** Passwords and tokens, and the bridge chooses how. */
const auto = 'auto.example';
/** An issuer with a slash too many. */
const slash = 'slash.example';

const folder = temporaryFolder();
const log = join(folder, 'bridge.log');
/** Every password, token and client secret of this file; none may turn up in the log. */
const secrets: string[] = [];
const users = {
  alice: secret(`pass ${randomBytes(9).toString('hex')}`),
  bob: secret(`pass ${randomBytes(9).toString('hex')}`),
  jörg: secret(`Größe ${randomBytes(9).toString('hex')} 日本`),
  gone: secret(`pass ${randomBytes(9).toString('hex')}`),
};

let django: DjangoProvider;
let ejabberd: Ejabberd;

before(async () => {
  django = await startDjango({ users, disabled: ['gone'] });
  const hosts = configuredHosts(django);
  const config = writeConfig({ hosts, deadline: '6s', log: { level: 'debug', destination: log } });
  ejabberd = await startEjabberd({
    hosts: Object.keys(hosts),
    program: `env EXTAUTH_OAUTH_CONFIG=${config} ${process.execPath} ${program}`,
    pool: 1,
  });
});

after(async () => {
  await ejabberd?.stop();
  await django?.stop();
});

function configuredHosts(provider: DjangoProvider): Record<string, Record<string, unknown>> {
  const { issuer, introspectionEndpoint, revocationEndpoint } = provider;
  const client = {
    issuer,
    client_id: 'xmpp',
    client_secret_file: secretFile('xmpp.secret', provider.secrets.xmpp),
  };
  const passwords = { resource_owner_password: true, credential: 'auto', token_prefix: 'token:' };
  const introspection = {
    ...client,
    credential: 'token',
    validation: 'introspection',
    introspection_endpoint: introspectionEndpoint,
    username_field: 'username',
  };
  return {
    [found]: { ...client, ...passwords, revocation_endpoint: revocationEndpoint },
    [named]: introspection,
    [both]: { ...introspection, accepted_clients: ['xmpp', 'other-app'] },
    [wrong]: {
      ...introspection,
      client_secret_file: secretFile('wrong.secret', 'not-the-secret-of-this-client'),
    },
    [auto]: {
      ...client,
      ...passwords,
      client_auth_method: 'basic',
      introspection_endpoint: introspectionEndpoint,
      // The first is in introspection's answer, the second in UserInfo's.
      username_field: ['username', 'preferred_username'],
    },
    [slash]: { ...client, issuer: `${issuer}/`, credential: 'token' },
  };
}

function secretFile(name: string, value: string): string {
  const file = join(folder, name);
  writeFileSync(file, secret(value));
  chmodSync(file, 0o600);
  return file;
}

function secret(value: string): string {
  secrets.push(value);
  return value;
}

interface Entry {
  readonly event: string;
  readonly level: string;
  readonly op?: string;
  readonly host?: string;
  readonly user?: string;
  readonly verdict?: string;
  readonly reason?: string;
  readonly method?: string;
}

/** The bridge's log so far. */
function lines(): Entry[] {
  if (!existsSync(log)) return [];
  const text = readFileSync(log, 'utf8');
  const complete = text.slice(0, text.lastIndexOf('\n') + 1).split('\n');
  return complete.filter((line) => line !== '').map((line) => JSON.parse(line) as Entry);
}

function logins(): Entry[] {
  return lines().filter(({ op }) => op === 'auth');
}

/** One XMPP login, and what the bridge wrote about it: `accepted by password`, `refused: user_mismatch`... */
async function logIn(domain: string, username: string, password: string): Promise<string> {
  const before = logins().length;
  const answer = await attempt({ port: ejabberd.port, domain, username, password });
  assert.ok(
    await within(3000, () => logins().length > before),
    `nothing in the log; the client saw ${answer}; ejabberd's log:\n${ejabberd.log().slice(-2000)}`,
  );
  const [entry, ...others] = logins().slice(before);
  assert.deepEqual(others, [], 'one login, one line');
  assert.deepEqual([entry?.host, entry?.user], [domain, username]);
  const { verdict, reason, method } = entry ?? {};
  assert.equal(answer, verdict === 'accepted' ? 'ok' : 'not-authorized', `the log says ${verdict} ${reason}`);
  return verdict === 'accepted' ? `accepted by ${method}` : `${verdict}: ${reason}`;
}

async function token(...[user, options]: Parameters<DjangoProvider['token']>): Promise<string> {
  return secret((await django.token(user, options)).access_token);
}

for (const host of [found, auto]) {
  test(`${host}: the right password logs in`, async () => {
    assert.equal(await logIn(host, 'alice', users.alice), 'accepted by password');
  });

  test(`${host}: a name and a password outside ASCII log in, the password in decomposed form, too`, async () => {
    const typed = users.jörg.normalize('NFD');
    assert.notEqual(typed, users.jörg);
    assert.equal(await logIn(host, 'jörg', users.jörg), 'accepted by password');
    assert.equal(await logIn(host, 'jörg', typed), 'accepted by password');
  });

  test(`${host}: wrong passwords, unknown and disabled users are refused`, async () => {
    const guess = secret(`guess ${randomBytes(9).toString('hex')}`);
    assert.equal(await logIn(host, 'alice', guess), 'refused: not_authorized');
    assert.equal(await logIn(host, 'alice', users.bob), 'refused: not_authorized');
    assert.equal(await logIn(host, 'nobody', users.alice), 'refused: not_authorized');
    assert.equal(await logIn(host, 'gone', users.gone), 'refused: not_authorized');
  });
}

test('discovery follows the redirect to the address with a slash at its end', async () => {
  const discovery = '/o/.well-known/openid-configuration';
  const requests = await django.requests();
  const redirected = requests.indexOf(`GET ${discovery} 301`);
  assert.notEqual(redirected, -1, requests.join('\n'));
  assert.ok(requests.indexOf(`GET ${discovery}/ 200`) > redirected, requests.join('\n'));
});

test('a login by password leaves no token behind', async () => {
  const none = { access: 0, refresh: 0 };
  assert.equal(await logIn(found, 'bob', users.bob), 'accepted by password');
  const revoked = async () => JSON.stringify(await django.liveTokens('bob')) === JSON.stringify(none);
  await within(5000, revoked);
  assert.deepEqual(await django.liveTokens('bob'), none);
});

test('an opaque token logs its user in, by introspection or at UserInfo', async () => {
  assert.equal(await logIn(named, 'alice', await token('alice')), 'accepted by introspection');
  assert.equal(await logIn(named, 'jörg', await token('jörg')), 'accepted by introspection');
  assert.equal(await logIn(auto, 'alice', `token:${await token('alice')}`), 'accepted by introspection');
  assert.equal(await logIn(found, 'alice', `token:${await token('alice')}`), 'accepted by userinfo');
});

test('a token of another client is refused, unless that client is accepted', async () => {
  const others = await token('alice', { client: 'other-app' });
  for (const host of [named, auto]) {
    const password = host === auto ? `token:${others}` : others;
    assert.match(await logIn(host, 'alice', password), /^refused: (client_not_accepted|aud_mismatch)$/);
  }
  assert.equal(await logIn(both, 'alice', others), 'accepted by introspection');
  assert.equal(await logIn(both, 'alice', await token('alice')), 'accepted by introspection');
});

// As UserInfo does not say whose token it is. The way out is to name the introspection endpoint.
test('where discovery alone decides, a token of another client logs in, and the log says that this is unsafe', async () => {
  const others = await token('alice', { client: 'other-app' });
  assert.equal(await logIn(found, 'alice', `token:${others}`), 'accepted by userinfo');
  assert.ok(lines().some(({ event, level }) => event === 'unsafe' && level === 'warn'));
});

test("alice's token does not log bob in", async () => {
  const password = await token('alice');
  for (const host of [named, both])
    assert.equal(await logIn(host, 'bob', password), 'refused: user_mismatch');
  for (const host of [found, auto]) {
    assert.equal(await logIn(host, 'bob', `token:${password}`), 'refused: user_mismatch');
  }
});

test('an expired token is refused', async () => {
  const expired = await token('alice', { seconds: -1 });
  assert.equal(await logIn(named, 'alice', expired), 'refused: token_inactive');
  for (const host of [found, auto]) {
    assert.equal(await logIn(host, 'alice', `token:${expired}`), 'refused: token_inactive');
  }
});

test('a token that expires after a login is refused from then on', async () => {
  const seconds = 5;
  const password = await token('alice', { seconds });
  const expired = Date.now() + seconds * 1000;
  assert.equal(await logIn(named, 'alice', password), 'accepted by introspection');
  await sleep(expired - Date.now() + 200);
  assert.equal(await logIn(named, 'alice', password), 'refused: token_inactive');
});

test('a revoked token is refused', async () => {
  const revoked = await token('alice');
  await django.revoke(revoked, 'xmpp');
  assert.equal(await logIn(named, 'alice', revoked), 'refused: token_inactive');
  for (const host of [found, auto]) {
    assert.equal(await logIn(host, 'alice', `token:${revoked}`), 'refused: token_inactive');
  }
});

test('a refresh token is refused', async () => {
  const refresh = secret((await django.token('alice')).refresh_token);
  assert.equal(await logIn(named, 'alice', refresh), 'refused: token_inactive');
  for (const host of [found, auto]) {
    assert.equal(await logIn(host, 'alice', `token:${refresh}`), 'refused: token_inactive');
  }
});

test("a client's own token, which is nobody's, is refused", async () => {
  const nobodys = secret(await django.clientToken('xmpp'));
  for (const user of ['alice', 'xmpp']) {
    assert.match(await logIn(named, user, nobodys), /^refused: (username_missing|not_a_user)$/);
  }
});

test('an ID token is refused, whoever looks at it', async () => {
  const idToken = secret(await django.idToken('alice', 'xmpp'));
  // Judged with the keys of the provider, or by the provider, which introspects access tokens only.
  assert.equal(await logIn(auto, 'alice', idToken), 'refused: id_token');
  assert.match(await logIn(named, 'alice', idToken), /^refused: (id_token|token_inactive)$/);
});

test("a client secret that is wrong at introspection is the operator's error, and not a refusal of the user", async () => {
  assert.equal(await logIn(wrong, 'alice', await token('alice')), 'unavailable: client_refused');
  assert.ok((await django.requests()).includes('POST /o/introspect/ 403'));
});

test('an issuer with a slash too many is not taken for the same', async () => {
  assert.equal(await logIn(slash, 'alice', await token('alice')), 'unavailable: not_configured');
});

test('no password, token or client secret is in a log', () => {
  for (const text of [readFileSync(log, 'utf8'), ejabberd.log()]) {
    for (const value of secrets) assert.ok(!text.includes(value.slice(0, 20)), 'a secret in the log');
  }
});
