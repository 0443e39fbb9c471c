// A provider that others wrote: Debian's glewlwyd, by itself and behind a real ejabberd. It says no without a word, its
// JWTs name the granted scopes as their audience, it gives tokens to whoever comes without a client, knows a user however
// the name is typed, and its directory wants another word before the token.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { program, startBridge, temporaryFolder } from '../../support/bridge.ts';
import { type Ejabberd, startEjabberd, within } from '../support/ejabberd.ts';
import { type GlewlwydProvider, startGlewlwyd } from '../support/glewlwyd-provider.ts';
import { createSecrets, type Logins, startLogins } from '../support/logins.ts';

/** As examples/glewlwyd.yml has it. */
const safe = 'safe.example';
/** The same without accepted_clients and token_typ. */
const unsaid = 'unsaid.example';
/** Tokens by introspection. */
const asked = 'asked.example';
/** Passwords and tokens at UserInfo. */
const userinfo = 'userinfo.example';
/** A secret that is not our client's, and a key that is not one. */
const wrong = 'wrong.example';
/** Spelling counts. */
const exact = 'exact.example';
/** Who is disabled is still somebody. */
const everybody = 'everybody.example';

const secrets = createSecrets();
const users = {
  alice: secrets.random(),
  bob: secrets.random(),
  Carol: secrets.random(),
  dave: secrets.random(),
  gone: secrets.random(),
  jörg: secrets.keep(`Größe ${randomBytes(9).toString('hex')} 日本`),
  xmpp: secrets.random(),
};

let glewlwyd: GlewlwydProvider;
let logins: Logins;
let ejabberd: Ejabberd;

before(async () => {
  glewlwyd = await startGlewlwyd({ users, disabled: ['gone'] });
  logins = startLogins(hosts());
  ejabberd = await startEjabberd({
    hosts: [safe, asked],
    program: `env EXTAUTH_OAUTH_CONFIG=${logins.config} ${process.execPath} ${program}`,
    pool: 1,
  });
});

after(async () => {
  await ejabberd?.stop();
  await logins?.bridge.stop();
  await glewlwyd?.stop();
});

function client() {
  const { issuer, secrets: known } = glewlwyd;
  return { issuer, client_id: 'xmpp', client_secret_file: secrets.file(known.xmpp) };
}

function hosts(): Record<string, Record<string, unknown>> {
  const passwords = { scope: 'openid profile', resource_owner_password: true, token_prefix: 'token:' };
  const user_lookup = {
    type: 'http',
    url: `${glewlwyd.api}/user/{localpart}`,
    token_file: secrets.file(glewlwyd.apiKey),
    token_scheme: 'token',
    active_field: 'enabled',
    active_only: true,
  };
  const common = { ...client(), ...passwords, user_exists: 'lookup', user_lookup };
  const ours = { ...common, accepted_clients: 'xmpp', token_typ: 'at+jwt' };
  return {
    [safe]: ours,
    [unsaid]: common,
    [asked]: {
      ...ours,
      resource_owner_password: false,
      validation: 'introspection',
      introspection_auth_method: 'basic_raw',
      username_field: 'username',
    },
    [userinfo]: { ...ours, validation: 'userinfo', client_auth_method: 'basic_raw' },
    [wrong]: {
      ...ours,
      client_secret_file: secrets.file(secrets.random()),
      user_lookup: { ...user_lookup, token_file: secrets.file(secrets.random()) },
    },
    [exact]: { ...ours, username_case: 'exact' },
    [everybody]: { ...ours, user_lookup: { ...user_lookup, active_only: false } },
  };
}

async function token(...options: Parameters<GlewlwydProvider['token']>): Promise<string> {
  return secrets.keep((await glewlwyd.token(...options)).access_token);
}

describe('a password at glewlwyd', () => {
  const cases: [user: string, whose: keyof typeof users, outcome: string][] = [
    ['alice', 'alice', 'accepted by password'],
    ['jörg', 'jörg', 'accepted by password'],
    // Stored with a capital, and called so in the answer.
    ['carol', 'Carol', 'accepted by password'],
    ['xmpp', 'xmpp', 'accepted by password'],
    ['alice', 'bob', 'refused: not_authorized'],
    ['nobody', 'alice', 'refused: not_authorized'],
    ['gone', 'gone', 'refused: not_authorized'],
  ];
  for (const [user, whose, outcome] of cases) {
    test(`of ${whose}, with the name ${user}, is ${outcome}`, async () => {
      for (const host of [safe, userinfo])
        assert.equal(await logins.on(host, user, users[whose]), outcome, host);
    });
  }

  test('logs in in decomposed form, too, and a wrong one does not', async () => {
    const typed = users.jörg.normalize('NFD');
    assert.notEqual(typed, users.jörg);
    assert.equal(await logins.on(safe, 'jörg', typed), 'accepted by password');
    assert.equal(await logins.on(safe, 'jörg', secrets.random()), 'refused: not_authorized');
  });

  test('logs in through ejabberd, and a wrong one does not', async () => {
    assert.equal(await logins.byXmpp(ejabberd.port, safe, 'alice', users.alice), 'accepted by password');
    assert.equal(await logins.byXmpp(ejabberd.port, safe, 'alice', users.bob), 'refused: not_authorized');
  });

  // It says ALICE's token is alice's, and cuts a name at the NUL: alice's password would do for whoever begins like her.
  test('does not log in a name that it knows and XMPP does not', async () => {
    assert.equal(await logins.on(safe, 'ALICE', users.alice), 'refused: user_mismatch');
    assert.equal(await logins.on(exact, 'carol', users.Carol), 'refused: username_invalid');
    const { bridge } = logins;
    assert.equal(await bridge.ask(`auth:alice\0x:${safe}:${users.alice}`), 0);
    assert.equal(await bridge.ask(`auth:alice:${safe}:${users.alice}\0x`), 0);
  });

  test('leaves no refresh token behind', async () => {
    assert.equal(await logins.on(safe, 'dave', users.dave), 'accepted by password');
    await within(5000, () => glewlwyd.liveTokens('dave').refresh === 0);
    assert.equal(glewlwyd.liveTokens('dave').refresh, 0);
  });

  // 400 without a word: it might as well be the password. The doctor can tell by introspection.
  test('does not log in with a wrong client secret', async () => {
    assert.equal(await logins.on(wrong, 'alice', users.alice), 'refused: not_authorized');
  });
});

describe('a token of glewlwyd', () => {
  /** By the keys here, by introspection, at UserInfo. */
  const ways = [
    [safe, 'jwt'],
    [asked, 'introspection'],
    [userinfo, 'userinfo'],
  ] as const;

  test('logs its user in, and nobody else, whatever spelling it was got by', async () => {
    const [own, typed] = [await token('alice'), await token('ALICE', { password: users.alice })];
    for (const [host, method] of ways) {
      for (const each of [own, typed]) {
        assert.equal(await logins.on(host, 'alice', `token:${each}`), `accepted by ${method}`);
        assert.equal(await logins.on(host, 'bob', `token:${each}`), 'refused: user_mismatch');
      }
    }
    assert.equal(await logins.byXmpp(ejabberd.port, safe, 'alice', own), 'accepted by jwt');
    assert.equal(await logins.byXmpp(ejabberd.port, asked, 'alice', own), 'accepted by introspection');
  });

  const refusals: [title: string, user: string, get: () => Promise<string>, reason: RegExp][] = [
    [
      "another client's",
      'alice',
      () => token('alice', { client: 'other-app' }),
      /^refused: client_not_accepted$/,
    ],
    [
      "another client's whose only scope is called like ours",
      'alice',
      () => token('alice', { client: 'other-app', scope: 'xmpp' }),
      /^refused: client_not_accepted$/,
    ],
    [
      'got without a client',
      'alice',
      () => token('alice', { client: 'none' }),
      /^refused: client_not_accepted$/,
    ],
    [
      'got without a client for a scope that is called like ours',
      'alice',
      () => token('alice', { client: 'none', scope: 'xmpp' }),
      /^refused: client_not_accepted$/,
    ],
    // There is a user of that name.
    ["our client's own", 'xmpp', () => glewlwyd.clientToken('xmpp'), /^refused: not_a_user$/],
    [
      "another client's own",
      'other-app',
      () => glewlwyd.clientToken('other-app'),
      /^refused: client_not_accepted$/,
    ],
    [
      'an ID token',
      'alice',
      async () => (await glewlwyd.token('alice')).id_token ?? '',
      /^refused: wrong_typ$/,
    ],
    // Introspection calls it active.
    [
      'a refresh token',
      'alice',
      async () => (await glewlwyd.token('alice')).refresh_token,
      /^refused: (id_token|token_inactive)$/,
    ],
    [
      'one with junk after it',
      'alice',
      async () => `${await token('alice')}~x`,
      /^refused: malformed_token$/,
    ],
  ];
  for (const [title, user, get, reason] of refusals) {
    test(`is refused: ${title}`, async () => {
      const secret = `token:${secrets.keep(await get())}`;
      for (const [host] of ways) assert.match(await logins.on(host, user, secret), reason, host);
    });
  }

  test('of whoever could name a scope like our client logs in where accepted_clients is not set', async () => {
    const others = await token('alice', { client: 'other-app' });
    assert.equal(await logins.on(unsaid, 'alice', `token:${others}`), 'refused: aud_mismatch');
    for (const by of ['other-app', 'none'] as const) {
      const named = await token('alice', { client: by, scope: 'xmpp' });
      assert.equal(await logins.on(unsaid, 'alice', `token:${named}`), 'accepted by jwt');
    }
  });

  test('that was revoked is refused by whoever asks', async () => {
    const revoked = await token('alice');
    await glewlwyd.revoke(revoked, 'xmpp');
    for (const host of [asked, userinfo])
      assert.equal(await logins.on(host, 'alice', `token:${revoked}`), 'refused: token_inactive');
  });

  // Neither introspection nor UserInfo say a word of it.
  test('of a user who has been disabled since is good until it ends, and the password is not', async () => {
    const [first, second, third] = await Promise.all([token('bob'), token('bob'), token('bob')]);
    await glewlwyd.enable('bob', false);
    const before = ways.map(([host], index) => [host, [first, second, third][index]] as const);
    for (const [host, secret] of before)
      assert.match(await logins.on(host, 'bob', `token:${secret}`), /^accepted by/, host);
    assert.equal(await logins.on(safe, 'bob', users.bob), 'refused: not_authorized');
    await glewlwyd.enable('bob', true);
  });

  // Its sub is made for a user name as it is typed: ALICE is somebody else than alice.
  test('got by another spelling has another subject, which pin_subject takes for another person', async () => {
    for (const [pin_subject, answer] of [
      [true, 0],
      [false, 1],
    ] as const) {
      const state = `lmdb:${join(temporaryFolder(), 'state')}`;
      const config = { ...client(), accepted_clients: 'xmpp', state, pin_subject };
      const bridge = startBridge({ config });
      const typed = await token('ALICE', { password: users.alice });
      assert.equal(await bridge.ask(`auth:alice:a.example:${await token('alice')}`), 1, bridge.log());
      assert.equal(await bridge.ask(`auth:alice:a.example:${typed}`), answer, bridge.log());
      await bridge.stop();
    }
  });
});

describe("glewlwyd's directory", () => {
  const cases: [user: string, host: string, isUser: boolean][] = [
    ['alice', safe, true],
    ['jörg', safe, true],
    ['nobody', safe, false],
    ['al%', safe, false],
    ['gone', safe, false],
    ['gone', everybody, true],
    ['carol', safe, true],
    ['carol', exact, false],
    ['..\\2fkey', safe, false],
    // Nobody can say.
    ['nobody', wrong, true],
  ];
  for (const [user, host, isUser] of cases) {
    test(`${isUser ? 'has' : 'does not have'} ${user}@${host}`, async () => {
      assert.equal(await logins.isUser(user, host), isUser);
    });
  }

  test('says no to a wrong key, which the log tells', async () => {
    const told = () =>
      /does not let us look users up \(401\): check user_lookup\.token_file/.test(logins.log());
    assert.ok(await within(3000, told));
  });
});

test('no password, token, key or client secret is in a log', () => {
  for (const text of [logins.log(), logins.bridge.log(), ejabberd.log()]) secrets.assertNoneIn(text);
});
