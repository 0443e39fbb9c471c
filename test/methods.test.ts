// Which way a token is judged by each `validation`, what each way needs to say, and whether a signed answer is believed:
// for what a real provider will not do.
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { createDirectory, createJudge, createProvider } from '../src/auth/index.ts';
import { loadConfig } from '../src/config/load.ts';
import { judgeLogin } from '../src/judge.ts';
import { type Credentials, Secret } from '../src/verdict.ts';
import { writeConfig } from './support/bridge.ts';
import {
  alice,
  type Behaviour,
  type Endpoint,
  type Scripted,
  startScripted,
} from './support/scripted-provider.ts';
import { createSigner, encode, type Json, symmetric } from './support/signer.ts';

const signer = createSigner('ES256', 'k');
const stranger = createSigner('ES256', 'k');
const seconds = Math.floor(Date.now() / 1000);
const SECRET = 'client-secret';

function credentialsOf(localpart: string, secret: Secret): Credentials {
  return { localpart, authcid: localpart, host: 'chat.example', secret, isBearer: false };
}

let scripted: Scripted;
before(async () => {
  scripted = await startScripted();
});
after(() => scripted.stop());
beforeEach(() => {
  scripted.reset();
  scripted.set('jwks', { body: { keys: [signer.jwk] } });
});

function claims(more: Json = {}): Json {
  return {
    iss: scripted.origin,
    sub: alice.sub,
    azp: 'xmpp',
    exp: seconds + 300,
    iat: seconds,
    scope: 'openid xmpp',
    preferred_username: alice.name,
    ...more,
  };
}

interface Result {
  /** The method of an accepted login, else the reason. */
  readonly verdict: string;
  readonly method: string | undefined;
  readonly asked: readonly Endpoint[];
  readonly warnings: readonly string[];
}

/** One login of alice's. */
async function logIn(secret: string, options: Json = {}): Promise<Result> {
  const { origin, endpoints } = scripted;
  const base = {
    issuer: origin,
    client_id: 'xmpp',
    client_secret: SECRET,
    token_endpoint: endpoints.token,
    validation_endpoint: endpoints.userinfo,
    introspection_endpoint: endpoints.introspection,
    jwks_uri: endpoints.jwks,
    resource_owner_password: true,
    revoke_after_login: false,
    token_prefix: 'token:',
    http: { timeout: '500ms' },
  };
  const { hosts } = loadConfig({ config: writeConfig({ ...base, ...options }), env: {} });
  const settings = hosts[0];
  assert.ok(settings);
  const now = (): number => performance.now();
  const directory = createDirectory({ now });
  const [first] = settings.providers;
  const provider = createProvider({ settings: first, directory, wallClock: Date.now });
  const warnings: string[] = [];
  const judge = createJudge({
    settings,
    providers: [provider],
    afterwards: () => {},
    wallClock: Date.now,
    warn: (message) => warnings.push(message),
  });
  scripted.seen.length = 0;
  const verdict = await judgeLogin(judge, credentialsOf(alice.name, new Secret(secret)), {
    deadlineAt: now() + 5000,
    now,
    onInternalError: (name, where) => assert.fail(`${name} ${where}`),
  });
  provider.close();
  directory.close();
  return {
    verdict: verdict.outcome === 'accepted' ? verdict.method : verdict.reason,
    method: verdict.method,
    asked: scripted.seen.flatMap(({ endpoint }) => endpoint ?? []),
    warnings,
  };
}

describe('validation', () => {
  const opaque = `token:${alice.token}`;
  const jwt = (more: Json = {}): Promise<string> => signer.token(claims(more));
  /** Any token is hers, whoever is asked. */
  function everybodyAgrees(): void {
    scripted.set('userinfo', { body: { sub: alice.sub, preferred_username: alice.name } });
    scripted.set('introspection', {
      body: { active: true, client_id: 'xmpp', sub: alice.sub, preferred_username: alice.name },
    });
  }

  type Row = [validation: string, secret: 'jwt' | 'opaque', verdict: string, asked: Endpoint[]];
  const rows: Row[] = [
    ['auto', 'jwt', 'jwt', ['jwks']],
    ['auto', 'opaque', 'introspection', ['introspection']],
    ['jwt', 'jwt', 'jwt', ['jwks']],
    ['jwt', 'opaque', 'malformed_token', []],
    ['introspection', 'jwt', 'introspection', ['introspection']],
    ['introspection', 'opaque', 'introspection', ['introspection']],
    ['userinfo', 'jwt', 'userinfo', ['userinfo']],
    ['userinfo', 'opaque', 'userinfo', ['userinfo']],
    ['jwt+introspection', 'jwt', 'jwt+introspection', ['jwks', 'introspection']],
    ['jwt+introspection', 'opaque', 'malformed_token', []],
    ['jwt+userinfo', 'jwt', 'jwt+userinfo', ['jwks', 'userinfo']],
    ['jwt+userinfo', 'opaque', 'malformed_token', []],
  ];
  for (const [validation, secret, verdict, asked] of rows) {
    it(`${validation} judges a token that is ${secret === 'jwt' ? 'a JWT' : 'opaque'}: ${verdict}`, async () => {
      everybodyAgrees();
      const result = await logIn(secret === 'jwt' ? await jwt() : opaque, { validation });
      assert.deepEqual([result.verdict, result.asked], [verdict, asked]);
    });
  }

  for (const validation of [
    'auto',
    'jwt',
    'introspection',
    'userinfo',
    'jwt+introspection',
    'jwt+userinfo',
  ]) {
    it(`${validation} takes no JWT that is for others, whoever else vouches for it`, async () => {
      everybodyAgrees();
      for (const more of [
        { azp: 'evil' },
        { exp: seconds - 60 },
        { iss: 'https://evil.example' },
        { cnf: {} },
      ]) {
        const { verdict } = await logIn(await jwt(more), { validation });
        const expected = /^(?:aud_mismatch|expired|iss_mismatch|sender_constrained)$/;
        assert.match(verdict, expected);
      }
    });
    it(`${validation} sends no token to the token endpoint, and no password anywhere else`, async () => {
      everybodyAgrees();
      for (const secret of [await jwt(), opaque]) {
        const { asked } = await logIn(secret, { validation });
        assert.ok(!asked.includes('token'));
      }
      await logIn(alice.password, { validation });
      for (const { endpoint, headers, body } of scripted.seen) {
        if (endpoint === 'token') continue;
        assert.ok(!(JSON.stringify(headers) + body).includes(alice.password), endpoint);
      }
    });
  }

  const ways: [title: string, set: Partial<Record<Endpoint, Behaviour>>, options: Json, verdict: string][] = [
    ['goes by introspection where the keys cannot be had', { jwks: { status: 500 } }, {}, 'introspection'],
    [
      'goes by UserInfo where there is neither',
      { jwks: { status: 500 } },
      { client_secret: undefined },
      'userinfo',
    ],
    [
      'goes by UserInfo where the provider does not introspect such tokens',
      {
        jwks: { reset: 'beforeHeaders' },
        introspection: { status: 400, body: { error: 'unsupported_token_type' } },
      },
      {},
      'userinfo',
    ],
    ['does not go on when there are keys and none fits', { jwks: { body: { keys: [] } } }, {}, 'kid_unknown'],
    [
      'does not go on when our client is refused',
      { jwks: { status: 500 }, introspection: { status: 401 } },
      {},
      'client_refused',
    ],
  ];
  for (const [title, set, options, verdict] of ways) {
    it(`auto ${title}: ${verdict}`, async () => {
      everybodyAgrees();
      for (const [endpoint, behaviour] of Object.entries(set)) scripted.set(endpoint as Endpoint, behaviour);
      assert.equal((await logIn(await jwt(), options)).verdict, verdict);
    });
  }

  it('jwt goes no other way when the keys cannot be had', async () => {
    everybodyAgrees();
    scripted.set('jwks', { status: 500 });
    assert.equal((await logIn(await jwt(), { validation: 'jwt' })).verdict, 'provider_error');
  });

  it('auto asks UserInfo for the name that introspection does not say', async () => {
    scripted.set('introspection', { body: { active: true, client_id: 'xmpp' } });
    const result = await logIn(opaque);
    assert.deepEqual([result.verdict, result.asked], ['introspection', ['introspection', 'userinfo']]);
    assert.deepEqual(result.warnings, [], 'introspection has said for whom the token is');
    scripted.set('introspection', { body: { active: true, client_id: 'xmpp', sub: 'somebody-else' } });
    assert.equal((await logIn(opaque)).verdict, 'user_mismatch');
  });

  it('warns where UserInfo alone decides about an opaque token, and not about a JWT', async () => {
    everybodyAgrees();
    const options = { validation: 'userinfo' };
    assert.match((await logIn(opaque, options)).warnings.join(), /any other application/);
    assert.deepEqual((await logIn(await jwt(), options)).warnings, []);
  });

  it('compares the subject of every answer with that of the JWT', async () => {
    for (const validation of ['introspection', 'userinfo', 'jwt+introspection', 'jwt+userinfo']) {
      everybodyAgrees();
      assert.equal((await logIn(await jwt({ sub: 'other' }), { validation })).verdict, 'user_mismatch');
    }
  });

  it('believes the newer answer about a name, and a JWT without a signature nothing at all', async () => {
    everybodyAgrees();
    const renamed = await jwt({ preferred_username: 'alice-as-she-was' });
    assert.equal((await logIn(renamed, { validation: 'jwt' })).verdict, 'user_mismatch');
    assert.equal((await logIn(renamed, { validation: 'jwt+userinfo' })).verdict, 'jwt+userinfo');
    scripted.set('userinfo', { body: { sub: alice.sub } });
    assert.equal((await logIn(await jwt(), { validation: 'jwt+userinfo' })).verdict, 'jwt+userinfo');
    assert.equal((await logIn(await jwt(), { validation: 'userinfo' })).verdict, 'username_missing');
    const scoped = { required_scopes: 'xmpp' };
    assert.equal((await logIn(await jwt(), { validation: 'userinfo', ...scoped })).verdict, 'scope_missing');
    assert.equal(
      (await logIn(await jwt(), { validation: 'jwt+userinfo', ...scoped })).verdict,
      'jwt+userinfo',
    );
  });

  it('takes name and verification from the same source', async () => {
    const options = { username_field: 'email', username_mapping: 'split', username_domains: 'x.example' };
    const mallorys = await jwt({ email: 'mallory@x.example', email_verified: true });
    for (const validation of ['jwt+userinfo', 'jwt+introspection']) {
      const said = { sub: alice.sub, email: `${alice.name}@x.example` };
      scripted.set('userinfo', { body: said });
      scripted.set('introspection', { body: { active: true, client_id: 'xmpp', ...said } });
      const result = await logIn(mallorys, { ...options, validation });
      assert.equal(result.verdict, 'email_not_verified');
    }
  });

  it('takes the first field of the list that anybody names, from whom names it', async () => {
    const options = { username_field: ['preferred_username', 'email'], validation: 'jwt+userinfo' };
    const split = { ...options, username_mapping: 'split', username_domains: 'x.example' };
    scripted.set('userinfo', {
      body: { sub: alice.sub, email: `${alice.name}@x.example`, email_verified: true },
    });
    const mallorys = await jwt({ preferred_username: 'mallory' });
    assert.equal((await logIn(mallorys, split)).verdict, 'domain_not_allowed');
    assert.equal((await logIn(await jwt(), options)).verdict, 'jwt+userinfo');
  });

  it("takes no client's own token, whoever of the two says so", async () => {
    const own = await jwt({ uid: alice.name, preferred_username: undefined });
    const options = { username_field: 'uid', validation: 'jwt+userinfo' };
    scripted.set('userinfo', { body: { preferred_username: 'service-account-x' } });
    assert.equal((await logIn(own, options)).verdict, 'not_a_user');
    scripted.set('userinfo', { body: { sub: alice.sub } });
    assert.equal((await logIn(own, options)).verdict, 'jwt+userinfo');
  });

  it('knows for whom its own token is, whatever introspection leaves out', async () => {
    const options = { validation: 'introspection', audience: 'account' };
    const said = { active: true, preferred_username: alice.name };
    for (const [more, verdict] of [
      [{}, 'password'],
      [{ aud: 'account' }, 'password'],
      [{ client_id: 'xmpp' }, 'password'],
      [{ client_id: 'evil' }, 'client_not_accepted'],
    ] as const) {
      scripted.set('introspection', { body: { ...said, ...more } });
      assert.equal((await logIn(alice.password, options)).verdict, verdict);
    }
  });

  it('reads aud in UserInfo as the client that it answers, as Ory Hydra and signed ones say it', async () => {
    const said = { sub: alice.sub, preferred_username: alice.name };
    const options = { validation: 'userinfo', accepted_clients: ['app'], audience: 'chat' };
    for (const [aud, verdict] of [
      [['app'], 'userinfo'],
      [['xmpp'], 'userinfo'],
      ['chat', 'userinfo'],
      [['evil'], 'aud_mismatch'],
      [[5], 'aud_mismatch'],
      [null, 'userinfo'],
    ] as const) {
      scripted.set('userinfo', { body: { ...said, aud } });
      assert.equal((await logIn(opaque, options)).verdict, verdict);
    }
  });

  it('sends nothing anywhere for a JWT of a stranger, whatever its alg', async () => {
    const long = createSigner('RS384', 'k');
    for (const validation of ['auto', 'jwt', 'introspection', 'userinfo']) {
      const result = await logIn(await long.token(claims({ iss: 'https://evil.example' })), { validation });
      assert.deepEqual([result.verdict, result.asked], ['iss_mismatch', []]);
      assert.equal(result.method, 'jwt', 'nothing to remember: nobody has been asked');
    }
  });

  it('auto waits a second for keys that do not come, and then goes another way', async () => {
    everybodyAgrees();
    scripted.set('jwks', { stall: true });
    const started = performance.now();
    assert.equal((await logIn(await jwt(), { http: { timeout: '4s' } })).verdict, 'introspection');
    assert.ok(performance.now() - started < 2000);
  });

  it('makes the next ones wait no more for what has just been waited for in vain', async () => {
    scripted.set('jwks', { stall: true });
    const { origin, endpoints } = scripted;
    const config = {
      issuer: origin,
      client_id: 'xmpp',
      jwks_uri: endpoints.jwks,
      validation: 'jwt',
      http: { timeout: '500ms' },
    };
    const [settings] = loadConfig({ config: writeConfig(config), env: {} }).hosts;
    assert.ok(settings);
    const now = (): number => performance.now();
    const directory = createDirectory({ now });
    const provider = createProvider({ settings: settings.providers[0], directory, wallClock: Date.now });
    const judge = createJudge({ settings, providers: [provider], afterwards: () => {}, wallClock: Date.now });
    const timed = async (): Promise<{ reason: string; took: number }> => {
      const started = now();
      const credentials = credentialsOf(alice.name, new Secret(await jwt()));
      const options = { deadlineAt: started + 5000, now, onInternalError: () => assert.fail() };
      const verdict = await judgeLogin(judge, credentials, options);
      return { reason: verdict.outcome === 'accepted' ? 'accepted' : verdict.reason, took: now() - started };
    };
    assert.equal((await timed()).reason, 'provider_timeout');
    for (let n = 0; n < 50; n++) {
      const { reason, took } = await timed();
      assert.equal(reason, 'provider_timeout');
      assert.ok(took < 100, `${took} ms`);
    }
    assert.equal(scripted.seen.filter(({ endpoint }) => endpoint === 'jwks').length, 1);
    scripted.set('jwks', { body: { keys: [signer.jwk] } });
    for (const until = now() + 3000; now() < until && (await timed()).reason !== 'accepted'; )
      await pause(50);
    assert.equal((await timed()).reason, 'accepted', 'when it is back');
    provider.close();
    directory.close();
  });

  it('asks for revocation at once with jwt+introspection, and takes a role away at once', async () => {
    everybodyAgrees();
    const token = await jwt({ groups: ['xmpp'] });
    const options = { validation: 'jwt+introspection', require: { groups: 'xmpp' } };
    assert.equal((await logIn(token, options)).verdict, 'jwt+introspection');
    scripted.set('introspection', { body: { active: true, client_id: 'xmpp', groups: [] } });
    assert.equal((await logIn(token, options)).verdict, 'rule_failed');
    scripted.set('introspection', { body: { active: false } });
    assert.equal((await logIn(token, options)).verdict, 'token_inactive');
  });
});

describe('a provider whose metadata changes', () => {
  it('has its keys where it says now: what the old place says counts no more, on the short way neither', async () => {
    let passed = 0;
    const { origin } = scripted;
    const moved = createSigner('ES256', 'moved');
    scripted.set('discovery', { body: { issuer: origin, jwks_uri: `${origin}/jwks?old` } });
    scripted.set('jwks', ({ url }) => ({
      body: { keys: [url.endsWith('?old') ? signer.jwk : moved.jwk] },
    }));
    const config = { issuer: origin, client_id: 'xmpp', validation: 'jwt' };
    const [settings] = loadConfig({ config: writeConfig(config), env: {} }).hosts;
    assert.ok(settings);
    const clock = (): number => performance.now() + passed;
    let changes = 0;
    const directory = createDirectory({ now: clock, onKeysChanged: () => changes++ });
    const provider = createProvider({ settings: settings.providers[0], directory, wallClock: Date.now });
    const judge = createJudge({ settings, providers: [provider], afterwards: () => {}, wallClock: Date.now });
    const logIn = async (token: string): Promise<string> => {
      const credentials = credentialsOf(alice.name, new Secret(token));
      const options = { deadlineAt: clock() + 3000, now: clock, onInternalError: () => assert.fail() };
      const verdict = await judgeLogin(judge, credentials, options);
      return verdict.outcome === 'accepted' ? 'accepted' : verdict.reason;
    };
    const old = await signer.token(claims());
    assert.equal(await logIn(old), 'accepted');
    scripted.set('discovery', { body: { issuer: origin, jwks_uri: `${origin}/jwks?new` } });
    passed = 3_700_000;
    await logIn(old);
    await pause(200);
    const before = changes;
    assert.equal(await logIn(await moved.token(claims())), 'accepted');
    assert.equal(await logIn(old), 'kid_unknown');
    assert.ok(changes > before, 'what was remembered is forgotten');
    provider.close();
    directory.close();
  });
});

describe('a provider that is down for an hour', () => {
  it('lets valid JWTs in by the keys it has left, and not one that has expired meanwhile', async () => {
    let passed = 0;
    const { origin, endpoints } = scripted;
    const config = {
      issuer: origin,
      client_id: 'xmpp',
      jwks_uri: endpoints.jwks,
      http: { timeout: '500ms' },
    };
    const { hosts } = loadConfig({ config: writeConfig(config), env: {} });
    const [settings] = hosts;
    assert.ok(settings);
    const clock = (): number => performance.now() + passed;
    const wallClock = (): number => Date.now() + passed;
    const directory = createDirectory({ now: clock });
    const provider = createProvider({ settings: settings.providers[0], directory, wallClock });
    const judge = createJudge({ settings, providers: [provider], afterwards: () => {}, wallClock });
    const logIn = async (token: string): Promise<string> => {
      const credentials = credentialsOf(alice.name, new Secret(token));
      const options = { deadlineAt: clock() + 3000, now: clock, onInternalError: () => assert.fail() };
      const verdict = await judgeLogin(judge, credentials, options);
      return verdict.outcome === 'accepted' ? 'accepted' : verdict.reason;
    };
    const short = await signer.token(claims({ exp: seconds + 1800 }));
    const long = await signer.token(claims({ exp: seconds + 7200 }));
    assert.deepEqual([await logIn(short), await logIn(long)], ['accepted', 'accepted']);
    scripted.set('jwks', { reset: 'beforeHeaders' });
    for (let minute = 0; minute < 60; minute += 3) {
      passed = minute * 60_000;
      const expected = minute < 31 ? 'accepted' : 'expired';
      assert.deepEqual([await logIn(short), await logIn(long)], [expected, 'accepted'], `minute ${minute}`);
    }
    provider.close();
    directory.close();
  });
});

describe('a password', () => {
  const grant = (more: Json): Behaviour => ({
    body: { access_token: alice.token, token_type: 'Bearer', ...more },
  });
  const idToken = (more: Json = {}, header: Json = {}): Promise<string> =>
    signer.token(
      { ...claims({ aud: 'xmpp', azp: undefined, scope: undefined }), ...more },
      { typ: 'JWT', ...header },
    );

  type Row = [title: string, body: () => Promise<Json>, verdict: string, asksUserinfo: boolean];
  const rows: Row[] = [
    ['whose answer has an ID token', async () => ({ id_token: await idToken() }), 'password', false],
    [
      'whose answer has an ID token of somebody else',
      async () => ({ id_token: await idToken({ preferred_username: 'bob' }) }),
      'user_mismatch',
      false,
    ],
    [
      'whose access token is a JWT that names the user',
      async () => ({ access_token: await signer.token(claims()) }),
      'password',
      false,
    ],
    [
      'whose ID token names nobody, and whose access token does',
      async () => ({
        id_token: await idToken({ preferred_username: undefined }),
        access_token: await signer.token(claims()),
      }),
      'password',
      false,
    ],
    [
      'whose ID token names nobody',
      async () => ({ id_token: await idToken({ preferred_username: undefined }) }),
      'password',
      true,
    ],
    // What is not worth believing is not believed: UserInfo is asked about the access token.
    [
      'whose ID token is signed by another',
      async () => ({ id_token: await stranger.token(claims({ aud: 'xmpp' }), { typ: 'JWT' }) }),
      'password',
      true,
    ],
    [
      'whose ID token is for another client',
      async () => ({ id_token: await idToken({ aud: 'evil' }) }),
      'password',
      true,
    ],
    [
      'whose ID token is for several, and ours is not the party',
      async () => ({ id_token: await idToken({ aud: ['xmpp', 'evil'], azp: 'evil' }) }),
      'password',
      true,
    ],
    [
      'whose ID token is of another issuer',
      async () => ({ id_token: await idToken({ iss: 'https://evil.example' }) }),
      'password',
      true,
    ],
    [
      'whose ID token has expired',
      async () => ({ id_token: await idToken({ exp: seconds - 60 }) }),
      'password',
      true,
    ],
    [
      'whose ID token is a logout token',
      async () => ({ id_token: await idToken({}, { typ: 'logout+jwt' }) }),
      'password',
      true,
    ],
    [
      'whose ID token is signed with the client secret',
      async () => ({ id_token: symmetric(claims({ aud: 'xmpp' }), {}, SECRET) }),
      'password',
      true,
    ],
    [
      'whose ID token has no signature',
      async () => ({ id_token: `${encode({ alg: 'none' })}.${encode(claims({ aud: 'xmpp' }))}.` }),
      'password',
      true,
    ],
    [
      'whose ID token has an alg that the metadata would have to name',
      async () => ({
        id_token: await createSigner('RS384', 'k').token(claims({ aud: 'xmpp' }), { typ: 'JWT' }),
      }),
      'password',
      true,
    ],
    ['whose ID token is nonsense', async () => ({ id_token: 'nonsense' }), 'password', true],
    [
      'whose access token is for another client',
      async () => ({ access_token: await signer.token(claims({ azp: 'evil' })) }),
      'token_inactive',
      true,
    ],
  ];
  for (const [title, body, verdict, asksUserinfo] of rows) {
    it(`${title}: ${verdict}, ${asksUserinfo ? 'by UserInfo' : 'in one exchange'}`, async () => {
      scripted.set('token', grant(await body()));
      const result = await logIn('whatever');
      assert.equal(result.verdict, verdict);
      assert.equal(result.asked.includes('userinfo'), asksUserinfo);
      assert.equal(result.asked.filter((endpoint) => endpoint === 'token').length, 1);
    });
  }

  it('does not wait long for keys that do not come', async () => {
    scripted.set('token', grant({ id_token: await idToken() }));
    scripted.set('jwks', { stall: true });
    const started = performance.now();
    assert.equal((await logIn('whatever', { http: { timeout: '3s' } })).verdict, 'password');
    assert.ok(performance.now() - started < 1500);
  });

  it('is that of somebody whose ID token says what a rule wants, or who is asked about', async () => {
    const options = { require: { groups: 'xmpp' } };
    scripted.set('token', grant({ id_token: await idToken({ groups: ['xmpp'] }) }));
    assert.deepEqual((await logIn('whatever', options)).asked.includes('userinfo'), false);
    scripted.set('token', grant({ id_token: await idToken() }));
    scripted.set('userinfo', { body: { sub: alice.sub, preferred_username: alice.name, groups: ['xmpp'] } });
    const result = await logIn('whatever', options);
    assert.deepEqual([result.verdict, result.asked.includes('userinfo')], ['password', true]);
  });

  const scopes: [title: string, more: Json, verdict: string][] = [
    ['granted', { scope: 'openid xmpp' }, 'password'],
    ['not granted', { scope: 'openid' }, 'scope_missing'],
    ['not said', {}, 'scope_missing'],
  ];
  for (const [title, more, verdict] of scopes) {
    it(`whose required scope is ${title}: ${verdict}`, async () => {
      scripted.set('token', grant({ id_token: await idToken(), ...more }));
      assert.equal((await logIn('whatever', { required_scopes: 'xmpp' })).verdict, verdict);
    });
  }
});

describe('a signed answer', () => {
  const type = { 'content-type': 'application/token-introspection+jwt' };
  const inner = { active: true, client_id: 'xmpp', preferred_username: alice.name };
  const answer = (more: Json = {}): Json => ({
    iss: scripted.origin,
    aud: 'xmpp',
    iat: seconds,
    token_introspection: inner,
    ...more,
  });
  const typ = 'token-introspection+jwt';
  const sealed: [title: string, text: () => string | Promise<string>, verdict: string][] = [
    ['of introspection', () => signer.token(answer(), { typ }), 'introspection'],
    [
      'of introspection, typ in full',
      () => signer.token(answer(), { typ: `application/${typ}` }),
      'introspection',
    ],
    [
      'about a token that is not active',
      () => signer.token(answer({ token_introspection: { active: false } }), { typ }),
      'token_inactive',
    ],
    [
      'about a token of another client',
      () => signer.token(answer({ token_introspection: { ...inner, client_id: 'evil' } }), { typ }),
      'aud_mismatch',
    ],
    ['that is an access token', () => signer.token(answer(), { typ: 'at+jwt' }), 'provider_error'],
    ['without typ', () => signer.token(answer(), { typ: undefined }), 'provider_error'],
    [
      'of another issuer',
      () => signer.token(answer({ iss: 'https://evil.example' }), { typ }),
      'provider_error',
    ],
    ['without an issuer', () => signer.token(answer({ iss: undefined }), { typ }), 'provider_error'],
    ['of an hour ago', () => signer.token(answer({ iat: seconds - 3600 }), { typ }), 'provider_error'],
    ['of the future', () => signer.token(answer({ iat: seconds + 3600 }), { typ }), 'provider_error'],
    ['of no time', () => signer.token(answer({ iat: undefined }), { typ }), 'provider_error'],
    ['that has expired', () => signer.token(answer({ exp: seconds - 60 }), { typ }), 'provider_error'],
    ['for another client', () => signer.token(answer({ aud: 'evil' }), { typ }), 'provider_error'],
    [
      'that says nothing',
      () => signer.token(answer({ token_introspection: true }), { typ }),
      'provider_error',
    ],
    ['by another key', () => stranger.token(answer(), { typ }), 'provider_error'],
    ['by the client secret', () => symmetric(answer(), { typ }, SECRET), 'provider_error'],
    ['by nobody', () => `${encode({ alg: 'none', typ })}.${encode(answer())}.`, 'provider_error'],
    [
      'that is encrypted',
      () => `${encode({ alg: 'RSA-OAEP', enc: 'A256GCM', typ })}.AAAA.AAAA.AAAA.AAAA`,
      'provider_error',
    ],
    ['that is JSON', () => JSON.stringify(inner), 'provider_error'],
  ];
  for (const [title, text, verdict] of sealed) {
    it(`${title}: ${verdict}`, async () => {
      scripted.set('introspection', { headers: type, body: await text() });
      for (const introspection_signed of [true, false]) {
        const options = { validation: 'introspection', introspection_signed };
        assert.equal((await logIn(`token:${alice.token}`, options)).verdict, verdict);
      }
    });
  }
  it('is the only one that is taken, where it is wanted', async () => {
    const options = { validation: 'introspection', introspection_signed: true };
    assert.equal((await logIn(`token:${alice.token}`, options)).verdict, 'provider_error');
    assert.equal(scripted.seen[0]?.headers.accept, 'application/token-introspection+jwt');
  });

  const userinfo = { 'content-type': 'application/jwt' };
  const about = (more: Json = {}): Json => ({ sub: alice.sub, preferred_username: alice.name, ...more });
  const said: [title: string, text: () => string | Promise<string>, verdict: string][] = [
    [
      'of UserInfo',
      () => signer.token(about({ iss: scripted.origin, aud: 'xmpp' }), { typ: undefined }),
      'userinfo',
    ],
    [
      'of UserInfo that names neither issuer nor audience',
      () => signer.token(about(), { typ: 'JWT' }),
      'userinfo',
    ],
    [
      'of UserInfo for another client',
      () => signer.token(about({ aud: 'evil' }), { typ: 'JWT' }),
      'aud_mismatch',
    ],
    [
      'of UserInfo by another issuer',
      () => signer.token(about({ iss: 'https://evil.example' }), { typ: 'JWT' }),
      'provider_error',
    ],
    ['of UserInfo by another key', () => stranger.token(about(), { typ: 'JWT' }), 'provider_error'],
    ['of UserInfo by nobody', () => `${encode({ alg: 'none' })}.${encode(about())}.`, 'provider_error'],
    ['of UserInfo that is an access token', () => signer.token(about(), { typ: 'at+jwt' }), 'provider_error'],
    [
      'of UserInfo about somebody else',
      () => signer.token(about({ preferred_username: 'bob' }), { typ: 'JWT' }),
      'user_mismatch',
    ],
  ];
  for (const [title, text, verdict] of said) {
    it(`${title}: ${verdict}`, async () => {
      scripted.set('userinfo', { headers: userinfo, body: await text() });
      assert.equal((await logIn(`token:${alice.token}`, { validation: 'userinfo' })).verdict, verdict);
    });
  }
});
