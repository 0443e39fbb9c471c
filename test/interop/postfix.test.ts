// A real Postfix asks the daemon who may log in: SMTP AUTH (RFC 4954) on one side, the Dovecot protocol on the other.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, it, type TestContext } from 'node:test';
import { type Daemon, startDaemon } from '../support/daemon.ts';
import { defaultUsers, jwtAudience, startProvider, type TestProvider } from '../support/provider.ts';
import { within } from './support/keycloak.ts';
import { type Postfix, startPostfix, whyNoPostfix } from './support/postfix.ts';
import { openSmtp, type Smtp } from './support/smtp.ts';

/** Well before Postfix gives up, which it does after 10 s. */
const deadline = 3000;
/** What a login may take on top of that on a busy machine. */
const slack = 3000;
const recovery = 15_000;

/** `line_length_limit`: Postfix cuts a command of this length or more, and goes on with what is left. */
const lineLimit = 2048;
/** `smtpd_sasl_response_limit`: the same for the answer to a challenge, which it refuses. */
const responseLimit = 12_288;

/** The audience is the one part of a JWT that can be made as long as need be. */
const longAudience = `${jwtAudience}:${'x'.repeat(4000)}`;

const crowd = Array.from({ length: 50 }, (_, index) => [`user${index}`, random()] as const);
const users = { ...defaultUsers, ...Object.fromEntries(crowd) };
const { alice, bob, carol, jörg } = defaultUsers as Record<Name, { password: string }>;

const skip = whyNoPostfix();
if (skip) console.error(`\n*** SKIPPED: test/interop/postfix.test.ts: ${skip} ***\n`);

describe('a real Postfix', { skip }, () => {
  let provider: TestProvider;
  let postfix: Postfix;
  let daemon: Daemon;
  const logs: string[] = [];
  /** None of these may turn up in a log. */
  const secrets = new Set<string>(
    Object.values(users).map((user) => (typeof user === 'string' ? user : user.password)),
  );

  before(
    async () => {
      provider = await startProvider({ users });
      postfix = await startPostfix();
      daemon = await open();
    },
    { timeout: 60_000 },
  );
  after(
    async () => {
      await postfix?.stop();
      await daemon?.stop();
      await provider?.stop();
    },
    { timeout: 30_000 },
  );

  function open(): Promise<Daemon> {
    const { clientId, clientSecret, issuer } = provider;
    secrets.add(clientSecret);
    return startDaemon({
      config: {
        listen: [{ path: postfix.socket, protocol: 'dovecot', host: 'mail.example', mode: '0666' }],
        issuer,
        client_id: clientId,
        client_secret: clientSecret,
        resource_owner_password: true,
        // oidc-provider gives preferred_username to those who ask for the profile only.
        scope: 'openid profile',
        audience: [jwtAudience, longAudience],
        accepted_clients: [clientId],
        deadline: `${deadline}ms`,
      },
    });
  }

  async function close(): Promise<void> {
    await daemon.stop();
    logs.push(daemon.log());
  }

  async function token(...how: Parameters<TestProvider['token']>): Promise<string> {
    const made = await provider.token(...how);
    secrets.add(made);
    return made;
  }

  /** A session that ends with the test. */
  async function session(context: TestContext): Promise<Smtp> {
    const smtp = await openSmtp(postfix.port);
    context.after(() => smtp.quit());
    return smtp;
  }

  /** One login on a session of its own. */
  async function login(
    mechanism: Mechanism,
    message: string,
    how: How = 'initial response',
  ): Promise<Outcome> {
    secrets.add(encode(message));
    const smtp = await openSmtp(postfix.port);
    try {
      return await authenticate(smtp, mechanism, message, how);
    } finally {
      await smtp.quit();
    }
  }

  it('offers the mechanisms that the daemon announces', async (context) => {
    const { mechanisms } = await session(context);
    assert.deepEqual([...mechanisms].sort(), ['OAUTHBEARER', 'PLAIN', 'XOAUTH2']);
  });

  for (const how of ['initial response', 'challenge'] as const) {
    describe(`with the message in the ${how}`, () => {
      it('lets in who has the password', async () => {
        assert.equal((await login('PLAIN', plain('alice', alice.password), how)).code, 235);
        assert.equal((await login('PLAIN', plain('jörg', jörg.password), how)).code, 235);
      });

      it('refuses a wrong password', async () => {
        const { code, error } = await login('PLAIN', plain('bob', `not ${bob.password}`), how);
        assert.deepEqual({ code, error }, { code: 535, error: undefined });
      });

      it('lets in who has an opaque token', async () => {
        assert.equal((await login('OAUTHBEARER', oauthbearer(await token('alice')), how)).code, 235);
        assert.equal((await login('XOAUTH2', xoauth2('alice', await token('alice')), how)).code, 235);
      });

      it('lets in who has a JWT', async () => {
        const options = { format: 'jwt', audience: jwtAudience } as const;
        assert.equal((await login('OAUTHBEARER', oauthbearer(await token('alice', options)), how)).code, 235);
        assert.equal(
          (await login('XOAUTH2', xoauth2('alice', await token('alice', options)), how)).code,
          235,
        );
      });

      it('shows a client with a wrong token where the provider is, and refuses it', async () => {
        const { code, error } = await login('OAUTHBEARER', oauthbearer(random()), how);
        assert.equal(code, 535);
        assert.equal(error?.status, 'invalid_token');
        assert.equal(error?.['openid-configuration'], `${provider.issuer}/.well-known/openid-configuration`);
        const outcome = await login('XOAUTH2', xoauth2('alice', random()), how);
        assert.equal(outcome.code, 535);
        assert.equal(typeof outcome.error?.status, 'string');
      });

      it('refuses a token to anybody else', async () => {
        const good = await token('alice');
        assert.equal((await login('XOAUTH2', xoauth2('bob', good), how)).code, 535);
        assert.equal((await login('OAUTHBEARER', oauthbearer(good, 'bob'), how)).code, 535);
        assert.equal((await login('OAUTHBEARER', oauthbearer(good, 'alice'), how)).code, 235);
      });
    });
  }

  describe('with a long token', () => {
    const longestInitial = longestToken(lineLimit, 'AUTH OAUTHBEARER '.length);
    const longest = longestToken(responseLimit);

    it(`takes ${longestInitial} characters in the initial response`, async () => {
      const good = oauthbearer(await token('alice', { length: longestInitial }));
      assert.equal((await login('OAUTHBEARER', good)).code, 235);
    });

    it('refuses an initial response of which Postfix has cut off the end', async () => {
      // Another group of four in Base64, so that more than padding is lost.
      const good = oauthbearer(await token('alice', { length: longestInitial + 3 }));
      assert.equal((await login('OAUTHBEARER', good)).code, 535);
      assert.equal((await login('OAUTHBEARER', good, 'challenge')).code, 235);
    });

    it(`takes ${longest} characters as the answer to a challenge, where Postfix ends`, async () => {
      const good = oauthbearer(await token('alice', { length: longest }));
      assert.equal((await login('OAUTHBEARER', good, 'challenge')).code, 235);
      const tooLong = oauthbearer(await token('alice', { length: longest + 1 }));
      assert.equal((await login('OAUTHBEARER', tooLong, 'challenge')).code, 500);
    });

    it('takes a JWT that does not fit into the initial response', async () => {
      const jwt = await token('alice', { format: 'jwt', audience: longAudience });
      assert.ok(jwt.length > 2 * lineLimit);
      assert.equal((await login('OAUTHBEARER', oauthbearer(jwt), 'challenge')).code, 235);
      assert.equal((await login('XOAUTH2', xoauth2('alice', jwt), 'challenge')).code, 235);
    });
  });

  it('relays mail only for who has logged in, and knows them by the name that the provider says', async (context) => {
    const smtp = await session(context);
    await smtp.say('MAIL FROM:<alice@mail.example>');
    assert.match(await smtp.say('RCPT TO:<bob@elsewhere.example>'), /Relay access denied/);
    await smtp.say('RSET');
    const { code } = await authenticate(
      smtp,
      'OAUTHBEARER',
      oauthbearer(await token('alice')),
      'initial response',
    );
    assert.equal(code, 235);
    await smtp.say('MAIL FROM:<alice@mail.example>');
    assert.match(await smtp.say('RCPT TO:<bob@elsewhere.example>'), /^250 /);
    assert.match(await smtp.say('DATA'), /^354 /);
    assert.match(await smtp.say('Subject: test\r\n\r\ntest\r\n.'), /^250 .* queued as/);
    assert.match(postfix.log(), /sasl_method=OAUTHBEARER, sasl_username=alice$/m);
    assert.ok(await within(slack, () => /relay=none, .* status=sent/.test(postfix.log())), postfix.log());
  });

  describe('whose client gives up', () => {
    it('lets it try again, after the first challenge and after the error', async (context) => {
      const smtp = await session(context);
      assert.match(await smtp.say('AUTH PLAIN'), /^334 /);
      assert.match(await smtp.say('*'), /^501 /);
      assert.match(await smtp.say(`AUTH OAUTHBEARER ${encode(oauthbearer(random()))}`), /^334 /);
      assert.match(await smtp.say('*'), /^501 /);
      const { code } = await authenticate(smtp, 'PLAIN', plain('alice', alice.password), 'initial response');
      assert.equal(code, 235);
    });

    // Postfix does not say CANCEL: whoever waits for it waits for ever, and all of them share one connection.
    it('leaves the daemon with nothing to wait for', async (context) => {
      const smtp = await session(context);
      for (let attempt = 0; attempt < 300; attempt++) {
        assert.match(await smtp.say('AUTH PLAIN'), /^334 /);
        assert.match(await smtp.say('*'), /^501 /);
      }
      const { code } = await authenticate(smtp, 'PLAIN', plain('carol', carol.password), 'initial response');
      assert.equal(code, 235);
    });
  });

  it('gives everybody the right answer when fifty log in at once', async () => {
    const attempts = crowd.map(async ([name, password], index) => {
      // Every third has the password, or the token, of a neighbour.
      const wrong = index % 3 === 0;
      const [owner, known] = wrong ? (crowd[(index + 1) % crowd.length] ?? []) : [name, password];
      const { code } =
        index % 2 === 0
          ? await login('PLAIN', plain(name, known ?? ''))
          : await login('XOAUTH2', xoauth2(name, await token(owner ?? '')));
      return [name, code];
    });
    assert.deepEqual(
      await Promise.all(attempts),
      crowd.map(([name], index) => [name, index % 3 === 0 ? 535 : 235]),
    );
  });

  describe('while the provider has trouble', () => {
    // Postfix 3.7 does not look at `temp` of a FAIL: only for a lost connection does it say 454.
    const refused = [454, 535];

    it('refuses everybody as long as it is down, and lets them in again', async () => {
      const good = await token('alice');
      await provider.stop();
      try {
        assert.ok(refused.includes((await login('PLAIN', plain('alice', alice.password))).code));
        assert.ok(refused.includes((await login('XOAUTH2', xoauth2('alice', good))).code));
      } finally {
        await provider.restart();
      }
      const told = () => daemon.logLines().filter(({ verdict }) => verdict === 'unavailable').length >= 2;
      assert.ok(await within(slack, told), daemon.log());
      const recovered = async () => (await login('PLAIN', plain('alice', alice.password))).code === 235;
      assert.ok(await within(recovery, recovered), daemon.log());
    });

    it('answers before Postfix gives up', async () => {
      provider.setLatency(2 * deadline);
      const started = performance.now();
      try {
        const { code, text } = await login('PLAIN', plain('alice', alice.password));
        assert.ok(refused.includes(code));
        assert.doesNotMatch(text, /Connection lost/);
      } finally {
        provider.setLatency(0);
      }
      const took = performance.now() - started;
      assert.ok(took < deadline + slack, `${took} ms`);
      const recovered = async () => (await login('PLAIN', plain('alice', alice.password))).code === 235;
      assert.ok(await within(recovery, recovered), daemon.log());
    });
  });

  it('refuses for now without the daemon, and finds the next one by itself', async (context) => {
    const smtp = await session(context);
    const once = async () =>
      (await authenticate(smtp, 'PLAIN', plain('alice', alice.password), 'initial response')).code;
    await close();
    assert.equal(await once(), 454);
    daemon = await open();
    assert.equal(await once(), 235);
    assert.equal((await login('XOAUTH2', xoauth2('alice', await token('alice')))).code, 235);
  });

  it('and the daemon write no secret into a log', () => {
    const written = [...logs, daemon.log(), postfix.log()].join('\n');
    for (const secret of secrets) assert.ok(!written.includes(secret), secret);
  });
});

type Name = 'alice' | 'bob' | 'carol' | 'jörg';
type Mechanism = 'PLAIN' | 'OAUTHBEARER' | 'XOAUTH2';
type How = 'initial response' | 'challenge';

interface Outcome {
  code: number;
  text: string;
  /** What the second challenge of OAUTHBEARER and XOAUTH2 says. */
  error: Record<string, unknown> | undefined;
}

async function authenticate(smtp: Smtp, mechanism: Mechanism, message: string, how: How): Promise<Outcome> {
  let answer = await smtp.say(`AUTH ${mechanism}${how === 'initial response' ? ` ${encode(message)}` : ''}`);
  if (how === 'challenge') {
    assert.equal(answer.trimEnd(), '334', 'the first challenge of these mechanisms is empty');
    answer = await smtp.say(encode(message));
  }
  let error: Outcome['error'];
  if (answer.startsWith('334 ')) {
    error = JSON.parse(Buffer.from(answer.slice('334 '.length), 'base64').toString('utf8'));
    // RFC 7628, section 3.2.3, and Google's "empty response" for XOAUTH2.
    answer = await smtp.say(mechanism === 'OAUTHBEARER' ? encode('\x01') : '');
  }
  return { code: Number(answer.slice(0, 3)), text: answer, error };
}

/** RFC 4616. */
function plain(name: string, password: string): string {
  return `\0${name}\0${password}`;
}

/** RFC 7628, section 3.1. */
function oauthbearer(token: string, name?: string): string {
  return `n,${name === undefined ? '' : `a=${name}`},\x01auth=Bearer ${token}\x01\x01`;
}

function xoauth2(name: string, token: string): string {
  return `user=${name}\x01auth=Bearer ${token}\x01\x01`;
}

function encode(message: string): string {
  return Buffer.from(message).toString('base64');
}

/** Characters of a token whose OAUTHBEARER message is, after `before` others, shorter in Base64 than `limit`. */
function longestToken(limit: number, before = 0): number {
  return Math.floor((limit - 1 - before) / 4) * 3 - oauthbearer('').length;
}

function random(): string {
  return randomBytes(33).toString('base64url');
}
