// From a SASL message to who is logged in: in front of a scripted provider, with a configuration as an operator writes it.
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, it } from 'node:test';
import { createAnswer, type Service } from '../src/answer.ts';
import { createSaslAnswer, mechanismsFor } from '../src/answer-sasl.ts';
import { loadConfig } from '../src/config/load.ts';
import type { Served } from '../src/daemon/listeners.ts';
import type { SaslOutcome } from '../src/dovecot/outcome.ts';
import { type Mechanism, parseMessage } from '../src/dovecot/sasl.ts';
import { createDovecotSession } from '../src/dovecot/session.ts';
import type { Reply } from '../src/extauth/codec.ts';
import type { Host } from '../src/host.ts';
import { createHosts } from '../src/hosts.ts';
import type { Log } from '../src/log.ts';
import { createReport } from '../src/report.ts';
import { writeConfig } from './support/bridge.ts';
import { auth, oauthBearer, plain, xoauth2 } from './support/sasl.ts';
import {
  alice,
  type Behaviour,
  type Endpoint,
  type Script,
  type Scripted,
  startScripted,
} from './support/scripted-provider.ts';
import { createSigner, type Json } from './support/signer.ts';

const HOST = 'chat.example';
const CLIENT_SECRET = 'client-secret';
const signer = createSigner('ES256', 'k');
const seconds = Math.floor(Date.now() / 1000);

let scripted: Scripted;
const opened: Service[] = [];
before(async () => {
  scripted = await startScripted();
});
after(async () => {
  for (const { hosts } of opened) hosts.close();
  await scripted.stop();
});
beforeEach(() => {
  scripted.reset();
  scripted.set('jwks', { body: { keys: [signer.jwk] } });
});

function jwt(claims: Json = {}): Promise<string> {
  return signer.token({
    iss: scripted.origin,
    sub: alice.sub,
    azp: 'xmpp',
    exp: seconds + 300,
    iat: seconds,
    preferred_username: alice.name,
    ...claims,
  });
}

/** What the options make of the virtual hosts `chat.example` and `other.example`. */
function serviceOf(options: Json = {}): Service {
  const { origin, endpoints } = scripted;
  const config = loadConfig({
    config: writeConfig({
      issuer: origin,
      client_id: 'xmpp',
      client_secret: CLIENT_SECRET,
      token_endpoint: endpoints.token,
      validation_endpoint: endpoints.userinfo,
      introspection_endpoint: endpoints.introspection,
      jwks_uri: endpoints.jwks,
      resource_owner_password: true,
      revoke_after_login: false,
      http: { timeout: '500ms' },
      hosts: { [HOST]: {}, 'other.example': {} },
      ...options,
    }),
    env: {},
  });
  const hosts = createHosts(config, { afterwards() {} });
  const service = { hosts, setpassReply: 'auto', deadline: config.process.deadline } as const;
  opened.push(service);
  return service;
}

interface Login {
  /** Default: `xmpp`, as Prosody calls it. */
  readonly service?: string;
  /** Milliseconds since the first byte came. */
  readonly age?: number;
}

interface Front {
  readonly answer: ReturnType<typeof createSaslAnswer>;
  logIn(mechanism: Mechanism, message: string, login?: Login): Promise<SaslOutcome>;
  /** The same service, asked by a server that speaks extauth. */
  extauth(user: string, secret: string): Promise<Reply>;
  /** What is told of the logins, as objects. */
  told(): Record<string, unknown>[];
  /** The same, to the letter. */
  log(): string;
}

/** What a listener makes of logins; `service` in place of the one that the options make. */
function frontOf(
  options: Json = {},
  {
    service = (make) => make(),
    listener = { host: HOST },
    patience = 4000,
  }: {
    service?: (make: () => Service) => Service | undefined;
    listener?: Partial<Served>;
    patience?: number;
  } = {},
): Front {
  const current = service(() => serviceOf(options));
  const lines: string[] = [];
  const log: Partial<Log> = {
    user: (name) => name,
    writeJson: (level, event, members) => lines.push(`{"level":"${level}","event":"${event}",${members}}`),
  };
  const now = (): number => performance.now();
  const { report } = createReport({ log: log as Log, now });
  const common = {
    service: () => current,
    patience,
    report,
    onInternalError: (name: string, where: string | undefined) => assert.fail(`${name} ${where}`),
    now,
  };
  const answer = createSaslAnswer({ ...common, listener: () => listener as Served });
  const extauth = createAnswer(common);
  return {
    answer,
    async logIn(mechanism, text, { service = 'xmpp', age = 0 } = {}) {
      const message = parseMessage(mechanism, Buffer.from(text));
      assert.ok(message, 'it is a message');
      return await answer({ message, service, arrivedAt: now() - age });
    },
    async extauth(user, secret) {
      const request = { arrivedAt: now(), format: 'frames', isSetpass: false } as const;
      return await extauth({ op: 'auth', user, host: HOST, secret }, request);
    },
    told: () => lines.map((line) => JSON.parse(line) as Record<string, unknown>),
    log: () => lines.join('\n'),
  };
}

function asked(): (Endpoint | undefined)[] {
  return scripted.seen.map(({ endpoint }) => endpoint);
}

/** The user of an accepted login, else the reason and, where there is one, the code. */
function shown(outcome: SaslOutcome): string {
  if (outcome.outcome === 'accepted') return outcome.user;
  const code = outcome.outcome === 'refused' ? outcome.code : 'temp';
  return [outcome.reason ?? 'no', ...(code === undefined ? [] : [code])].join(' ');
}

describe('with a token', () => {
  const mismatch = 'user_mismatch authz_fail';
  type Row = [title: string, mechanism: Mechanism, message: (token: string) => string, expected: string];
  const table: Row[] = [
    ['and her name, alice', 'PLAIN', (token) => plain('alice', token), 'alice'],
    ["and somebody else's name, it is hers all the same", 'PLAIN', (token) => plain('bob', token), 'alice'],
    ['and a name that no localpart is', 'PLAIN', (token) => plain('a b/c', token), 'alice'],
    ['and a JID of hers', 'PLAIN', (token) => plain('alice@chat.example', token), 'alice'],
    ['and the same in capitals', 'PLAIN', (token) => plain('ALICE@Chat.Example', token), 'alice'],
    // Prosody with auth_append_host logs in whom it has sent, whatever it is answered.
    ["and somebody else's JID", 'PLAIN', (token) => plain('bob@chat.example', token), 'user_mismatch'],
    ['and a JID that cannot be', 'PLAIN', (token) => plain('a b@chat.example', token), 'username_invalid'],
    ['and an address of another domain', 'PLAIN', (token) => plain('bob@other.example', token), 'alice'],
    ['and a subdomain', 'PLAIN', (token) => plain('bob@sub.chat.example', token), 'alice'],
    ['and a domain alone', 'PLAIN', (token) => plain('@chat.example', token), 'alice'],

    ['to act as herself', 'PLAIN', (token) => plain('alice', token, 'alice'), 'alice'],
    ['to act as herself, typed in capitals', 'PLAIN', (token) => plain('x', token, 'Alice'), 'alice'],
    ['to act as herself by JID', 'PLAIN', (token) => plain('x', token, 'ALICE@CHAT.EXAMPLE'), 'alice'],
    ['to act as another', 'PLAIN', (token) => plain('alice', token, 'bob'), mismatch],
    ['to act as another by JID', 'PLAIN', (token) => plain('alice', token, 'bob@chat.example'), mismatch],
    ['to act as her of another host', 'PLAIN', (token) => plain('x', token, 'alice@other.example'), mismatch],
    ['to act as nobody that can be', 'PLAIN', (token) => plain('alice', token, 'a b'), mismatch],
    ['and a JID, to act as the same', 'PLAIN', (t) => plain('Alice@chat.example', t, 'alice'), 'alice'],
    ['and a JID, to act as another', 'PLAIN', (t) => plain('alice@chat.example', t, 'bob'), mismatch],
    ["and another's JID, to act as her", 'PLAIN', (t) => plain('bob@chat.example', t, 'alice'), mismatch],

    ['alone, alice', 'OAUTHBEARER', (token) => oauthBearer(token), 'alice'],
    ['to act as herself', 'OAUTHBEARER', (token) => oauthBearer(token, 'alice'), 'alice'],
    ['to act as herself by JID', 'OAUTHBEARER', (t) => oauthBearer(t, 'Alice@CHAT.example'), 'alice'],
    ['to act as another', 'OAUTHBEARER', (token) => oauthBearer(token, 'bob'), mismatch],
    ['to act as her of another host', 'OAUTHBEARER', (t) => oauthBearer(t, 'alice@other.example'), mismatch],
    ['to act as one with a comma', 'OAUTHBEARER', (token) => oauthBearer(token, 'alice=2C'), mismatch],

    ['and her name, alice', 'XOAUTH2', (token) => xoauth2('alice', token), 'alice'],
    ['and her JID', 'XOAUTH2', (token) => xoauth2('ALICE@chat.example', token), 'alice'],
    ['and no name', 'XOAUTH2', (token) => xoauth2('', token), 'alice'],
    ["and another's name", 'XOAUTH2', (token) => xoauth2('bob', token), mismatch],
    ["and another's JID", 'XOAUTH2', (token) => xoauth2('bob@chat.example', token), mismatch],
    ['and her name at another host', 'XOAUTH2', (token) => xoauth2('alice@other.example', token), mismatch],
  ];
  for (const [title, mechanism, message, expected] of table) {
    it(`by ${mechanism} ${title}: ${expected}`, async () => {
      const { logIn, told } = frontOf({ token_prefix: 'tok-' });
      // A JWT and an opaque one, judged in different places: the answer is the same. The prefix is for PLAIN.
      const opaque = mechanism === 'PLAIN' ? `tok-${alice.token}` : alice.token;
      for (const token of [await jwt(), opaque]) {
        assert.equal(shown(await logIn(mechanism, message(token))), expected);
      }
      const accepted = expected === 'alice';
      for (const { verdict, reason } of told())
        assert.equal(accepted ? verdict : reason, accepted ? 'accepted' : expected.split(' ')[0]);
    });
  }

  it('that is asked for by another name than its own, nobody is asked where that is known before', async () => {
    const { logIn } = frontOf();
    await logIn('PLAIN', plain('alice@chat.example', await jwt(), 'bob'));
    await logIn('PLAIN', plain('alice', await jwt(), 'alice/home'));
    assert.deepEqual(asked(), []);
  });
});

describe('with a password', () => {
  /** Two names that the provider knows one user by, and what it was asked for. */
  function knowsHerTwice(): () => (string | null)[] {
    const names: (string | null)[] = [];
    scripted.set('token', ({ body }) => {
      const form = new URLSearchParams(body);
      names.push(form.get('username'));
      return form.get('password') === alice.password
        ? { body: { access_token: alice.token, token_type: 'Bearer' } }
        : { status: 400, body: { error: 'invalid_grant' } };
    });
    return () => names;
  }

  type Row = [typed: string, authzid: string, wanted: string, expected: string];
  const table: Row[] = [
    ['alice', '', 'alice', 'alice'],
    // The provider's name for her counts, not the one that was typed.
    ['ally', '', 'ally', 'alice'],
    ['Ally@Mail.Example', '', 'Ally@Mail.Example', 'alice'],
    ['ally', 'alice', 'ally', 'alice'],
    ['ally', 'Alice@chat.example', 'ally', 'alice'],
    ['alice@chat.example', '', 'alice', 'alice'],
    ['ally@chat.example', '', 'ally', 'no'],
    ['alice', 'bob', 'alice', 'no authz_fail'],
  ];
  for (const [typed, authzid, wanted, expected] of table) {
    it(`of ${typed}${authzid && `, to act as ${authzid}`}: ${expected}`, async () => {
      const names = knowsHerTwice();
      const { logIn } = frontOf();
      assert.equal(shown(await logIn('PLAIN', plain(typed, alice.password, authzid))), expected);
      assert.deepEqual(names(), [wanted]);
    });
  }

  it('that is wrong, a client learns nothing but that', async () => {
    const { logIn, told } = frontOf();
    const outcome = await logIn('PLAIN', plain('alice', 'wrong'));
    assert.deepEqual(JSON.parse(JSON.stringify(outcome)), { outcome: 'refused', user: 'alice' });
    assert.equal(told()[0]?.reason, 'not_authorized');
  });

  it('of a disabled account, a client learns nothing but that, either', async () => {
    const body = { error: 'invalid_grant', error_description: 'Account disabled' };
    scripted.set('token', { status: 400, body });
    const { logIn, told } = frontOf();
    assert.equal(shown(await logIn('PLAIN', plain('alice', alice.password))), 'no');
    assert.equal(told()[0]?.reason, 'account_disabled');
  });

  it('the log says who was logged in, and what was typed where that is something else', async () => {
    knowsHerTwice();
    const { logIn, told } = frontOf();
    for (const typed of ['ally', 'alice']) await logIn('PLAIN', plain(typed, alice.password));
    assert.deepEqual(
      told().map(({ user, typed, mechanism, host }) => [user, typed, mechanism, host]),
      [
        ['alice', 'ally', 'PLAIN', HOST],
        ['alice', undefined, 'PLAIN', HOST],
      ],
    );
  });
});

describe('a wrong password', () => {
  it('counts for the account, however its name is typed and whichever virtual host it comes by', async () => {
    const front = frontOf();
    const names = [
      'alice',
      'Alice',
      'ALICE',
      ' alice',
      'alice ',
      'ａlice',
      'alicE',
      'alice@chat.example',
      'aLICE',
      'alicé',
      'Àlice',
      'alıce',
      'al\u00adice',
    ];
    for (const [n, name] of names.reverse().entries()) await front.logIn('PLAIN', plain(name, `wrong-${n}`));
    for (let n = 0; n < 3; n++) await front.extauth('alice', `other-${n}`);
    const grants = scripted.seen.filter(({ endpoint }) => endpoint === 'token');
    assert.equal(grants.length, 5);
    assert.deepEqual(
      front.told().map(({ reason }) => reason),
      [...Array(5).fill('not_authorized'), ...Array(11).fill('budget_exhausted')],
    );
    const outcome = await front.logIn('PLAIN', plain('bob', 'wrong'));
    assert.equal(outcome.outcome, 'refused');
    assert.equal(front.told().at(-1)?.reason, 'not_authorized');
  });
});

describe('a token that is remembered', () => {
  /** Often enough to be remembered. */
  async function repeat(logIn: () => Promise<unknown>): Promise<void> {
    for (let time = 0; time < 4; time++) await logIn();
  }
  const lastCache = ({ told }: Front): unknown => told().at(-1)?.cache;

  it('without a name is nobody else by extauth, nor by any name here', async () => {
    const front = frontOf();
    const token = await jwt();
    await repeat(() => front.logIn('PLAIN', plain('bob', token)));
    assert.equal(lastCache(front), 'hit');
    assert.equal(await front.extauth('bob', token), 'no');
    assert.equal(await front.extauth('', token), 'no');
    assert.equal(shown(await front.logIn('PLAIN', plain('bob@chat.example', token))), 'user_mismatch');
    assert.equal(shown(await front.logIn('PLAIN', plain('x', token, 'bob'))), 'user_mismatch authz_fail');
    assert.equal(await front.extauth('alice', token), 'yes');
    assert.equal(shown(await front.logIn('PLAIN', plain('bob', token))), 'alice', 'and still hers');
    assert.equal(lastCache(front), 'hit');
  });

  it('by extauth is nobody else here', async () => {
    const front = frontOf();
    const token = await jwt();
    await repeat(() => front.extauth('alice', token));
    assert.equal(lastCache(front), 'hit');
    assert.equal(shown(await front.logIn('PLAIN', plain('bob', token))), 'alice', 'whom the token names');
    assert.equal(shown(await front.logIn('PLAIN', plain('bob@chat.example', token))), 'user_mismatch');
    assert.equal(
      shown(await front.logIn('OAUTHBEARER', oauthBearer(token, 'bob'))),
      'user_mismatch authz_fail',
    );
    assert.equal(shown(await front.logIn('PLAIN', plain('alice@chat.example', token))), 'alice');
    assert.equal(lastCache(front), 'hit', 'the same question as by extauth');
  });

  it('with a prefix by PLAIN is none by OAUTHBEARER, where there is no prefix', async () => {
    const front = frontOf({ token_prefix: 'tok-' });
    const token = `tok-${await jwt()}`;
    await repeat(() => front.logIn('PLAIN', plain('alice', token)));
    assert.equal(lastCache(front), 'hit');
    const outcome = await front.logIn('OAUTHBEARER', oauthBearer(token));
    assert.equal(outcome.outcome, 'refused');
  });

  it('by OAUTHBEARER is remembered as that, and XOAUTH2 is the same', async () => {
    const front = frontOf();
    const token = await jwt();
    await repeat(() => front.logIn('OAUTHBEARER', oauthBearer(token)));
    assert.equal(lastCache(front), 'hit');
    await front.logIn('XOAUTH2', xoauth2('', token));
    assert.equal(lastCache(front), 'hit');
    await front.logIn('PLAIN', plain('alice', token));
    assert.equal(lastCache(front), 'miss');
  });

  it('at one host is not at another, although one entry of the configuration is for both', async () => {
    // Whose names end in @chat.example are users there and nowhere else.
    const shared = serviceOf({ hosts: { '*.example': { username_mapping: 'split' } } });
    const service = (): Service => shared;
    const here = frontOf({}, { service });
    const there = frontOf({}, { service, listener: { host: 'other.example' } });
    const token = await jwt({ preferred_username: 'alice@chat.example' });
    await repeat(() => here.logIn('OAUTHBEARER', oauthBearer(token)));
    assert.equal(lastCache(here), 'hit');
    assert.equal(shown(await there.logIn('OAUTHBEARER', oauthBearer(token))), 'domain_not_allowed');
  });
});

describe('a secret', () => {
  const bearers: [mechanism: Mechanism, message: (secret: string) => string][] = [
    ['OAUTHBEARER', (secret) => oauthBearer(secret)],
    ['XOAUTH2', (secret) => xoauth2('alice', secret)],
  ];
  const everywhere = (): string =>
    scripted.seen.map(({ url, headers, body }) => url + JSON.stringify(headers) + body).join('\n');

  for (const [mechanism, message] of bearers) {
    it(`by ${mechanism} is a token, whatever it looks like, and never goes to the token endpoint`, async () => {
      const { logIn } = frontOf();
      for (const secret of [alice.token, alice.password, 'x', 'a.b.c', `${await jwt()}x`])
        await logIn(mechanism, message(secret));
      assert.ok(everywhere().includes(`token=${alice.token}`));
      assert.ok(!asked().includes('token'));
    });

    it(`by ${mechanism} is refused where nothing but passwords is taken, and nobody is asked`, async () => {
      const { logIn } = frontOf({ credential: 'password' });
      for (const secret of [alice.token, await jwt()])
        assert.equal(shown(await logIn(mechanism, message(secret))), 'token_disabled');
      assert.deepEqual(asked(), []);
    });

    it(`by ${mechanism} has no prefix that could be taken off`, async () => {
      const { logIn } = frontOf({ token_prefix: 'tok-' });
      assert.equal(shown(await logIn(mechanism, message(`tok-${alice.token}`))), 'token_inactive');
      assert.ok(everywhere().includes(`token=tok-${alice.token}`));
      assert.equal(shown(await logIn('PLAIN', plain('alice', `tok-${alice.token}`))), 'alice');
      assert.ok(everywhere().includes(`token=${alice.token}`));
    });

    it(`by ${mechanism} that no bearer token is goes nowhere`, async () => {
      const { logIn } = frontOf({ token_prefix: 'token:' });
      for (const secret of [`token:${alice.token}`, 'two words', 'pässword', 'x\ty', 'trailing '])
        assert.equal(shown(await logIn(mechanism, message(secret))), 'malformed_token');
      assert.deepEqual(asked(), []);
    });
  }

  it('by OAUTHBEARER may be missing: the client is told where there are tokens', async () => {
    const { logIn, told } = frontOf();
    const outcome = await logIn('OAUTHBEARER', 'n,,\x01auth=\x01\x01');
    assert.equal(shown(outcome), 'malformed_token');
    assert.ok(outcome.outcome === 'refused' && outcome.challenge?.includes(scripted.origin));
    assert.deepEqual([asked(), told()[0]?.reason], [[], 'malformed_token']);
  });

  it('by PLAIN that is a password goes to the token endpoint and nowhere else', async () => {
    const { logIn } = frontOf({ token_prefix: 'tok-' });
    for (const password of [alice.password, 'wrong-password', 'pass word ✓']) {
      scripted.seen.length = 0;
      await logIn('PLAIN', plain('alice', password));
      assert.ok(asked().includes('token'));
      for (const { endpoint, url, headers, body } of scripted.seen) {
        if (endpoint === 'token') continue;
        const form = [...new URLSearchParams(body).values()].join('\n');
        assert.ok(!(url + JSON.stringify(headers) + form).includes(password), endpoint);
      }
    }
  });

  it('by PLAIN is a token where no passwords are taken', async () => {
    const { logIn } = frontOf({ credential: 'token' });
    assert.equal(shown(await logIn('PLAIN', plain('bob', alice.token))), 'alice');
    assert.ok(!asked().includes('token'));
  });
});

describe('a name', () => {
  type Row = [claimed: string, user: string, localpart: string, options: Json];
  const table: Row[] = [
    ['alice', 'alice', 'alice', {}],
    ['Alice', 'alice', 'alice', {}],
    ['alice@corp.example', 'alice@corp.example', 'alice\\40corp.example', {}],
    ['corp/alice', 'corp/alice', 'corp\\2falice', {}],
    ["d'artagnan", "d'artagnan", 'd\\27artagnan', {}],
    ['corp\\alice', 'corp\\alice', 'corp\\alice', {}],
    ['corp\\alice', 'corp\\alice', 'corp\\5calice', { jid_escape: 'prosody-0.11' }],
    ['alice\\40evil', 'alice\\40evil', 'alice\\5c40evil', {}],
    ['alice\\5c40evil', 'alice\\5c40evil', 'alice\\5c5c40evil', {}],
    ['müller', 'müller', 'müller', {}],
  ];
  for (const [claimed, user, localpart, options] of table) {
    const dialect = options.jid_escape === undefined ? '' : ` (${String(options.jid_escape)})`;
    it(`${claimed} goes to the server as ${user}, which makes ${localpart} of it${dialect}`, async () => {
      const { logIn, told } = frontOf(options);
      const token = await jwt({ preferred_username: claimed });
      assert.equal(shown(await logIn('OAUTHBEARER', oauthBearer(token))), user);
      assert.equal(told()[0]?.user, localpart);
    });
  }

  const escaped = 'alice\\40corp.example';
  const asks: [authzid: string, expected: string][] = [
    [escaped, 'alice@corp.example'],
    [`${escaped}@${HOST}`, 'alice@corp.example'],
    ['alice', 'user_mismatch authz_fail'],
    ['alice@corp.example', 'alice@corp.example'],
    ['alice@other.example', 'user_mismatch authz_fail'],
  ];
  for (const [authzid, expected] of asks) {
    it(`with an at sign in it is asked for as it is, or as a localpart is written: ${authzid}`, async () => {
      const { logIn } = frontOf();
      const token = await jwt({ preferred_username: 'alice@corp.example' });
      assert.equal(shown(await logIn('XOAUTH2', xoauth2(authzid, token))), expected);
    });
  }

  // No provider's name comes to these; if one ever did, the server would log in somebody else than was judged.
  const unspeakable: [localpart: string, options: Json][] = [
    ['\\20alice', {}],
    ['alice\\20', {}],
    ['alice@corp', {}],
    ['corp\\alice', { jid_escape: 'prosody-0.11' }],
  ];
  for (const [localpart, options] of unspeakable) {
    it(`of which the server would not make the localpart ${localpart} is refused`, async () => {
      const service = serviceOf(options);
      const found = service.hosts.find(HOST);
      assert.ok(found);
      const host: Host = { ...found, atOnce: () => ({ outcome: 'accepted', method: 'jwt', localpart }) };
      const { logIn, told } = frontOf(
        {},
        { service: () => ({ ...service, hosts: { ...service.hosts, find: () => host } }) },
      );
      for (const mechanism of ['PLAIN', 'OAUTHBEARER'] as const) {
        const message = mechanism === 'PLAIN' ? plain('alice', 'x') : oauthBearer('x');
        assert.equal(shown(await logIn(mechanism, message)), 'username_invalid');
        const { verdict, reason } = told().at(-1) ?? {};
        assert.deepEqual([verdict, reason], ['refused', 'username_invalid']);
      }
    });
  }

  it('goes to the log of the server only when that can prepare it', async () => {
    const { logIn } = frontOf();
    for (const [typed, user] of [
      ['alice', 'alice'],
      ['Alice', undefined],
      ['a b', undefined],
      ['alice@chat.example', undefined],
      ['x'.repeat(256), undefined],
    ] as const) {
      const outcome = await logIn('PLAIN', plain(typed, 'wrong'));
      assert.equal(outcome.outcome === 'refused' && outcome.user, user);
    }
  });
});

describe('the error of RFC 7628', () => {
  type Row = [
    title: string,
    mechanism: 'OAUTHBEARER' | 'XOAUTH2',
    options: Json,
    claims: Json,
    error: () => Json,
  ];
  const configuration = '/.well-known/openid-configuration';
  const table: Row[] = [
    [
      'of a token that has expired',
      'OAUTHBEARER',
      {},
      { exp: seconds - 3600 },
      () => ({
        status: 'invalid_token',
        scope: 'openid',
        'openid-configuration': scripted.origin + configuration,
      }),
    ],
    [
      'by XOAUTH2 says which schemes there are',
      'XOAUTH2',
      {},
      { exp: seconds - 3600 },
      () => ({
        status: 'invalid_token',
        schemes: 'bearer',
        scope: 'openid',
        'openid-configuration': scripted.origin + configuration,
      }),
    ],
    [
      'of a token that may too little says what it must be allowed',
      'OAUTHBEARER',
      { required_scopes: ['xmpp', 'chat'] },
      { scope: 'openid xmpp' },
      () => ({
        status: 'insufficient_scope',
        scope: 'xmpp chat',
        'openid-configuration': scripted.origin + configuration,
      }),
    ],
    [
      'says what our client asks for',
      'OAUTHBEARER',
      { scope: 'openid profile' },
      { exp: seconds - 3600 },
      () => ({
        status: 'invalid_token',
        scope: 'openid profile',
        'openid-configuration': scripted.origin + configuration,
      }),
    ],
    [
      "of somebody else's token",
      'OAUTHBEARER',
      {},
      { preferred_username: 'service-account-x' },
      () => ({
        status: 'invalid_token',
        scope: 'openid',
        'openid-configuration': scripted.origin + configuration,
      }),
    ],
  ];
  for (const [title, mechanism, options, claims, error] of table) {
    it(title, async () => {
      const { logIn } = frontOf(options);
      const token = await jwt(claims);
      const outcome = await logIn(
        mechanism,
        mechanism === 'XOAUTH2' ? xoauth2('', token) : oauthBearer(token),
      );
      assert.ok(outcome.outcome === 'refused' && outcome.challenge !== undefined);
      assert.deepEqual(JSON.parse(outcome.challenge), error());
    });
  }

  const places: [title: string, options: () => Json, place: () => string | undefined][] = [
    [
      'the discovery URL',
      () => ({ discovery_url: `${scripted.origin}/elsewhere` }),
      () => `${scripted.origin}/elsewhere`,
    ],
    [
      'an issuer that ends in a slash',
      () => ({ issuer: `${scripted.origin}/` }),
      () => scripted.origin + configuration,
    ],
    ['no place where none is known', () => ({ issuer: undefined, jwks_uri: undefined }), () => undefined],
  ];
  for (const [title, options, place] of places) {
    it(`names ${title}`, async () => {
      const { logIn } = frontOf(options());
      const outcome = await logIn('OAUTHBEARER', oauthBearer('two words'));
      assert.ok(outcome.outcome === 'refused' && outcome.challenge !== undefined);
      assert.equal((JSON.parse(outcome.challenge) as Json)['openid-configuration'], place());
    });
  }

  it('is not for PLAIN, nor for a host that there is not', async () => {
    const { logIn } = frontOf();
    const plainly = await logIn('PLAIN', plain('alice', await jwt({ exp: seconds - 3600 })));
    assert.deepEqual([shown(plainly), 'challenge' in plainly && plainly.challenge], ['expired', undefined]);
    const nowhere = await frontOf({}, { listener: {} }).logIn('OAUTHBEARER', oauthBearer('x'));
    assert.deepEqual(
      [shown(nowhere), 'challenge' in nowhere && nowhere.challenge],
      ['unknown_host', undefined],
    );
  });
});

describe('when nobody can say yes or no', () => {
  const messages: [mechanism: Mechanism, message: string][] = [
    ['PLAIN', plain('alice', alice.password)],
    ['OAUTHBEARER', oauthBearer(alice.token)],
    ['XOAUTH2', xoauth2('alice', alice.token)],
  ];
  const faults: [title: string, behaviour: Behaviour, reason: string][] = [
    ['the provider has an error', { status: 500 }, 'provider_error'],
    ['the provider is busy', { status: 429 }, 'provider_busy'],
    ['the provider hangs up', { reset: 'beforeHeaders' }, 'provider_unreachable'],
    ['the provider does not answer', { stall: true }, 'provider_timeout'],
    ['our client is refused', { status: 401, body: { error: 'invalid_client' } }, 'client_refused'],
  ];
  for (const [title, behaviour, reason] of faults) {
    for (const [mechanism, message] of messages) {
      it(`because ${title}, a login by ${mechanism} may come again later`, async () => {
        for (const endpoint of ['token', 'introspection'] as const) scripted.set(endpoint, behaviour);
        const { logIn } = frontOf({ http: { timeout: '200ms', retries: 0 } });
        const user = mechanism === 'OAUTHBEARER' ? undefined : 'alice';
        assert.deepEqual(await logIn(mechanism, message), { outcome: 'unavailable', user, reason });
      });
    }
  }

  for (const [mechanism, message] of messages) {
    it(`in time, a login by ${mechanism} may come again later`, async () => {
      for (const endpoint of ['token', 'introspection'] as const) scripted.set(endpoint, { stall: true });
      const { logIn } = frontOf({}, { patience: 150 });
      const startedAt = performance.now();
      assert.equal(shown(await logIn(mechanism, message)), 'deadline temp');
      assert.ok(performance.now() - startedAt < 400);
    });
  }

  it('because it came too late, nobody is asked', async () => {
    const { logIn } = frontOf();
    assert.equal(shown(await logIn('OAUTHBEARER', oauthBearer(alice.token), { age: 4001 })), 'deadline temp');
    assert.equal(shown(await logIn('OAUTHBEARER', oauthBearer(await jwt()), { age: 4001 })), 'deadline temp');
    assert.deepEqual(asked(), []);
  });

  it('the deadline is that of the configuration where there is one', async () => {
    const { logIn } = frontOf({ deadline: '8s' });
    assert.equal(shown(await logIn('OAUTHBEARER', oauthBearer(alice.token), { age: 4001 })), 'alice');
  });

  it('because there has been no usable configuration', async () => {
    const { logIn } = frontOf({}, { service: () => undefined });
    for (const [mechanism, message] of messages)
      assert.equal(shown(await logIn(mechanism, message)), 'not_configured temp');
  });
});

describe('the virtual host', () => {
  type Row = [own: string | undefined, service: string, host: string | undefined];
  const table: Row[] = [
    [HOST, 'xmpp', HOST],
    [HOST, '', HOST],
    [HOST, 'smtp', HOST],
    [HOST, HOST, HOST],
    [HOST, 'CHAT.Example', HOST],
    [HOST, 'other.example', undefined],
    [HOST, 'OTHER.example', undefined],
    // A service that is no host of ours says nothing.
    [HOST, 'unknown.example', HOST],
    [undefined, HOST, HOST],
    [undefined, 'Other.Example', 'other.example'],
    [undefined, 'unknown.example', undefined],
    [undefined, 'sub.chat.example', undefined],
    [undefined, 'xmpp', undefined],
    [undefined, '', undefined],
    [undefined, 'localhost', undefined],
    ['gone.example', 'xmpp', undefined],
  ];
  for (const [own, service, host] of table) {
    it(`of a socket ${own === undefined ? 'for any' : `for ${own}`} and the service ${JSON.stringify(service)} is ${host ?? 'none'}`, async () => {
      const { logIn, told } = frontOf(
        { hosts: { [HOST]: {}, 'other.example': {}, localhost: {} } },
        { listener: { host: own } },
      );
      const outcome = await logIn('OAUTHBEARER', oauthBearer(alice.token), { service });
      assert.equal(shown(outcome), host === undefined ? 'unknown_host' : 'alice');
      if (host !== undefined) assert.equal(told()[0]?.host, host);
    });
  }

  it('binds the JID that was typed, and no other', async () => {
    const { logIn } = frontOf({}, { listener: {} });
    const bob = plain('bob@chat.example', await jwt());
    assert.equal(shown(await logIn('PLAIN', bob, { service: HOST })), 'user_mismatch');
    assert.equal(shown(await logIn('PLAIN', bob, { service: 'other.example' })), 'alice');
  });
});

describe('what is announced', () => {
  const all = ['PLAIN', 'OAUTHBEARER', 'XOAUTH2'];
  const table: [title: string, listener: Partial<Served>, options: Json | undefined, announced: string[]][] =
    [
      ['everything', { host: HOST }, {}, all],
      ['everything, of a socket for any host', {}, { credential: 'password' }, all],
      ['everything, where only tokens are taken', { host: HOST }, { credential: 'token' }, all],
      [
        'nothing for tokens where only passwords are taken',
        { host: HOST },
        { credential: 'password' },
        ['PLAIN'],
      ],
      ['what the socket says', { host: HOST, mechanisms: ['OAUTHBEARER'] }, {}, ['OAUTHBEARER']],
      ['of that what can be', { host: HOST, mechanisms: ['OAUTHBEARER'] }, { credential: 'password' }, []],
      ['everything, as long as there is no configuration', { host: HOST }, undefined, all],
    ];
  for (const [title, listener, options, announced] of table) {
    it(`is ${title}`, () => {
      assert.deepEqual(mechanismsFor(listener as Served, options && serviceOf(options)), announced);
    });
  }
});

describe('no secret', () => {
  const canaries = {
    password: 'canaryPassword-7f3a',
    opaque: 'canaryOpaque-5d2e',
    bytes: 'canary Bytes 91bc',
    granted: 'canaryGranted-c04f',
  };
  const echo = Object.values(canaries).join(' ') + CLIENT_SECRET;
  const answers: Script[] = [
    { status: 400, body: { error: 'invalid_grant', error_description: echo } },
    { status: 400, body: { error: echo } },
    { status: 401, headers: { 'www-authenticate': `Bearer error="${echo}"` }, body: echo },
    { status: 500, body: echo },
    { status: 302, headers: { location: `http://127.0.0.1:1/?${encodeURIComponent(echo)}` } },
    { body: echo },
    { body: { active: true, client_id: echo, access_token: canaries.granted, token_type: 'Bearer' } },
    { body: { active: true, client_id: 'xmpp', preferred_username: 7, [echo]: echo } },
    { body: { active: true, client_id: 'xmpp', preferred_username: `${echo} ` } },
    { raw: `HTTP/1.1 200 ${echo}\r\nx: \x01${echo}\r\n\r\n` },
    { reset: 'midBody', body: echo },
  ];

  it('is in an answer, in a line of the protocol or in the log, whatever the provider does', async () => {
    // Each answer to a service of its own: one that keeps failing would not be asked any more.
    const fronts = answers.map(() => frontOf());
    let front = fronts[0] as Front;
    const token = await jwt({ exp: seconds - 3600 });
    const said: string[] = [];
    const session = createDovecotSession({
      answer: (request) => front.answer(request),
      mechanisms: () => ['PLAIN', 'OAUTHBEARER', 'XOAUTH2'],
      write: (bytes) => said.push(bytes),
      pause() {},
      resume() {},
      close: (why) => said.push(why),
      onFault: (fault) => said.push(fault),
      now: () => performance.now(),
      ids: { pid: 1, connection: 1, cookie: 'c' },
    });
    session.feed(Buffer.from('VERSION\t1\t1\n'));
    let id = 0;
    for (const [index, answer] of answers.entries()) {
      front = fronts[index] as Front;
      for (const endpoint of ['token', 'introspection', 'userinfo'] as const) scripted.set(endpoint, answer);
      const lines = [
        auth(++id, 'PLAIN', plain('alice', canaries.password)),
        auth(++id, 'PLAIN', plain('alice@chat.example', canaries.password, 'bob')),
        auth(++id, 'PLAIN', plain('alice', token)),
        ...Object.values(canaries).flatMap((secret) => [
          auth(++id, 'OAUTHBEARER', oauthBearer(secret, 'alice')),
          `CONT\t${id}\tAQ==\n`,
          auth(++id, 'XOAUTH2', xoauth2('alice', secret)),
          auth(++id, 'OAUTHBEARER', `n,,\x01auth=Basic ${secret}\x01\x01`),
          auth(++id, 'PLAIN', `${secret}\xff`),
        ]),
        `CONT\t${id}\t${Buffer.from(canaries.password).toString('base64')}\n`,
      ];
      for (const line of lines) {
        session.feed(Buffer.from(line));
        await session.idle();
      }
    }
    const challenges = said.join('').matchAll(/^CONT\t\d+\t(.+)$/gm);
    const opened = [...challenges].map(([, text = '']) => Buffer.from(text, 'base64').toString());
    const visible = [...said, ...opened, ...fronts.map((each) => each.log())].join('\n');
    assert.ok(opened.length > 30 && fronts.flatMap((each) => each.told()).length > 100, 'much was said');
    const used = scripted.seen.map(({ headers, body }) => JSON.stringify(headers) + body).join('');
    for (const name of ['password', 'opaque'] as const)
      assert.ok(used.includes(canaries[name]), 'it was in use');
    for (const [name, secret] of Object.entries({
      ...canaries,
      CLIENT_SECRET,
      signature: token.slice(-40),
    })) {
      for (const form of [
        secret,
        Buffer.from(secret).toString('base64').slice(0, -4),
        encodeURIComponent(secret),
      ])
        assert.ok(!visible.includes(form), name);
    }
  });
});
