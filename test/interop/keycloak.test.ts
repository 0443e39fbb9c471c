// The bridge against a real Keycloak: passwords, and tokens judged in every way there is.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { decodeJwt, decodeProtectedHeader, SignJWT } from 'jose';
import { load } from 'js-yaml';
import { type Bridge, program, root, startBridge, temporaryFolder, writeConfig } from '../support/bridge.ts';
import {
  findKeycloak,
  type Keycloak,
  type Realm,
  type SecretClient,
  startKeycloak,
  totp,
  within,
} from './support/keycloak.ts';
import {
  audienceScope,
  clientSecrets,
  crowd,
  passwords,
  realmRole,
  type UserName,
  wrongPasswordsAllowed,
} from './support/keycloak-realm.ts';

const host = 'chat.example';
/** A token with this scope names us in its `aud`; Keycloak introspects no others since 26.6.2. */
const forUs = `openid profile ${audienceScope}`;
/** One with these has no `aud`, as Keycloak makes them when it is not told to. */
const forNobody = 'openid profile';
const modes = ['jwt', 'introspection', 'userinfo', 'jwt+introspection', 'jwt+userinfo', 'auto'] as const;
type Mode = (typeof modes)[number];

/** Keycloak's start, with the building of one that nobody has built yet. */
const startTimeout = 150_000;
/** A line of the log is written a moment after the answer, and revocation happens then, too. */
const afterTheAnswer = 10_000;

const home = findKeycloak();
const skip = home === undefined && 'no Keycloak can be had here: no Maven repository answers';
if (skip) console.error(`\n*** SKIPPED: test/interop/keycloak.test.ts: ${skip} ***\n`);

describe('a real Keycloak', { skip }, () => {
  let keycloak: Keycloak;
  let realm: Realm;
  /** Everything that must not turn up in `logs`. */
  const secrets = new Set<string>([...Object.values(clientSecrets), ...Object.values(passwords)]);
  const logs: string[] = [];

  before(
    async () => {
      keycloak = await startKeycloak(home ?? '');
      realm = keycloak.realm;
      // The first login of a cold Keycloak may take longer than the bridge waits.
      await realm.tokens('alice', 'xmpp');
    },
    { timeout: startTimeout },
  );
  after(() => keycloak?.stop(), { timeout: 20_000 });

  /** An access token of the user that the client has got. */
  async function token(user: UserName, client: SecretClient, scope = forUs): Promise<string> {
    return (await realm.tokens(user, client, { scope })).access_token;
  }

  /** A configuration as an operator would write it for Keycloak, with passwords on. */
  function configuration(options: Record<string, unknown> = {}): Record<string, unknown> {
    return {
      issuer: realm.issuer,
      client_id: 'xmpp',
      ...(options.client_key_file === undefined
        ? { client_secret_file: secretFile(clientSecrets.xmpp) }
        : {}),
      resource_owner_password: true,
      scope: 'openid profile',
      // Keycloak is asked each time: it is its answers that are looked at.
      cache: { token_ttl: 0, negative_ttl: 0 },
      limits: { wrong_passwords: 'none' },
      ...options,
    };
  }

  function open(options: Record<string, unknown> = {}): Client {
    return createClient(startBridge({ config: configuration(options) }));
  }

  /** The same, and it ends with the test. */
  function openFor(context: TestContext, options: Record<string, unknown> = {}): Client {
    const client = open(options);
    context.after(() => client.stop());
    return client;
  }

  /** The XMPP server's side. */
  interface Client {
    /** Logs in and resolves with `accepted`, or with the reason. */
    login(localpart: string, secret: string): Promise<string>;
    /** The same with all that the log says. */
    verdict(localpart: string, secret: string): Promise<Record<string, unknown>>;
    /** Logs in without waiting for the log. */
    ask(localpart: string, secret: string): Promise<number>;
    /** What the log says of all logins so far that were not accepted. */
    others(): Promise<unknown[]>;
    stop(): Promise<void>;
  }

  function createClient(bridge: Bridge): Client {
    let asked = 0;

    /** One line for each login, once they are there. */
    async function requests(): Promise<Record<string, unknown>[]> {
      const lines = () => bridge.logLines().filter(({ event }) => event === 'request');
      assert.ok(await within(afterTheAnswer, () => lines().length >= asked), bridge.log());
      return lines();
    }

    async function ask(localpart: string, secret: string): Promise<number> {
      secrets.add(secret);
      asked++;
      return bridge.ask(`auth:${localpart}:${host}:${secret}`);
    }

    async function verdict(localpart: string, secret: string): Promise<Record<string, unknown>> {
      const answer = await ask(localpart, secret);
      const line = (await requests()).at(-1) ?? {};
      assert.equal(answer, line.verdict === 'accepted' ? 1 : 0, JSON.stringify(line));
      return line;
    }

    return {
      ask,
      verdict,
      others: async () => (await requests()).filter((line) => line.verdict !== 'accepted'),
      async login(localpart, secret) {
        const line = await verdict(localpart, secret);
        return String(line.reason ?? line.verdict);
      },
      async stop() {
        await bridge.stop();
        logs.push(bridge.log());
      },
    };
  }

  describe('with a password', () => {
    let client: Client;
    before(() => {
      client = open();
    });
    after(() => client?.stop());

    const logins = [
      ['lets in who has it', 'alice', passwords.alice, 'accepted'],
      ['lets in a password with characters that a form must encode', 'bob', passwords.bob, 'accepted'],
      ['refuses a wrong one', 'alice', 'Not-of-Alice-1', 'not_authorized'],
      ["refuses another user's", 'alice', passwords.bob, 'not_authorized'],
      ['refuses a user that there is not', 'nobody', 'Not-of-Nobody-1', 'not_authorized'],
      [
        'lets in a user whose name is an e-mail address',
        'mail\\40corp.example',
        passwords['mail@corp.example'],
        'accepted',
      ],
      [
        'refuses the address of a user whose name is another',
        'alice\\40corp.example',
        passwords.alice,
        'user_mismatch',
      ],
      ['refuses a disabled account', 'dora', passwords.dora, 'account_disabled'],
      ['refuses an account with a required action', 'rita', passwords.rita, 'account_incomplete'],
      ['refuses an account with a one-time password', 'otto', passwords.otto, 'not_authorized'],
    ] as const;
    for (const [title, localpart, password, expected] of logins) {
      it(title, async () => {
        assert.equal(await client.login(localpart, password), expected);
      });
    }

    it('refuses an account that wrong passwords have locked, until it is unlocked', async (context) => {
      const { otherRealm } = keycloak;
      const locking = openFor(context, { issuer: otherRealm.issuer });
      const form = { grant_type: 'password', username: 'victim', scope: 'openid' };
      const attempt = async (): Promise<boolean> => {
        await otherRealm.post('token', { ...form, password: 'Not-of-Victim-1' });
        return (await otherRealm.failures('victim')).locked;
      };
      assert.ok(await within(afterTheAnswer, attempt));
      assert.equal((await otherRealm.failures('victim')).count, wrongPasswordsAllowed);
      assert.equal(await locking.login('victim', passwords.victim), 'not_authorized');
      await otherRealm.unlock('victim');
      assert.equal(await locking.login('victim', passwords.victim), 'accepted');
    });

    it('takes the one-time code from the end of the password', async (context) => {
      const otp = openFor(context, { password_otp_digits: 6 });
      assert.equal(await otp.login('otto', passwords.otto), 'not_authorized');
      assert.equal(await otp.login('otto', passwords.otto + wrong(totp())), 'not_authorized');
      assert.equal(await otp.login('otto', passwords.otto + totp()), 'accepted');
      assert.equal(await otp.login('alice', passwords.alice), 'accepted', 'who has no one-time password');
    });

    it('lets in only who has the role', async (context) => {
      const strict = openFor(context, { require: { 'realm_access.roles': [realmRole] } });
      assert.equal(await strict.login('alice', passwords.alice), 'accepted');
      assert.equal(await strict.login('bob', passwords.bob), 'rule_failed');
      assert.equal(await strict.login('alice', await token('alice', 'xmpp')), 'accepted');
      assert.equal(await strict.login('bob', await token('bob', 'xmpp')), 'rule_failed');
    });
  });

  describe('with a token', () => {
    const clients = new Map<Mode, Client>();
    before(() => {
      for (const validation of modes)
        clients.set(
          validation,
          open({
            validation,
            accepted_clients: ['xmpp', 'app', 'xmpp-lean', 'xmpp-brief'],
            clock_skew: '0s',
          }),
        );
    });
    after(async () => {
      for (const client of clients.values()) await client.stop();
    });

    /** What every way of judging comes to. */
    async function all(localpart: string, token: string): Promise<Record<Mode, string>> {
      const said = await Promise.all(
        modes.map(async (mode) => [mode, await clients.get(mode)?.login(localpart, token)]),
      );
      return Object.fromEntries(said);
    }

    const everywhere = (expected: string): Record<Mode, string> =>
      Object.fromEntries(modes.map((mode) => [mode, expected])) as Record<Mode, string>;
    /** Where no key judges it, it is for Keycloak to say. */
    const withoutKeys = (expected: string) => ({ introspection: expected, userinfo: expected });

    const table: [title: string, localpart: string, token: () => Promise<string>, Record<Mode, string>][] = [
      [
        'accepts one that our own client has got',
        'alice',
        () => token('alice', 'xmpp'),
        everywhere('accepted'),
      ],
      [
        'accepts one that another accepted client has got',
        'alice',
        () => token('alice', 'app'),
        everywhere('accepted'),
      ],
      [
        'accepts one of a user whose name is an e-mail address',
        'mail\\40corp.example',
        () => token('mail@corp.example', 'app'),
        everywhere('accepted'),
      ],
      [
        'refuses one that any other client has got, although it is for us',
        'alice',
        () => token('alice', 'evil'),
        everywhere('client_not_accepted'),
      ],
      [
        'refuses one that any other client has got',
        'alice',
        () => token('alice', 'evil', forNobody),
        everywhere('client_not_accepted'),
      ],
      ["refuses alice's to bob", 'bob', () => token('alice', 'xmpp'), everywhere('user_mismatch')],
      [
        'refuses an ID token',
        'alice',
        async () => (await realm.tokens('alice', 'xmpp', { scope: forUs })).id_token,
        everywhere('id_token'),
      ],
      [
        'refuses a refresh token',
        'alice',
        async () => (await realm.tokens('alice', 'xmpp', { scope: forUs })).refresh_token,
        everywhere('alg_not_allowed'),
      ],
      [
        "refuses our client's own",
        'service-account-xmpp',
        () => realm.serviceToken('xmpp', forUs),
        everywhere('not_a_user'),
      ],
      [
        "refuses a client's own to a user",
        'alice',
        () => realm.serviceToken('app', forUs),
        everywhere('not_a_user'),
      ],
      [
        'refuses one of another realm',
        'alice',
        async () => (await keycloak.otherRealm.tokens('alice', 'xmpp', { scope: forUs })).access_token,
        everywhere('iss_mismatch'),
      ],
      [
        'refuses one that has expired',
        'alice',
        async () => {
          const brief = await token('alice', 'xmpp-brief');
          await sleep(2100);
          return brief;
        },
        everywhere('expired'),
      ],
      [
        'refuses one in which somebody has put another name',
        'bob',
        async () => renamed(await token('alice', 'xmpp'), 'bob'),
        { ...everywhere('bad_signature'), ...withoutKeys('token_inactive') },
      ],
      [
        'refuses one that somebody else has signed',
        'alice',
        async () => forged(await token('alice', 'xmpp')),
        { ...everywhere('bad_signature'), ...withoutKeys('token_inactive') },
      ],
    ];
    for (const [title, localpart, get, expected] of table) {
      it(`${title}, whichever way it is judged`, async () => {
        assert.deepEqual(await all(localpart, await get()), expected);
      });
    }

    it('says in the log which way that was', async () => {
      const good = await token('alice', 'xmpp');
      for (const mode of modes) {
        const { method } = (await clients.get(mode)?.verdict('alice', good)) ?? {};
        assert.equal(method, mode === 'auto' ? 'jwt' : mode);
      }
    });

    it('without an aud asks Keycloak only where Keycloak answers', async () => {
      const good = await token('alice', 'xmpp', forNobody);
      const { body } = await realm.post('introspection', { token: good });
      const introspected = body.active === true ? 'accepted' : 'token_inactive';
      assert.deepEqual(await all('alice', good), {
        ...everywhere('accepted'),
        introspection: introspected,
        'jwt+introspection': introspected,
      });
    });

    it('that is lightweight and names nobody needs introspection', async () => {
      const lean = await token('alice', 'xmpp-lean');
      assert.equal(decodeJwt(lean).preferred_username, undefined);
      const said = await all('alice', lean);
      assert.equal(said.introspection, 'accepted');
      assert.equal(said['jwt+introspection'], 'accepted');
      assert.equal(said.jwt, 'username_missing');
      const bobs = await all('bob', lean);
      assert.equal(bobs.introspection, 'user_mismatch');
      assert.equal(bobs['jwt+introspection'], 'user_mismatch');
    });

    it('goes by our own client where nothing else is said', async (context) => {
      const client = openFor(context);
      const login = async (...how: [SecretClient, string]) =>
        client.login('alice', await token('alice', ...how));
      assert.equal(await login('xmpp', forNobody), 'accepted', 'which has got it');
      assert.equal(await login('app', forUs), 'accepted', 'which it is for');
      assert.equal(await login('app', forNobody), 'aud_mismatch');
    });

    it('is refused once its session has ended, where Keycloak is asked', async () => {
      const good = await token('user0', 'xmpp');
      assert.deepEqual(await all('user0', good), everywhere('accepted'));
      await realm.logOut('user0');
      assert.deepEqual(await all('user0', good), {
        ...everywhere('token_inactive'),
        jwt: 'accepted',
        auto: 'accepted',
      });
    });
  });

  describe('as a client', () => {
    it('proves itself by a signature', async (context) => {
      const { privateKey, id } = keycloak.clientKey;
      const good = await token('alice', 'xmpp');
      const options = {
        client_id: 'xmpp-key',
        client_auth_method: 'private_key_jwt',
        client_key_file: secretFile(privateKey.export({ type: 'pkcs8', format: 'pem' }) as string),
        client_key_id: id,
        accepted_clients: ['xmpp'],
        validation: 'introspection',
      };
      const client = openFor(context, options);
      assert.equal(await client.login('alice', good), 'accepted');
      assert.equal(await client.login('bob', good), 'user_mismatch');
      const quick = openFor(context, { ...options, validation: 'auto' });
      assert.equal(await quick.login('alice', passwords.alice), 'accepted');
      assert.equal(await quick.login('bob', passwords.bob), 'accepted', 'with another assertion');
    });

    it('is told when its secret is wrong, and no user is blamed', async (context) => {
      const client_secret_file = secretFile('not-the-secret-of-xmpp');
      const good = await token('alice', 'xmpp');
      for (const [validation, secret] of [
        ['auto', passwords.alice],
        ['introspection', good],
        ['jwt+introspection', good],
      ] as const) {
        const client = openFor(context, { validation, client_secret_file });
        const { verdict, reason, level } = await client.verdict('alice', secret);
        assert.deepEqual({ verdict, reason, level }, refusedClient, validation);
      }
    });

    it('is told when its key is wrong, and no user is blamed', async (context) => {
      const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
      const client = openFor(context, {
        client_id: 'xmpp-key',
        client_auth_method: 'private_key_jwt',
        client_key_file: secretFile(privateKey.export({ type: 'pkcs8', format: 'pem' }) as string),
        client_key_id: keycloak.clientKey.id,
      });
      const { verdict, reason, level } = await client.verdict('alice', passwords.alice);
      assert.deepEqual({ verdict, reason, level }, refusedClient);
    });

    const refusedClient = { verdict: 'unavailable', reason: 'client_refused', level: 'error' };

    it('logs users in as examples/keycloak.yml has it', async (context) => {
      const example = load(readFileSync(join(root, 'examples/keycloak.yml'), 'utf8')) as Record<
        string,
        unknown
      >;
      const { issuer, client_secret_file } = configuration();
      const client = openFor(context, { ...example, issuer, client_secret_file });
      assert.equal(await client.login('alice', passwords.alice), 'accepted');
      assert.equal(await client.login('otto', passwords.otto + totp()), 'accepted');
      assert.equal(await client.login('alice', await token('alice', 'xmpp')), 'accepted');
      assert.equal(await client.login('alice', await token('alice', 'evil')), 'client_not_accepted');
    });

    it('is found well by check', async () => {
      const config = writeConfig(configuration({ accepted_clients: ['xmpp', 'app'] }));
      const { stdout } = await promisify(execFile)(process.execPath, [program, 'check', '--config', config], {
        env: { PATH: process.env.PATH ?? '', XDG_CONFIG_HOME: '/nonexistent' },
        timeout: 20_000,
      });
      for (const row of ['discovery', 'keys', 'introspection', 'UserInfo', 'password grant'])
        assert.match(stdout, new RegExp(`^ok +${row} `, 'm'));
      assert.doesNotMatch(stdout, /^ERROR/m);
    });
  });

  it('changes its keys while logins run, and none is lost', { timeout: 60_000 }, async (context) => {
    const each = 60;
    const [byToken, byPassword] = [openFor(context), openFor(context)];
    const signers = new Set<unknown>();
    let answers = 0;
    async function loginsByToken(): Promise<void> {
      for (let count = 0; count < each; count++) {
        const fresh = await token('user1', 'xmpp');
        signers.add(decodeProtectedHeader(fresh).kid);
        assert.equal(await byToken.login('user1', fresh), 'accepted');
        answers++;
      }
    }
    async function loginsByPassword(): Promise<void> {
      for (let count = 0; count < each; count++) {
        assert.equal(await byPassword.login('user2', passwords.user2), 'accepted');
        answers++;
      }
    }
    async function rotation(): Promise<string> {
      assert.ok(await within(30_000, () => answers >= each / 2));
      return realm.rotateKeys();
    }
    const [kid] = await Promise.all([rotation(), loginsByToken(), loginsByPassword()]);
    assert.equal(answers, 2 * each);
    assert.ok(signers.size === 2 && signers.has(kid), 'tokens of the old key and of the new one');
  });

  it('takes a key back, and what it has signed is good no more', async (context) => {
    const running = openFor(context);
    const old = await token('user1', 'xmpp');
    assert.equal(await running.login('user1', old), 'accepted');
    await realm.rotateKeys('remove');
    const fresh = await token('user1', 'xmpp');
    assert.equal(await running.login('user1', fresh), 'accepted', 'which makes it look at the keys again');
    assert.equal(await running.login('user1', old), 'kid_unknown');
    assert.equal(await openFor(context).login('user1', old), 'kid_unknown');
  });

  it('has no session left after 1,000 password logins', { timeout: 120_000 }, async (context) => {
    const each = 1000 / crowd.length;
    for (const user of crowd) await realm.logOut(user);
    await Promise.all(
      crowd.map(async (user) => {
        const client = openFor(context);
        for (let count = 0; count < each; count++) await client.ask(user, passwords[user]);
        assert.deepEqual(await client.others(), []);
      }),
    );
    const left = async (): Promise<number> => {
      const sessions = await Promise.all(crowd.map((user) => realm.sessions(user)));
      return sessions.reduce((sum, count) => sum + count);
    };
    await within(afterTheAnswer, async () => (await left()) === 0);
    assert.equal(await left(), 0);
  });

  it('hears nothing secret in the log', () => {
    assert.ok(logs.length > 10);
    for (const log of logs) {
      for (const secret of secrets) assert.ok(!log.includes(secret), `a secret is in the log: ${log}`);
    }
  });
});

/** The same token with another name in it and the old signature. */
function renamed(token: string, preferred_username: string): string {
  const [header, , signature] = token.split('.');
  const claims = Buffer.from(JSON.stringify({ ...decodeJwt(token), preferred_username }));
  return [header, claims.toString('base64url'), signature].join('.');
}

/** The same token, signed with a key of our own. */
function forged(token: string): Promise<string> {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const { kid = '' } = decodeProtectedHeader(token);
  return new SignJWT(decodeJwt(token)).setProtectedHeader({ alg: 'RS256', kid, typ: 'JWT' }).sign(privateKey);
}

/** Another code of as many digits. */
function wrong(code: string): string {
  return code.replaceAll(/\d/g, (digit) => String(9 - Number(digit)));
}

/** A file that holds nothing else, and that nobody else may read. */
function secretFile(secret: string): string {
  const file = join(temporaryFolder(), 'secret');
  writeFileSync(file, secret);
  chmodSync(file, 0o600);
  return file;
}
