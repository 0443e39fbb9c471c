// A provider that others wrote: Debian's LemonLDAP::NG, by itself and behind a real ejabberd. Its issuer ends in a slash,
// its ID tokens have the header, the issuer and the audience of its JWT access tokens, a client's own token has the
// client's name where users have theirs, and it reads two headers in ways of its own.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { program } from '../../support/bridge.ts';
import { type Ejabberd, startEjabberd } from '../support/ejabberd.ts';
import {
  type LemonldapClient,
  type LemonldapProvider,
  startLemonldap,
} from '../support/lemonldap-provider.ts';
import { createSecrets, type Logins, startLogins } from '../support/logins.ts';

/** As examples/lemonldap.yml has it: opaque tokens are introspected, UserInfo gives the name. */
const safe = 'safe.example';
/** JWTs by the provider's keys alone. */
const jwt = 'jwt.example';
/** JWTs, which do not name the user as we ask for it. */
const nameless = 'nameless.example';
/** Introspection alone. */
const asked = 'asked.example';
/** UserInfo alone. */
const userinfo = 'userinfo.example';
/** The same by a claim that clients have, too. */
const sub = 'sub.example';

const secrets = createSecrets();
const users = {
  alice: secrets.random(),
  bob: secrets.random(),
  Carol: secrets.random(),
  xmpp: secrets.random(),
  'xmpp-jwt': secrets.random(),
  'other-app': secrets.random(),
};

let lemonldap: LemonldapProvider;
let logins: Logins;
let ejabberd: Ejabberd;

before(async () => {
  lemonldap = await startLemonldap(users, secrets.random);
  logins = startLogins(hosts());
  ejabberd = await startEjabberd({
    hosts: [safe, jwt],
    program: `env EXTAUTH_OAUTH_CONFIG=${logins.config} ${process.execPath} ${program}`,
    pool: 1,
  });
});

after(async () => {
  await ejabberd?.stop();
  await logins?.bridge.stop();
  await lemonldap?.stop();
});

function hosts(): Record<string, Record<string, unknown>> {
  const { issuer, secrets: known } = lemonldap;
  const as = (client_id: LemonldapClient) => ({
    issuer,
    client_id,
    client_secret_file: secrets.file(known[client_id]),
    scope: 'openid profile',
    resource_owner_password: true,
    token_prefix: 'token:',
  });
  const introspection = { validation: 'introspection', username_field: 'sub' };
  return {
    [safe]: as('xmpp'),
    [nameless]: as('xmpp-jwt'),
    [jwt]: { ...as('xmpp-jwt'), validation: 'jwt', username_field: 'sub', required_scopes: 'openid' },
    [asked]: { ...as('xmpp'), ...introspection, required_scopes: 'openid' },
    [userinfo]: { ...as('xmpp'), validation: 'userinfo' },
    [sub]: { ...as('xmpp'), validation: 'userinfo', username_field: 'sub' },
    'basic.example': { ...as('xmpp'), client_auth_method: 'basic' },
    'raw.example': { ...as('xmpp'), client_auth_method: 'basic_raw' },
    'post.slash.example': { ...as('xmpp-slash'), client_auth_method: 'post' },
    'basic.slash.example': { ...as('xmpp-slash'), client_auth_method: 'basic' },
    'raw.slash.example': { ...as('xmpp-slash'), client_auth_method: 'basic_raw' },
    'slashless.example': { ...as('xmpp'), issuer: issuer.replace(/\/$/, '') },
    'scope.example': { ...as('xmpp'), required_scopes: 'openid' },
    'wrong.example': { ...as('xmpp'), client_secret_file: secrets.file(secrets.random()) },
  };
}

async function token(...options: Parameters<LemonldapProvider['token']>): Promise<string> {
  return secrets.keep((await lemonldap.token(...options)).access_token);
}

describe('a password at lemonldap-ng', () => {
  const cases: [user: string, whose: keyof typeof users, outcome: string][] = [
    ['alice', 'alice', 'accepted by password'],
    ['alice', 'bob', 'refused: not_authorized'],
    ['nobody', 'alice', 'refused: not_authorized'],
    // Case counts there, and XMPP has small letters only.
    ['carol', 'Carol', 'refused: not_authorized'],
  ];
  for (const [user, whose, outcome] of cases) {
    test(`of ${whose}, with the name ${user}, is ${outcome}`, async () => {
      for (const host of [safe, jwt, asked, userinfo, sub])
        assert.equal(await logins.on(host, user, users[whose]), outcome, host);
    });
  }

  test('logs in through ejabberd, and a wrong one does not', async () => {
    const { port } = ejabberd;
    assert.equal(await logins.byXmpp(port, safe, 'alice', users.alice), 'accepted by password');
    assert.equal(await logins.byXmpp(port, safe, 'alice', users.bob), 'refused: not_authorized');
  });

  test('of a user who is called like the client logs nobody in, as that is what a token of the client says', async () => {
    assert.equal(await logins.on(safe, 'xmpp', users.xmpp), 'refused: not_a_user');
    assert.equal(await logins.on(safe, 'other-app', users['other-app']), 'accepted by password');
  });

  // It does not say what it has granted where that is all that was asked for, nor does UserInfo; introspection does.
  test('has no scope that counts, unless it is introspection that is asked', async () => {
    assert.equal(await logins.on('scope.example', 'alice', users.alice), 'refused: scope_missing');
    assert.equal(await logins.on(asked, 'alice', users.alice), 'accepted by password');
  });

  // It takes `Basic (\w+)`, and what base64 has besides letters and digits ends the header there.
  const methods: [host: string, outcome: string][] = [
    ['basic.example', 'accepted by password'],
    ['raw.example', 'accepted by password'],
    ['post.slash.example', 'accepted by password'],
    ['basic.slash.example', 'unavailable: client_refused'],
    ['raw.slash.example', 'unavailable: client_refused'],
    ['wrong.example', 'unavailable: client_refused'],
    ['slashless.example', 'unavailable: not_configured'],
  ];
  for (const [host, outcome] of methods) {
    test(`is ${outcome} at ${host}`, async () => {
      assert.equal(await logins.on(host, 'alice', users.alice), outcome);
    });
  }
});

describe('a token of lemonldap-ng', () => {
  const ways: [host: string, client: LemonldapClient, method: string][] = [
    [safe, 'xmpp', 'introspection'],
    [nameless, 'xmpp-jwt', 'jwt+introspection'],
    [jwt, 'xmpp-jwt', 'jwt'],
    [asked, 'xmpp', 'introspection'],
    [userinfo, 'xmpp', 'userinfo'],
    [sub, 'xmpp', 'userinfo'],
  ];
  for (const [host, client, method] of ways) {
    test(`logs its user in at ${host}, and nobody else`, async () => {
      const secret = `token:${await token('alice', client)}`;
      assert.equal(await logins.on(host, 'alice', secret), `accepted by ${method}`);
      assert.equal(await logins.on(host, 'bob', secret), 'refused: user_mismatch');
    });

    test(`that is an ID token, or a refresh token, is refused at ${host}`, async () => {
      const { id_token = '', refresh_token = '' } = await lemonldap.token('alice', client);
      for (const secret of [id_token, refresh_token]) {
        assert.match(
          await logins.on(host, 'alice', `token:${secrets.keep(secret)}`),
          /^refused: (id_token|token_inactive|malformed_token)$/,
        );
      }
    });

    test(`of our client's own logs nobody of its name in at ${host}`, async () => {
      const own = secrets.keep(await lemonldap.clientToken(client));
      assert.match(await logins.on(host, client, `token:${own}`), /^refused: (not_a_user|username_missing)$/);
    });
  }

  test('logs in through ejabberd, opaque or not', async () => {
    const { port } = ejabberd;
    const opaque = `token:${await token('alice')}`;
    assert.equal(await logins.byXmpp(port, safe, 'alice', opaque), 'accepted by introspection');
    assert.equal(
      await logins.byXmpp(port, jwt, 'alice', await token('alice', 'xmpp-jwt')),
      'accepted by jwt',
    );
  });

  test("of another client is refused, and that client's own, where anybody says whose it is", async () => {
    for (const [host, client] of [
      [safe, 'other-app'],
      [asked, 'other-app'],
      [jwt, 'other-jwt'],
    ] as const) {
      for (const [user, get] of [
        ['alice', () => token('alice', client)],
        [client, () => lemonldap.clientToken(client)],
      ] as const) {
        const secret = `token:${secrets.keep(await get())}`;
        assert.equal(await logins.on(host, user, secret), 'refused: aud_mismatch', host);
      }
    }
  });

  // UserInfo says {"sub": "other-app"} and no more. Who goes by a claim that only users have is spared the second of these.
  test('of another client logs in where UserInfo alone is asked, and its own as a user of its name where that is sub', async () => {
    const [others, own] = [
      await token('alice', 'other-app'),
      secrets.keep(await lemonldap.clientToken('other-app')),
    ];
    for (const host of [userinfo, sub])
      assert.equal(await logins.on(host, 'alice', `token:${others}`), 'accepted by userinfo');
    assert.equal(await logins.on(userinfo, 'other-app', `token:${own}`), 'refused: username_missing');
    assert.equal(await logins.on(sub, 'other-app', `token:${own}`), 'accepted by userinfo');
    assert.match(logins.log(), /"event":"unsafe"/);
  });

  // It reads `Bearer ([\w\-\.]+)` and looks no further.
  test('with something after it is none, except at UserInfo, which does not see it', async () => {
    const opaque = `token:${await token('alice')}~x`;
    for (const host of [safe, asked])
      assert.equal(await logins.on(host, 'alice', opaque), 'refused: token_inactive');
    assert.equal(await logins.on(userinfo, 'alice', opaque), 'accepted by userinfo');
    for (const host of [safe, jwt, userinfo]) {
      const signed = `token:${await token('alice', 'xmpp-jwt')}~x`;
      assert.equal(await logins.on(host, 'alice', signed), 'refused: malformed_token');
    }
  });
});

test('no password, token or client secret is in a log', () => {
  for (const text of [logins.log(), logins.bridge.log(), ejabberd.log()]) secrets.assertNoneIn(text);
});
