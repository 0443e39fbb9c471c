// The whole road: a real XMPP client, a real ejabberd, the bridge as its extauth_program, a real OpenID provider.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { chmodSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { xml } from '@xmpp/client';
import { program, temporaryFolder, writeConfig } from '../support/bridge.ts';
import { startProvider, type TestProvider, type TokenOptions } from '../support/provider.ts';
import { alive, commandLine, type Ejabberd, startEjabberd, within } from './support/ejabberd.ts';
import { attempt, logOut, mustBeRefused, mustLogIn } from './support/xmpp.ts';

const hostA = 'a.example';
const hostB = 'b.example';
const unlistedHost = 'unlisted.example';
/** The bridge's deadline in these tests, and what the rest of a login may take on a busy machine. */
const deadline = 3000;
const slack = 2000;
/** One PLAIN message of this size still fits into the stanza limit of examples/ejabberd.yml. */
const longPassword = 48_000;

/** Every password, token and client secret of this file; none may turn up in a log. */
const secrets: string[] = [];

function secret(name: string): string {
  const value = `canary-${name}-${randomBytes(9).toString('hex')}`;
  secrets.push(value);
  return value;
}

const folder = temporaryFolder();
const bridgeLog = join(folder, 'bridge.log');
const passwords = {
  alice: secret('alice'),
  bob: secret('bob'),
  colons: `::${secret('colons')}:a:b::`,
  spaces: `  ${secret('spaces')} and more  `,
  unicode: `${secret('unicode')} pässwörd Größe 日本語 🔑`,
  long: secret('long').padEnd(longPassword, '0123456789'),
  'alice@corp.example': secret('corp'),
};
const crowd = Array.from({ length: 20 }, (_, index) => [`user${index}`, secret(`user${index}`)] as const);
const aliceAtB = secret('alice-at-b');

let providerA: TestProvider;
let providerB: TestProvider;
let ejabberd: Ejabberd;

before(async () => {
  providerA = await startProvider({ users: usersWith({ ...passwords, ...Object.fromEntries(crowd) }) });
  providerB = await startProvider({ users: usersWith({ alice: aliceAtB, carol: secret('carol') }) });
  ejabberd = await startEjabberd({
    hosts: [hostA, hostB, unlistedHost],
    program: bridgeCommand({
      [hostA]: hostSettings(providerA),
      [hostB]: hostSettings(providerB),
    }),
    pool: 4,
  });
});

after(async () => {
  await ejabberd?.stop();
  await providerA?.stop();
  await providerB?.stop();
});

function usersWith(passwordsByName: Record<string, string>): Record<string, { password: string }> {
  return Object.fromEntries(Object.entries(passwordsByName).map(([name, password]) => [name, { password }]));
}

function hostSettings({ issuer, clientId, clientSecret }: TestProvider): Record<string, unknown> {
  secrets.push(clientSecret);
  const file = join(folder, `${randomBytes(4).toString('hex')}.secret`);
  writeFileSync(file, clientSecret);
  chmodSync(file, 0o600);
  return {
    issuer,
    client_id: clientId,
    client_secret_file: file,
    resource_owner_password: true,
    // oidc-provider gives preferred_username to those who ask for the profile only.
    scope: 'openid profile',
    credential: 'auto',
    token_prefix: 'token:',
  };
}

/** The `extauth_program` line for a bridge with these hosts. */
function bridgeCommand(hosts: Record<string, unknown>): string {
  const config = writeConfig({
    hosts,
    deadline: `${deadline}ms`,
    cache: { token_ttl: '1s' },
    log: { level: 'debug', destination: bridgeLog },
  });
  return `env EXTAUTH_OAUTH_CONFIG=${config} ${process.execPath} ${program}`;
}

function logInAt(domain: string, username: string, password: string | Buffer): Promise<string> {
  return attempt({ port: ejabberd.port, domain, username, password });
}

/** A token as the password that the client sends for it. */
async function tokenPassword(
  provider: TestProvider,
  user: string,
  options?: TokenOptions,
): Promise<{ token: string; password: string }> {
  const token = await provider.token(user, options);
  secrets.push(token);
  return { token, password: `token:${token}` };
}

test('a user logs in with the password', async () => {
  const result = await mustLogIn({
    port: ejabberd.port,
    domain: hostA,
    username: 'alice',
    password: passwords.alice,
  });
  assert.match(result.jid, /^alice@a\.example\//);
  await logOut(result);
});

for (const length of [1024, 8192]) {
  test(`a user logs in with an opaque token of ${length} bytes`, async () => {
    const { token, password } = await tokenPassword(providerA, 'alice', { length, format: 'opaque' });
    assert.ok(token.length >= length, `the provider's token has only ${token.length} bytes`);
    assert.equal(await logInAt(hostA, 'alice', password), 'ok');
  });
}

test('a wrong password is refused', async () => {
  assert.equal(await logInAt(hostA, 'alice', secret('wrong')), 'not-authorized');
});

test('an unknown user is refused', async () => {
  assert.equal(await logInAt(hostA, 'nobody', secret('nobody')), 'not-authorized');
});

test("another user's token is refused", async () => {
  const { password } = await tokenPassword(providerA, 'bob');
  assert.equal(await logInAt(hostA, 'alice', password), 'not-authorized');
  assert.equal(await logInAt(hostA, 'bob', password), 'ok');
});

test('a JWT is judged by the keys of the provider, which is not asked about it', async () => {
  const token = async (options: TokenOptions): Promise<string> => {
    const { token } = await tokenPassword(providerA, 'alice', {
      format: 'jwt',
      audience: 'xmpp',
      ...options,
    });
    return token;
  };
  const jwt = await token({});
  const before = providerA.requests.filter(({ path }) => !/jwks|well-known/.test(path)).length;
  assert.equal(await logInAt(hostA, 'alice', jwt), 'ok');
  assert.equal(await logInAt(hostA, 'bob', jwt), 'not-authorized', 'is not his');
  const others = await token({ client: 'other', audience: 'elsewhere' });
  assert.equal(await logInAt(hostA, 'alice', others), 'not-authorized', 'is for another application');
  assert.equal(await logInAt(hostA, 'alice', await token({ ttl: -60 })), 'not-authorized', 'has expired');
  assert.equal(await logInAt(hostB, 'alice', jwt), 'not-authorized', 'is of another provider');
  const after = providerA.requests.filter(({ path }) => !/jwks|well-known/.test(path)).length;
  assert.equal(after, before);
});

test('an expired token is refused', async () => {
  const { password } = await tokenPassword(providerA, 'alice', { ttl: 1 });
  await sleep(2000);
  assert.equal(await logInAt(hostA, 'alice', password), 'not-authorized');
});

test('a revoked token is refused', async () => {
  const { token, password } = await tokenPassword(providerA, 'alice');
  await providerA.revoke(token);
  assert.equal(await logInAt(hostA, 'alice', password), 'not-authorized');
});

test('a token revoked after a login is refused when cache.token_ttl has passed', async () => {
  const { token, password } = await tokenPassword(providerB, 'carol');
  assert.equal(await logInAt(hostB, 'carol', password), 'ok');
  await providerB.revoke(token);
  await sleep(1500);
  assert.equal(await logInAt(hostB, 'carol', password), 'not-authorized');
});

for (const [user, what] of [
  ['colons', 'colons'],
  ['spaces', 'spaces at both ends'],
  ['unicode', 'characters outside ASCII'],
  ['long', `${longPassword} bytes`],
] as const) {
  test(`a password with ${what} arrives whole`, async () => {
    assert.equal(await logInAt(hostA, user, passwords[user]), 'ok');
    assert.equal(await logInAt(hostA, user, passwords[user].slice(0, -1)), 'not-authorized');
  });
}

test('a password typed in decomposed form (NFD) is the same password', async () => {
  assert.notEqual(passwords.unicode.normalize('NFD'), passwords.unicode);
  assert.equal(await logInAt(hostA, 'unicode', passwords.unicode.normalize('NFD')), 'ok');
});

test('a password that does not fit into a frame never reaches the bridge', async () => {
  const before = ejabberd.workers();
  assert.equal(await logInAt(hostA, 'alice', 'x'.repeat(66_000)), 'policy-violation');
  assert.deepEqual(ejabberd.workers(), before);
});

test('bytes that are not UTF-8 are refused and the worker lives on', async () => {
  const before = ejabberd.workers();
  assert.equal(await logInAt(hostA, 'bob', Buffer.from([0x70, 0xff, 0xfe, 0x0a, 0x31])), 'not-authorized');
  assert.equal(await logInAt(hostA, 'bob', passwords.bob), 'ok');
  assert.deepEqual(ejabberd.workers(), before);
});

test('a provider name with @ logs in with its XEP-0106 escaped form', async () => {
  const password = passwords['alice@corp.example'];
  const result = await mustLogIn({
    port: ejabberd.port,
    domain: hostA,
    username: 'alice\\40corp.example',
    password,
  });
  assert.match(result.jid, /^alice\\40corp\.example@a\.example\//);
  await logOut(result);
  const { password: token } = await tokenPassword(providerA, 'alice@corp.example');
  assert.equal(await logInAt(hostA, 'alice\\40corp.example', token), 'ok');
  assert.equal(await logInAt(hostA, 'alice', token), 'not-authorized');
});

test('each virtual host asks its own provider', async () => {
  assert.equal(await logInAt(hostB, 'alice', passwords.alice), 'not-authorized');
  assert.equal(await logInAt(hostB, 'alice', aliceAtB), 'ok');
  const { password } = await tokenPassword(providerA, 'alice');
  assert.equal(await logInAt(hostB, 'alice', password), 'not-authorized');
});

test('a virtual host that the configuration does not list is refused', async () => {
  assert.equal(await logInAt(unlistedHost, 'alice', passwords.alice), 'not-authorized');
});

test('200 logins at once through a pool of 4 are all right', async () => {
  const results = await Promise.all(
    crowd.flatMap(([user, password]) => Array.from({ length: 10 }, () => logInAt(hostA, user, password))),
  );
  assert.deepEqual(count(results), { ok: 200 });
});

test('of 200 logins at once exactly the wrong ones are refused', async () => {
  const expected: string[] = [];
  const results = await Promise.all(
    crowd.flatMap(([user, password], index) => {
      const [, othersPassword] = crowd[(index + 1) % crowd.length] as readonly [string, string];
      return Array.from({ length: 10 }, (_, turn) => {
        const wrong = turn === 9;
        expected.push(wrong ? 'not-authorized' : 'ok');
        return logInAt(hostA, user, wrong ? othersPassword : password);
      });
    }),
  );
  assert.deepEqual(results, expected);
});

test('the next login works after every worker was killed', async () => {
  const before = ejabberd.workers();
  for (const pid of before) process.kill(pid, 'SIGKILL');
  // Not before they are others: a login that meets one that has just died is in ejabberd's own crash report, password and all.
  const others = (): number[] => ejabberd.workers().filter((pid) => !before.includes(pid));
  assert.ok(await within(5000, () => others().length === before.length), 'the pools are full again');
  assert.equal(await logInAt(hostA, 'alice', passwords.alice), 'ok');
  assert.ok(!before.some(alive), 'the killed ones are gone');
});

test('a stopped provider means refusal within the deadline, and logins work when it is back', async () => {
  await providerB.stop();
  try {
    const refused = await mustBeRefused({
      port: ejabberd.port,
      domain: hostB,
      username: 'alice',
      password: aliceAtB,
    });
    assert.equal(refused.condition, 'not-authorized');
    assert.ok(refused.ms < deadline + slack, `refused after ${refused.ms} ms`);
    assert.equal(await logInAt(hostA, 'alice', passwords.alice), 'ok', 'the other host does not notice');
  } finally {
    await providerB.restart();
  }
  assert.equal(await logInAt(hostB, 'alice', aliceAtB), 'ok');
});

test('a provider that accepts and never answers means refusal at the deadline', async () => {
  const sockets = new Set<Socket>();
  const silent = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
  });
  await providerB.stop();
  try {
    await new Promise<void>((resolve) => silent.listen(providerB.port, '127.0.0.1', resolve));
    const refused = await mustBeRefused({
      port: ejabberd.port,
      domain: hostB,
      username: 'alice',
      password: aliceAtB,
    });
    assert.equal(refused.condition, 'not-authorized');
    assert.ok(refused.ms < deadline + slack, `refused after ${refused.ms} ms`);
  } finally {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => silent.close(resolve));
    await providerB.restart();
  }
  const back = () => logInAt(hostB, 'alice', aliceAtB);
  assert.ok(await within(10_000, async () => (await back()) === 'ok'), 'logins work again');
});

test('no password, token or client secret is in a log, an argument or the spool', async () => {
  const workers = ejabberd.workers();
  assert.equal(workers.length, 12);
  const places = new Map([
    ["the bridge's log", readFileSync(bridgeLog, 'utf8')],
    ["ejabberd's logs", ejabberd.log()],
    ...readdirSync(ejabberd.spool, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map(
        ({ parentPath, name }) => [`spool ${name}`, readFileSync(join(parentPath, name), 'latin1')] as const,
      ),
    ...workers.map((pid) => [`arguments of ${pid}`, commandLine(pid)] as const),
  ]);
  assert.match(places.get("the bridge's log") ?? '', /alice/, 'the log was written');
  for (const [place, text] of places) {
    for (const value of secrets) {
      // Long enough to be unique, short enough to find a secret that was cut or escaped.
      const index = text.indexOf(value.slice(0, 24));
      assert.equal(index, -1, `${place}: …${text.slice(Math.max(0, index - 200), index + 24)}`);
      assert.ok(!text.includes(Buffer.from(value).toString('base64').slice(0, 32)), `${place}, as base64`);
    }
  }
});

test('every answered login is one line in the log, with its verdict', () => {
  const lines = readFileSync(bridgeLog, 'utf8').trimEnd().split('\n');
  const entries = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
  const verdicts = entries.filter(({ op }) => op === 'auth');
  assert.ok(verdicts.length > 400, `${verdicts.length} logins`);
  for (const entry of verdicts) {
    assert.match(String(entry.verdict), /^(accepted|refused|unavailable)$/, JSON.stringify(entry));
    if (entry.verdict !== 'accepted') assert.equal(typeof entry.reason, 'string', JSON.stringify(entry));
  }
});

test('ejabberdctl stop leaves no bridge process', async () => {
  const workers = ejabberd.workers();
  assert.equal(workers.length, 12);
  await ejabberd.stop();
  assert.ok(await within(3000, () => !workers.some(alive)), `still there: ${workers.filter(alive)}`);
});

test('a password change (XEP-0077) is reported as failed, and changes nothing', async () => {
  await withRegistration(async (server) => {
    const alice = { port: server.port, domain: hostA, username: 'alice' };
    const result = await mustLogIn({ ...alice, password: passwords.alice });
    const changed = secret('changed');
    const change = xml(
      'iq',
      { type: 'set', to: hostA },
      xml(
        'query',
        { xmlns: 'jabber:iq:register' },
        xml('username', {}, 'alice'),
        xml('password', {}, changed),
      ),
    );
    await assert.rejects(result.client.iqCaller.request(change), { name: 'StanzaError' });
    await logOut(result);
    assert.equal(await attempt({ ...alice, password: changed }), 'not-authorized');
    assert.equal(await attempt({ ...alice, password: passwords.alice }), 'ok');
    assert.ok(!readFileSync(bridgeLog, 'utf8').includes(changed), 'the new password is in the log');
  });
});

test('a killed ejabberd leaves no bridge process', async () => {
  await withRegistration(async (server) => {
    const workers = server.workers();
    await server.kill();
    assert.ok(await within(3000, () => !workers.some(alive)), `still there: ${workers.filter(alive)}`);
  });
});

/** A second, small ejabberd: one host, two workers, and the module that lets users change passwords. */
async function withRegistration(use: (server: Ejabberd) => Promise<void>): Promise<void> {
  const server = await startEjabberd({
    hosts: [hostA],
    program: bridgeCommand({ [hostA]: hostSettings(providerA) }),
    pool: 2,
    settings: { modules: { mod_register: {} } },
  });
  try {
    await use(server);
  } finally {
    await server.stop();
  }
}

function count(results: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const result of results) counts[result] = (counts[result] ?? 0) + 1;
  return counts;
}
