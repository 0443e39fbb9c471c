// The road without a terminal: a real XMPP client, a real Prosody with Debian's mod_auth_dovecot, `extauth-oauth serve` on
// the socket that the module takes for Dovecot's, a real OpenID provider.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { chmodSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { temporaryFolder } from '../support/bridge.ts';
import { type Daemon, type DaemonConfig, startDaemon, startHeldDaemon } from '../support/daemon.ts';
import { startProvider, type TestProvider, type TestUser } from '../support/provider.ts';
import { within } from './support/ejabberd.ts';
import { type Prosody, startProsody } from './support/prosody.ts';
import { openStream, type SaslAnswer } from './support/stream.ts';
import { attempt, type Login, logOut, mustBeRefused, mustLogIn } from './support/xmpp.ts';

const hostA = 'a.example';
const hostB = 'b.example';
/** The daemon's deadline in these tests, and what the rest of a login may take on a busy machine. */
const deadline = 3000;
const slack = 1500;

/** Every password, token and client secret of this file; none may turn up in a log. */
const secrets: string[] = [];

function secret(name: string): string {
  const value = `canary-${name}-${randomBytes(9).toString('hex')}`;
  secrets.push(value);
  return value;
}

const passwords = {
  alice: secret('alice'),
  bob: secret('bob'),
  unicode: `${secret('unicode')} pässwörd Größe 日本語 🔑`,
  'carol@corp.example': secret('carol'),
};
const crowd = Array.from({ length: 20 }, (_, index) => [`user${index}`, secret(`user${index}`)] as const);
const aliceAtB = secret('alice-at-b');
const usersAtA: Record<string, TestUser> = {
  ...usersWith({ ...passwords, ...Object.fromEntries(crowd) }),
  // A claim makes a JWT as long as it is.
  kilobytes6: { password: secret('kilobytes6'), email: `${'x'.repeat(4100)}@corp.example` },
  kilobytes12: { password: secret('kilobytes12'), email: `${'x'.repeat(8600)}@corp.example` },
};
const usersAtB: Record<string, TestUser> = {
  alice: { password: aliceAtB, email: 'alicia@corp.example', email_verified: true },
};

const folder = temporaryFolder();
const socketA = join(folder, 'a.sock');
const socketB = join(folder, 'b.sock');
let providerA: TestProvider;
let providerB: TestProvider;
let config: DaemonConfig;
let daemon: Daemon;
let prosody: Prosody;

before(async () => {
  providerA = await startProvider({ users: usersAtA });
  providerB = await startProvider({ users: usersAtB });
  config = configuration(socketA, socketB);
  daemon = await startDaemon({ config });
  prosody = await startProsody({
    hosts: [
      { name: hostA, socket: socketA },
      { name: hostB, socket: socketB },
    ],
  });
});

after(async () => {
  await prosody?.stop();
  await daemon?.stop();
  await providerA?.stop();
  await providerB?.stop();
});

function usersWith(passwordsByName: Record<string, string>): Record<string, TestUser> {
  return Object.fromEntries(Object.entries(passwordsByName).map(([name, password]) => [name, { password }]));
}

function configuration(pathA: string, pathB: string): DaemonConfig {
  return {
    hosts: {
      [hostA]: hostSettings(providerA),
      // The name that is typed (alice) is not the one that the provider's claim has (alicia).
      [hostB]: {
        ...hostSettings(providerB),
        scope: 'openid email',
        username_field: 'email',
        username_mapping: 'split',
        username_domains: ['corp.example'],
      },
    },
    deadline: `${deadline}ms`,
    listen: [
      { path: pathA, name: 'a', protocol: 'dovecot', host: hostA, mode: '0660' },
      { path: pathB, name: 'b', protocol: 'dovecot', host: hostB, mode: '0660' },
    ],
  };
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
    token_prefix: 'token:',
  };
}

/** A login at host A. */
function atA(username: string, password: string, more: Partial<Login> = {}): Login {
  return { port: prosody.port, domain: hostA, username, password, ...more };
}

function atB(username: string, password: string, more: Partial<Login> = {}): Login {
  return atA(username, password, { domain: hostB, ...more });
}

/** Logs in and out; the bare JID that the client got. */
async function boundAs(login: Login): Promise<string | undefined> {
  const result = await mustLogIn(login);
  await logOut(result);
  return result.jid.split('/')[0];
}

async function opaque(provider: TestProvider, user: string): Promise<string> {
  const token = await provider.token(user);
  secrets.push(token);
  return token;
}

async function jwt(user: string): Promise<string> {
  const token = await providerA.token(user, { format: 'jwt', audience: providerA.clientId });
  secrets.push(token);
  return token;
}

function bearer(token: string, authzid?: string): string {
  return `n,${authzid === undefined ? '' : `a=${authzid}`},\x01auth=Bearer ${token}\x01\x01`;
}

function discoveryUrl({ issuer }: TestProvider): string {
  return `${issuer}/.well-known/openid-configuration`;
}

describe('SASL', () => {
  test('exactly the mechanisms that the socket announces are offered', async () => {
    const stream = await openStream({ port: prosody.port, domain: hostA });
    await stream.close();
    const announced = await announcedOn(socketA);
    assert.deepEqual([...stream.mechanisms].sort(), announced.sort());
    assert.deepEqual([...announced].sort(), ['OAUTHBEARER', 'PLAIN', 'XOAUTH2']);
  });

  test('a user logs in with the password', async () => {
    assert.equal(await boundAs(atA('alice', passwords.alice)), `alice@${hostA}`);
    assert.equal(await boundAs(atA('unicode', passwords.unicode)), `unicode@${hostA}`);
  });

  test('a wrong password and an unknown user are refused', async () => {
    assert.equal(await attempt(atA('alice', secret('wrong'))), 'not-authorized');
    assert.equal(await attempt(atA('alice', passwords.bob)), 'not-authorized');
    assert.equal(await attempt(atA('nobody', secret('nobody'))), 'not-authorized');
  });

  test('a user logs in with a token as the password', async () => {
    const token = await opaque(providerA, 'alice');
    assert.equal(await boundAs(atA('alice', `token:${token}`)), `alice@${hostA}`);
    // SASLprep's 1,023 bytes, a limit of Prosody's own PLAIN, is none here.
    assert.equal(await boundAs(atA('kilobytes6', await jwt('kilobytes6'))), `kilobytes6@${hostA}`);
  });

  for (const mechanism of ['OAUTHBEARER', 'XOAUTH2'] as const) {
    test(`a user logs in with ${mechanism}`, async () => {
      const token = await opaque(providerA, 'alice');
      assert.equal(await boundAs(atA('alice', token, { mechanism })), `alice@${hostA}`);
      const long = await jwt('kilobytes6');
      assert.ok(long.length > 6000, `the JWT has only ${long.length} bytes`);
      assert.equal(await boundAs(atA('kilobytes6', long, { mechanism })), `kilobytes6@${hostA}`);
    });

    test(`a wrong token over ${mechanism} is refused after the error of RFC 7628`, async () => {
      const refusal = await mustBeRefused(atA('alice', secret('token'), { mechanism }));
      assert.equal(refusal.condition, 'not-authorized');
      const error = JSON.parse(refusal.challenge ?? '') as Record<string, unknown>;
      assert.equal(error.status, 'invalid_token');
      assert.equal(error['openid-configuration'], discoveryUrl(providerA));
    });
  }

  test('a password is no token for OAUTHBEARER', async () => {
    const refusal = await mustBeRefused(atA('alice', passwords.alice, { mechanism: 'OAUTHBEARER' }));
    assert.equal(refusal.condition, 'not-authorized');
  });

  test('who sends the message only when asked for it logs in, too', async () => {
    for (const [mechanism, message] of [
      ['PLAIN', `\0alice\0${passwords.alice}`],
      ['OAUTHBEARER', bearer(await opaque(providerA, 'alice'))],
    ] as const) {
      const stream = await openStream({ port: prosody.port, domain: hostA });
      const asked = await stream.auth({ mechanism });
      assert.deepEqual([asked.kind, asked.data], ['challenge', ''], mechanism);
      assert.equal((await stream.respond(message)).kind, 'success', mechanism);
      assert.match(await stream.bind(), /^alice@a\.example\//);
      await stream.close();
    }
  });

  test('after an exchange that the client left, the next one on the same stream is judged by itself', async () => {
    const wrong = bearer(secret('left'));
    const leave: readonly ((stream: Awaited<ReturnType<typeof openStream>>) => Promise<SaslAnswer>)[] = [
      (stream) => stream.abort(),
      (stream) => stream.respond('\x01'),
      (stream) => stream.respond(undefined),
      (stream) => stream.respond(''),
      (stream) => stream.respond(bearer(secret('again'))),
      (stream) => stream.sasl("<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>!</response>"),
      // Not a word about the old one.
      (stream) => stream.auth({ mechanism: 'PLAIN', initial: `\0alice\0${passwords.bob}` }),
    ];
    for (const [index, way] of leave.entries()) {
      const stream = await openStream({ port: prosody.port, domain: hostA });
      assert.equal((await stream.auth({ mechanism: 'OAUTHBEARER', initial: wrong })).kind, 'challenge');
      assert.equal((await way(stream)).kind, 'failure', `way ${index}`);
      const right = await stream.auth({ mechanism: 'PLAIN', initial: `\0bob\0${passwords.bob}` });
      assert.equal(right.kind, 'success', `after way ${index}`);
      assert.match(await stream.bind(), /^bob@a\.example\//);
      await stream.close();
    }
  });

  for (const [what, mechanism, initial] of [
    ['base64 that is none', 'PLAIN', '!!!'],
    ['an empty message', 'PLAIN', '='],
    ['no NUL at all', 'PLAIN', base64('alice')],
    ['a NUL too many', 'PLAIN', base64('\0alice\0a\0b')],
    ['an empty password', 'PLAIN', base64('\0alice\0')],
    ['an empty name', 'PLAIN', base64('\0\0password')],
    ['bytes that are not UTF-8', 'PLAIN', Buffer.from([0, 0x61, 0, 0xff, 0xfe]).toString('base64')],
    ['a tab and a newline', 'PLAIN', base64('\0al\tice\0pass\nOK\t1\tuser=alice')],
    ['no GS2 header', 'OAUTHBEARER', base64('\x01auth=Bearer x\x01\x01')],
    ['no token', 'OAUTHBEARER', base64('n,,\x01auth=Bearer \x01\x01')],
    ['no auth at all', 'OAUTHBEARER', base64('n,,\x01host=a\x01\x01')],
    ['a channel binding', 'OAUTHBEARER', base64('p=tls-unique,,\x01auth=Bearer x\x01\x01')],
    ['no fields', 'XOAUTH2', base64('alice')],
  ] as const) {
    test(`${mechanism} with ${what} is refused, and the next login works`, async () => {
      const stream = await openStream({ port: prosody.port, domain: hostA });
      const element = `<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='${mechanism}'>${initial}</auth>`;
      let answer = await stream.sasl(element);
      if (answer.kind === 'challenge') answer = await stream.respond('\x01');
      assert.equal(answer.kind, 'failure');
      assert.match(answer.condition ?? '', /^(not-authorized|incorrect-encoding|malformed-request)$/);
      const right = await stream.auth({ mechanism: 'PLAIN', initial: `\0bob\0${passwords.bob}` });
      assert.equal(right.kind, 'success');
      await stream.close();
    });
  }
});

describe('the size of a token', () => {
  test("is limited by Prosody's own 10,000 bytes for those who have not logged in", async () => {
    const token = await jwt('kilobytes12');
    assert.ok(token.length > 12_000 && token.length < 16_384, `the JWT has ${token.length} bytes`);
    const strict = await startProsody({
      hosts: [{ name: hostA, socket: socketA }],
      settings: ['c2s_unauthed_stanza_size_limit = 10000'],
    });
    try {
      const stream = await openStream({ port: strict.port, domain: hostA });
      const answer = await stream.auth({ mechanism: 'OAUTHBEARER', initial: bearer(token) });
      assert.deepEqual(
        [answer.kind, answer.condition, answer.text],
        ['stream error', 'policy-violation', 'XML stanza is too big'],
      );
      await stream.close();
    } finally {
      await strict.stop();
    }
  });

  test("may be 16 KiB with the example's c2s_unauthed_stanza_size_limit", async () => {
    const token = await jwt('kilobytes12');
    for (const mechanism of ['PLAIN', 'OAUTHBEARER'] as const) {
      assert.equal(await boundAs(atA('kilobytes12', token, { mechanism })), `kilobytes12@${hostA}`);
    }
    const tooLong = secret('long').padEnd(16_385, '0123456789');
    const refusal = await mustBeRefused(atA('alice', tooLong, { mechanism: 'OAUTHBEARER' }));
    assert.equal(refusal.condition, 'not-authorized');
  });
});

describe('who it is', () => {
  test('is for the provider to say: whoever has a token is its user, whatever name was typed', async () => {
    const token = await opaque(providerA, 'alice');
    assert.equal(await boundAs(atA('somebody', `token:${token}`)), `alice@${hostA}`);
    assert.equal(await boundAs(atA('', token, { mechanism: 'OAUTHBEARER' })), `alice@${hostA}`);
  });

  test('must be the one that XOAUTH2 names', async () => {
    const token = await opaque(providerA, 'alice');
    assert.equal(await boundAs(atA('alice', token, { mechanism: 'XOAUTH2' })), `alice@${hostA}`);
    const refusal = await mustBeRefused(atA('bob', token, { mechanism: 'XOAUTH2' }));
    assert.equal(refusal.condition, 'invalid-authzid');
  });

  test('is for the provider to say: a password logs in under the name in its claim', async () => {
    assert.equal(await boundAs(atB('alice', aliceAtB)), `alicia@${hostB}`);
  });

  test('is escaped (XEP-0106) once where the name has an @', async () => {
    const escaped = `carol\\40corp.example@${hostA}`;
    const token = await opaque(providerA, 'carol@corp.example');
    assert.equal(await boundAs(atA('', token, { mechanism: 'OAUTHBEARER' })), escaped);
    assert.equal(
      await boundAs(atA('carol@corp.example', passwords['carol@corp.example'])),
      escaped,
      'as typed by whoever knows the provider only',
    );
    assert.equal(await boundAs(atA('carol\\40corp.example', passwords['carol@corp.example'])), escaped);
  });

  test('may be asked for (authzid) by the user, and by nobody else', async () => {
    const token = await opaque(providerA, 'alice');
    const refusedTo = /^(not-authorized|invalid-authzid)$/;
    const own = `alice@${hostA}`;
    assert.equal(await boundAs(atA('alice', passwords.alice, { authzid: own })), own);
    assert.equal(await boundAs(atA('alice', token, { mechanism: 'OAUTHBEARER', authzid: own })), own);
    for (const authzid of [`bob@${hostA}`, `alice@${hostB}`, 'bob']) {
      assert.match(await attempt(atA('alice', passwords.alice, { authzid })), refusedTo, authzid);
      assert.match(await attempt(atA('alice', `token:${token}`, { authzid })), refusedTo, authzid);
      const login = atA('alice', token, { mechanism: 'OAUTHBEARER', authzid });
      assert.match(await attempt(login), refusedTo, authzid);
    }
  });
});

// The module then sends the typed name with the host behind it, takes any answer whose name has an @, and binds the typed
// name. (Whoever has no @ in the name cannot log in at all: the option is not for us.)
test('with auth_append_host nobody logs in under the name of somebody else', async () => {
  const server = await startProsody({
    hosts: [{ name: hostA, socket: socketA, settings: ['auth_append_host = true'] }],
  });
  try {
    for (const user of ['alice', 'carol@corp.example']) {
      const token = await opaque(providerA, user);
      const login = atA('bob', `token:${token}`, { port: server.port });
      assert.equal(await attempt(login), 'not-authorized', user);
    }
  } finally {
    await server.stop();
  }
});

test('each virtual host asks its own provider', async () => {
  assert.equal(await attempt(atB('alice', passwords.alice)), 'not-authorized');
  assert.equal(await attempt(atA('alice', aliceAtB)), 'not-authorized');
  const [tokenOfA, tokenOfB] = [await opaque(providerA, 'alice'), await opaque(providerB, 'alice')];
  const mechanism = 'OAUTHBEARER';
  assert.equal(await attempt(atB('alice', tokenOfA, { mechanism })), 'not-authorized');
  assert.equal(await attempt(atA('alice', tokenOfB, { mechanism })), 'not-authorized');
  assert.equal(await attempt(atB('alice', await jwt('alice'), { mechanism })), 'not-authorized');
  assert.equal(await attempt(atB('alice', tokenOfB, { mechanism })), 'ok');
});

test('of 200 logins at once exactly the wrong ones are refused', async () => {
  const expected: string[] = [];
  const results = await Promise.all(
    crowd.flatMap(([user, password], index) => {
      const [, othersPassword] = crowd[(index + 1) % crowd.length] as readonly [string, string];
      return Array.from({ length: 10 }, async (_, turn) => {
        const wrong = turn === 9;
        expected.push(wrong ? 'not-authorized' : `${user}@${hostA}`);
        const stream = await openStream({ port: prosody.port, domain: hostA });
        const initial = `\0${user}\0${wrong ? othersPassword : password}`;
        const answer = await stream.auth({ mechanism: 'PLAIN', initial });
        const result =
          answer.kind === 'success' ? (await stream.bind()).split('/')[0] : String(answer.condition);
        await stream.close();
        return result;
      });
    }),
  );
  assert.deepEqual(results, expected);
});

describe('a provider', () => {
  const right = () => atB('alice', aliceAtB);

  test('that is down is a temporary failure, and logins work when it is back', async () => {
    const token = await opaque(providerB, 'alice');
    await providerB.stop();
    try {
      assert.equal(await attempt(right()), 'temporary-auth-failure');
      const refusal = await mustBeRefused(atB('alice', token, { mechanism: 'OAUTHBEARER' }));
      assert.equal(refusal.condition, 'temporary-auth-failure');
      assert.equal(refusal.challenge, undefined, 'nothing is said about the token');
      assert.equal(await attempt(atA('alice', passwords.alice)), 'ok', 'the other host does not notice');
    } finally {
      await providerB.restart();
    }
    assert.equal(await attempt(right()), 'ok');
  });

  // The module waits for the answer, and the whole Prosody with it.
  test('that hangs does not stop the server for longer than the deadline', async () => {
    const stream = await openStream({ port: prosody.port, domain: hostA });
    await stream.auth({ mechanism: 'PLAIN', initial: `\0bob\0${passwords.bob}` });
    await stream.bind();
    providerB.setLatency(3 * deadline);
    try {
      const refusal = mustBeRefused(right());
      let over = false;
      void refusal.finally(() => {
        over = true;
      });
      let slowest = 0;
      while (!over) {
        slowest = Math.max(slowest, await stream.ping());
        await sleep(50);
      }
      assert.equal((await refusal).condition, 'temporary-auth-failure');
      assert.ok(slowest > deadline / 2, `the server stood still for ${slowest} ms only: this test is none`);
      assert.ok(slowest < deadline + slack, `the server stood still for ${slowest} ms`);
    } finally {
      providerB.setLatency(0);
      await stream.close();
    }
    // Whoever waits for an answer that has not come may still hold the connections.
    const back = await within(10_000, async () => (await attempt(right())) === 'ok');
    assert.ok(back, 'logins work again');
  });
});

describe('a daemon that ends', () => {
  // The module finds out with the next login that the connection is closed; that one fails, for those whose stream was
  // open before as well.
  test('and is back before the next login costs one login', async () => {
    const own = await startOwn();
    try {
      assert.equal(await attempt(own.right), 'ok');
      await own.restart();
      const results = [await attempt(own.right), await attempt(own.wrong), await attempt(own.right)];
      assert.deepEqual(results, ['internal-server-error', 'not-authorized', 'ok']);
    } finally {
      await own.stop();
    }
  });

  // One attempt to connect that is refused leaves the module with a socket that it never replaces. A .socket unit keeps
  // the socket while the daemon is away.
  test('again and again while users log in costs logins, never a wrong verdict, on sockets that outlive it', async () => {
    const own = await startOwn({ held: true });
    const { port } = own.right;
    const results: [wrong: boolean, result: string][] = [];
    let over = false;
    const logIns = crowd.slice(0, 6).map(async ([user, password], index) => {
      const [, othersPassword] = crowd[index + 1] as readonly [string, string];
      for (let turn = 0; !over; turn += 1) {
        const wrong = turn % 3 === 2;
        results.push([wrong, await attempt(atA(user, wrong ? othersPassword : password, { port }))]);
      }
    });
    try {
      for (let times = 0; times < 4; times += 1) {
        await sleep(1000);
        await own.restart();
      }
      await sleep(1000);
      over = true;
      await Promise.all(logIns);
      const [right, wrong] = [false, true].map((which) =>
        count(results.filter(([wrong]) => wrong === which).map(([, result]) => result)),
      ) as [Record<string, number>, Record<string, number>];
      const seen = JSON.stringify({ right, wrong });
      assert.equal(wrong.ok, undefined, `a wrong password was accepted: ${seen}`);
      assert.equal(right['not-authorized'], undefined, `a right password was called wrong: ${seen}`);
      assert.ok((right.ok ?? 0) > 10 && (wrong['not-authorized'] ?? 0) > 5, seen);
      assert.ok(await within(10_000, async () => (await attempt(own.right)) === 'ok'), 'logins work again');
      for (let times = 0; times < 5; times += 1) assert.equal(await attempt(own.right), 'ok');
    } finally {
      over = true;
      await own.stop();
    }
  });

  test('by SIGTERM says so with exit code 0', async () => {
    const own = await startOwn();
    const exit = await own.stop();
    assert.deepEqual(exit, { code: 0, signal: null });
  });
});

test('no password, token or client secret is in a log', () => {
  assert.ok(daemon.log().includes(hostA) && prosody.log().includes('alice'), 'the logs were written');
  assertNoSecretIn("the daemon's log", daemon.log());
  assertNoSecretIn("Prosody's log", prosody.log());
});

test('every login is one line in the log, with its verdict', () => {
  const verdicts = daemon.logLines().filter(({ op }) => op === 'auth');
  assert.ok(verdicts.length > 200, `${verdicts.length} logins`);
  for (const entry of verdicts) {
    assert.match(String(entry.verdict), /^(accepted|refused|unavailable)$/, JSON.stringify(entry));
    if (entry.verdict !== 'accepted') assert.equal(typeof entry.reason, 'string', JSON.stringify(entry));
  }
});

/** A daemon and a Prosody that a test may end; `held`: on sockets that outlive the daemon. */
async function startOwn({ held = false } = {}) {
  const [pathA, pathB] = [join(temporaryFolder(), 'a.sock'), join(temporaryFolder(), 'b.sock')];
  const options = { config: configuration(pathA, pathB) };
  const start = held ? startHeldDaemon : startDaemon;
  let serving = await start(options);
  try {
    const server = await startProsody({ hosts: [{ name: hostA, socket: pathA }] });
    const { port } = server;
    return {
      right: atA('alice', passwords.alice, { port }),
      wrong: atA('alice', passwords.bob, { port }),
      /** SIGKILL, and a new one. */
      async restart() {
        await serving.kill();
        if (!held) serving = await start(options);
      },
      async stop() {
        await server.stop();
        const exit = await serving.stop();
        assertNoSecretIn("the daemon's log", serving.log());
        assertNoSecretIn("Prosody's log", server.log());
        return exit;
      },
    };
  } catch (error) {
    await serving.stop();
    throw error;
  }
}

/** The mechanisms of the handshake on a socket. */
async function announcedOn(path: string): Promise<string[]> {
  const socket = connect(path);
  let text = '';
  socket.write('VERSION\t1\t1\nCPID\t1\n');
  for await (const chunk of socket) {
    text += String(chunk);
    if (/^DONE$/m.test(text)) break;
  }
  return [...text.matchAll(/^MECH\t([^\t\n]+)/gm)].map(([, name = '']) => name);
}

function assertNoSecretIn(place: string, text: string): void {
  for (const value of secrets) {
    // Long enough to be unique, short enough to find a secret that was cut or escaped.
    const index = text.indexOf(value.slice(0, 24));
    assert.equal(index, -1, `${place}: …${text.slice(Math.max(0, index - 200), index + 24)}`);
    for (const form of base64Forms(value)) assert.ok(!text.includes(form), `${place}, as base64`);
  }
}

/** How the beginning of a text looks in base64, wherever in a message it stands. */
function base64Forms(text: string): string[] {
  return [0, 1, 2].map((shift) => base64(' '.repeat(shift) + text.slice(0, 24)).slice(4, -4));
}

function base64(text: string): string {
  return Buffer.from(text).toString('base64');
}

function count(results: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const result of results) counts[result] = (counts[result] ?? 0) + 1;
  return counts;
}
