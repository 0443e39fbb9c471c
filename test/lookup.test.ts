// Whether a user exists, asked of a directory through the real program: what each directory is asked, and what each answer
// of it comes to. Every case is a virtual host of its own, so that nothing is remembered from another.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Bridge, startBridge, temporaryFolder } from './support/bridge.ts';
import { type DirectoryUser, startScim, startWebfinger, type TestDirectory } from './support/directories.ts';
import { type Behaviour, type Script, type Scripted, startScripted } from './support/scripted-provider.ts';

type Json = Record<string, unknown>;

const canaries = {
  clientSecret: 'canarySecret-7f3a',
  ownToken: 'canaryOwnToken-5d2e',
  fileToken: 'canaryFileToken-aa17',
  keyToken: 'canaryKeyToken-91be',
  password: 'canaryPassword-c04f',
};
const basic = `Basic ${Buffer.from(`reader:${canaries.password}`).toString('base64')}`;
/** Nobody else is called so, and no log may say it. */
const hidden = 'zebulon';

function secretFile(secret: string): string {
  const file = join(temporaryFolder(), 'secret');
  writeFileSync(file, `${secret}\n`, { mode: 0o600 });
  return file;
}

/** A program with these virtual hosts, which says everything that it may. */
function open(provider: Scripted, hosts: Record<string, Json>): Bridge {
  return startBridge({
    config: {
      token_endpoint: provider.endpoints.token,
      validation_endpoint: provider.endpoints.userinfo,
      client_id: 'xmpp',
      client_secret_file: secretFile(canaries.clientSecret),
      user_exists: 'lookup',
      deadline: '3s',
      http: { timeout: '300ms', retries: 0, max_response_bytes: 65536 },
      log: { level: 'debug', users: 'hashed' },
      hosts,
    },
  });
}

/** Neither a secret nor a name. */
function assertDiscreet(bridge: Bridge): void {
  const log = bridge.log();
  for (const [name, secret] of Object.entries(canaries)) {
    for (const form of [
      secret,
      Buffer.from(secret).toString('base64').slice(0, -4),
      encodeURIComponent(secret),
    ])
      assert.ok(!log.includes(form), `${name} in the log`);
  }
  assert.ok(!log.includes(basic.slice(-12)), 'the password in the log');
  assert.ok(
    !log.includes(hidden),
    log.split('\n').find((line) => line.includes(hidden)),
  );
}

const grant = (token: string, more: Json = {}): Behaviour => ({
  body: { access_token: token, token_type: 'Bearer', ...more },
});

describe('a lookup at', () => {
  const users: DirectoryUser[] = [
    { name: 'alice' },
    { name: 'alice2' },
    { name: 'Bob' },
    { name: 'dave', disabled: true },
    { name: 'jörg' },
    { name: 'o@corp' },
    { name: 'a b' },
    { name: hidden },
  ];
  let provider: Scripted;
  let scim: TestDirectory;
  let webfinger: TestDirectory;
  let bridge: Bridge;

  before(async () => {
    provider = await startScripted();
    provider.set('token', ({ body }) =>
      new URLSearchParams(body).get('grant_type') === 'client_credentials'
        ? grant(canaries.ownToken)
        : { status: 400, body: { error: 'unsupported_grant_type' } },
    );
    scim = await startScim(users, (authorization) =>
      [
        `Bearer ${canaries.ownToken}`,
        `Bearer ${canaries.fileToken}`,
        `token ${canaries.keyToken}`,
        basic,
      ].includes(authorization),
    );
    webfinger = await startWebfinger('finger.example', users);
    const url = `${scim.origin}/scim/v2`;
    const token_file = secretFile(canaries.fileToken);
    bridge = open(provider, {
      'scim.example': { user_lookup: { type: 'scim', url: `${url}/` } },
      'active.example': { user_lookup: { type: 'scim', url, token_file, active_only: true } },
      'basic.example': {
        user_lookup: { type: 'scim', url, username: 'reader', password_file: secretFile(canaries.password) },
      },
      'scheme.example': {
        user_lookup: {
          type: 'scim',
          url,
          token_file: secretFile(canaries.keyToken),
          token_scheme: 'token',
        },
      },
      'wrong.example': { user_lookup: { type: 'scim', url, token_file: secretFile('not-the-token') } },
      'split.example': {
        username_mapping: 'split',
        username_domains: ['other', 'corp'],
        user_lookup: { type: 'scim', url, token_file },
      },
      'finger.example': {
        user_lookup: { type: 'webfinger', url: `${webfinger.origin}/.well-known/webfinger` },
      },
      'exact.finger.example': {
        username_case: 'exact',
        user_lookup: {
          type: 'webfinger',
          url: `${webfinger.origin}/.well-known/webfinger`,
          resource: 'acct:{localpart}@finger.example',
        },
      },
      'moved.example': {
        user_lookup: { type: 'webfinger', url: `${webfinger.origin}/.well-known/webfinger` },
      },
      'page.example': {
        user_lookup: {
          type: 'webfinger',
          url: `${webfinger.origin}/.well-known/webfinger`,
          resource: 'https://finger.example/@{localpart}',
        },
      },
    });
  });
  after(async () => {
    await bridge?.stop();
    await scim?.stop();
    await webfinger?.stop();
    await provider?.stop();
  });

  const everybody: [host: string, localpart: string, answer: 0 | 1, filters: string[]][] = [
    ['scim.example', 'alice', 1, ['userName eq "alice"']],
    ['scim.example', hidden, 1, [`userName eq "${hidden}"`]],
    ['scim.example', 'nobody', 0, ['userName eq "nobody"']],
    ['scim.example', 'ali', 0, ['userName eq "ali"']],
    // It compares exactly, whatever RFC 7643 says of userName, and finds no Bob.
    ['scim.example', 'bob', 0, ['userName eq "bob"']],
    ['scim.example', 'jörg', 1, ['userName eq "jörg"']],
    ['scim.example', 'a\\20b', 1, ['userName eq "a b"']],
    ['scim.example', 'o\\40corp', 1, ['userName eq "o@corp"']],
    ['scim.example', 'dave', 1, ['userName eq "dave"']],
    ['active.example', 'dave', 0, ['userName eq "dave"']],
    ['active.example', 'alice', 1, ['userName eq "alice"']],
    ['basic.example', 'alice', 1, ['userName eq "alice"']],
    ['basic.example', 'nobody', 0, ['userName eq "nobody"']],
    ['scheme.example', 'alice', 1, ['userName eq "alice"']],
    ['scheme.example', 'nobody', 0, ['userName eq "nobody"']],
    // 401: nobody can say.
    ['wrong.example', 'nobody', 1, ['userName eq "nobody"']],
    ['split.example', 'o', 1, ['userName eq "o@other"', 'userName eq "o@corp"']],
    ['split.example', 'alice', 0, ['userName eq "alice@other"', 'userName eq "alice@corp"']],
    // Whoever chooses the name must not choose the filter.
    ['scim.example', 'x\\22\\20or\\20userName\\20pr', 0, ['userName eq "x\\" or userName pr"']],
    ['scim.example', '\\22\\20or\\20\\22\\22\\20eq\\20\\22', 0, ['userName eq "\\" or \\"\\" eq \\""']],
    ['scim.example', 'alice\\5c\\22', 0, ['userName eq "alice\\\\\\""']],
    ['scim.example', 'alice%22%20or%20userName%20pr', 0, ['userName eq "alice%22%20or%20userName%20pr"']],
    ['scim.example', 'alice\\26filter=', 0, ['userName eq "alice&filter="']],
    ['scim.example', '*', 0, ['userName eq "*"']],
    ['scim.example', '%', 0, ['userName eq "%"']],
    ['scim.example', 'alic_', 0, ['userName eq "alic_"']],
    ['scim.example', '..\\2f..', 0, ['userName eq "../.."']],
  ];
  for (const [host, localpart, answer, filters] of everybody) {
    it(`SCIM 2.0 of ${localpart}@${host} says ${answer ? 'yes' : 'no'}`, async () => {
      scim.seen.length = 0;
      assert.equal(await bridge.ask(`isuser:${localpart}:${host}`), answer, bridge.log());
      assert.deepEqual(
        scim.seen.map(({ method, url }) => {
          const { pathname, searchParams } = new URL(url, scim.origin);
          return [method, pathname, searchParams.get('filter'), [...searchParams.keys()]];
        }),
        filters.map((filter) => ['GET', '/scim/v2/Users', filter, ['filter', 'count']]),
      );
    });
  }

  const accounts: [host: string, localpart: string, answer: 0 | 1, resource: string][] = [
    ['finger.example', 'alice', 1, 'acct:alice@finger.example'],
    ['finger.example', 'bob', 1, 'acct:bob@finger.example'],
    ['finger.example', 'nobody', 0, 'acct:nobody@finger.example'],
    ['finger.example', 'ali', 0, 'acct:ali@finger.example'],
    ['finger.example', 'jörg', 1, 'acct:j%C3%B6rg@finger.example'],
    ['finger.example', 'o\\40corp', 1, 'acct:o%40corp@finger.example'],
    ['finger.example', 'alice\\40finger.example\\2f', 0, 'acct:alice%40finger.example%2F@finger.example'],
    ['finger.example', 'alice?x=', 0, 'acct:alice%3Fx%3D@finger.example'],
    ['finger.example', '*', 0, 'acct:*@finger.example'],
    ['finger.example', '..\\2f', 0, 'acct:..%2F@finger.example'],
    ['exact.finger.example', 'alice', 1, 'acct:alice@finger.example'],
    // There is a Bob, and who logs in as that is not bob.
    ['exact.finger.example', 'bob', 0, 'acct:bob@finger.example'],
    ['moved.example', 'alice', 0, 'acct:alice@moved.example'],
    // What is no acct: URI it does not know.
    ['page.example', 'alice', 0, 'https://finger.example/@alice'],
  ];
  for (const [host, localpart, answer, resource] of accounts) {
    it(`WebFinger of ${localpart}@${host} says ${answer ? 'yes' : 'no'}`, async () => {
      webfinger.seen.length = 0;
      assert.equal(await bridge.ask(`isuser:${localpart}:${host}`), answer, bridge.log());
      const query = `resource=${encodeURIComponent(resource)}`;
      assert.deepEqual(webfinger.seen, [
        { method: 'GET', url: `/.well-known/webfinger?${query}`, authorization: undefined },
      ]);
    });
  }

  it('any of them costs one token, goes to its own server as whom it should, and the log tells neither names nor secrets', async () => {
    assert.equal(provider.seen.length, 1, 'one token for all');
    const [request] = provider.seen;
    const form = Object.fromEntries(new URLSearchParams(request?.body));
    assert.deepEqual(form, {
      grant_type: 'client_credentials',
      client_id: 'xmpp',
      client_secret: canaries.clientSecret,
    });
    await sleep(200);
    assert.ok(
      bridge
        .logLines()
        .some(({ event, url }) => event === 'exchange' && url === `${scim.origin}/scim/v2/Users`),
    );
    assert.match(
      bridge.log(),
      /does not let us look users up \(401\): check user_lookup.token_file and token_scheme,/,
    );
    assertDiscreet(bridge);
  });
});

type Kind = 'scim' | 'keycloak' | 'webfinger' | 'http';
const kinds: readonly Kind[] = ['scim', 'keycloak', 'webfinger', 'http'];

interface Case {
  readonly kind: Kind;
  readonly title: string;
  readonly script: Script;
  readonly answer: 0 | 1;
  /** Default: alice. */
  readonly localpart?: string;
  readonly lookup?: Json;
  readonly host?: Json;
  /** What is asked, after the address that is the same for everybody. Default: one question. */
  readonly asked?: readonly string[];
  /** What the log says. */
  readonly says?: RegExp;
}

/** What each kind answers when it has these users, in all so many. */
const listing: Record<Kind, (names: readonly string[], total?: number) => unknown> = {
  scim: (names, totalResults = names.length) => ({
    totalResults,
    Resources: names.map((userName) => ({ userName })),
  }),
  keycloak: (names) => names.map((username) => ({ username })),
  webfinger: ([name]) => ({ subject: `acct:${name}@HOST` }),
  http: (names) => names.map((username) => ({ username })),
};
const many = (count: number): string[] => Array.from({ length: count }, (_, n) => `user${n}`);

/** Nobody can say, and nobody has been here: yes. */
const faults: [title: string, script: Behaviour, says?: RegExp][] = [
  ['refuses us (401)', { status: 401, body: {} }, /does not let us look users up \(401\)/],
  ['refuses us (403)', { status: 403, body: [] }, /does not let us look users up \(403\)/],
  ['is busy (429)', { status: 429, body: [] }],
  ['fails (500)', { status: 500, body: {} }, /has status 500/],
  ['fails (503), with an answer like any other', { status: 503, body: { totalResults: 0, Resources: [] } }],
  ['does not understand (400)', { status: 400, body: {} }, /has status 400/],
  ['sends us elsewhere (302)', { status: 302, headers: { location: '/elsewhere' } }, /has status 302/],
  ['has no content (204)', { status: 204 }, /has status 204/],
  ['says nothing', { body: '' }, /is not JSON/],
  ['shows a page', { body: '<html>Log in!</html>', headers: { 'content-type': 'text/html' } }, /is not JSON/],
  ['breaks off', { body: '{"totalResults": 0, "Resources": [' }, /is not JSON/],
  ['says null', { body: 'null' }, /is not JSON/],
  ['does not stop', { body: [], oversize: 70_000 }, /more than 65536 bytes/],
  ['does not answer', { stall: true }],
  ['hangs up', { reset: 'beforeHeaders' }],
  ['hangs up in the middle', { body: [{}], reset: 'midBody' }],
];

const cases: Case[] = [
  ...kinds.flatMap((kind) => [
    ...faults.map(
      ([title, script, says]): Case => ({
        kind,
        title,
        script,
        answer: 1,
        ...(says === undefined ? {} : { says }),
      }),
    ),
    ...[404, 410].map(
      (status): Case => ({
        kind,
        title: `says ${status}`,
        script: { status },
        answer: kind === 'webfinger' || kind === 'http' ? 0 : 1,
      }),
    ),
    ...[400, 422].flatMap((status): Case[] => [
      {
        kind,
        title: `takes no such name (${status})`,
        localpart: 'stränger',
        script: { status, body: {} },
        answer: 0,
      },
      {
        kind,
        title: `takes no so long name (${status})`,
        localpart: 'x'.repeat(65),
        script: { status, body: {} },
        answer: 0,
      },
      {
        kind,
        title: `says ${status} of a plain name`,
        localpart: 'a.b-c+d',
        script: { status, body: {} },
        answer: 1,
      },
    ]),
    { kind, title: 'finds the name too long', script: { status: 414 }, answer: 0 } as const,
    { kind, title: 'has her', script: { body: listing[kind](['alice']) }, answer: 1 } as const,
    { kind, title: 'calls her Alice', script: { body: listing[kind](['Alice']) }, answer: 1 } as const,
    {
      kind,
      title: 'calls her Alice, which is not the same here',
      script: { body: listing[kind](['Alice']) },
      host: { username_case: 'exact' },
      answer: 0,
    } as const,
    { kind, title: 'has alice2 only', script: { body: listing[kind](['alice2']) }, answer: 0 } as const,
    {
      kind,
      title: 'has ａｌｉｃｅ only',
      script: { body: listing[kind](['ａｌｉｃｅ']) },
      answer: 0,
    } as const,
    {
      kind,
      title: 'says nothing of a name',
      script: { body: [{}] },
      answer: kind === 'keycloak' ? 0 : 1,
    } as const,
  ]),

  // A list of others: all that there are, or one page of many.
  ...(['scim', 'keycloak', 'http'] as const).flatMap((kind): Case[] => [
    { kind, title: 'has nobody', script: { body: listing[kind]([]) }, answer: 0 },
    { kind, title: 'finds three others', script: { body: listing[kind](many(3)) }, answer: 0 },
    {
      kind,
      title: 'finds her among others',
      script: { body: listing[kind]([...many(19), 'alice']) },
      answer: 1,
    },
  ]),
  { kind: 'scim', title: 'lists everybody it has', script: { body: listing.scim(many(30)) }, answer: 0 },
  {
    kind: 'scim',
    title: 'lists everybody, page by page',
    script: { body: listing.scim(many(20), 5000) },
    answer: 1,
    says: /has 20 others and maybe more: it does not look at the name/,
  },
  {
    kind: 'scim',
    title: 'counts somebody and shows nobody',
    script: { body: { totalResults: 1 } },
    answer: 1,
    says: /maybe more/,
  },
  {
    kind: 'scim',
    title: 'does not count',
    script: { body: { Resources: [] } },
    answer: 1,
    says: /no totalResults/,
  },
  {
    kind: 'scim',
    title: 'has text for users',
    script: { body: { totalResults: 1, Resources: ['alice'] } },
    answer: 1,
    says: /not a list of users/,
  },
  {
    kind: 'keycloak',
    title: 'lists everybody, page by page',
    script: { body: listing.keycloak(many(20)) },
    answer: 1,
    says: /does not look at the name/,
  },
  {
    kind: 'http',
    title: 'lists everybody, page by page',
    script: { body: listing.http(many(10)) },
    answer: 1,
    says: /does not look at the name/,
  },
  {
    kind: 'keycloak',
    title: 'answers an object',
    script: { body: { error: 'x' } },
    answer: 1,
    says: /not a list/,
  },

  // One name twice in an object: readers differ.
  {
    kind: 'scim',
    title: 'counts twice',
    script: { body: '{"totalResults":0,"totalResults":0,"Resources":[]}' },
    answer: 1,
    says: /is not JSON/,
  },
  {
    kind: 'keycloak',
    title: 'names twice',
    script: { body: '[{"username":"x","username":"y"}]' },
    answer: 1,
  },
  {
    kind: 'webfinger',
    title: 'names twice',
    script: { body: '{"subject":"acct:x@y","subject":"z"}' },
    answer: 1,
  },
  { kind: 'http', title: 'names twice', script: { body: '{"username":"x","username":"y"}' }, answer: 1 },

  // Who is disabled exists, unless they say otherwise.
  ...([0, 1] as const).flatMap((answer): Case[] => {
    const active_only = answer === 0;
    const title = `has disabled her, and ${active_only ? 'that matters' : 'that does not matter'}`;
    return [
      {
        kind: 'scim',
        title,
        lookup: { active_only },
        script: { body: { totalResults: 1, Resources: [{ userName: 'alice', active: false }] } },
        answer,
      },
      {
        kind: 'keycloak',
        title,
        lookup: { active_only },
        script: { body: [{ username: 'alice', enabled: false }] },
        answer,
      },
      {
        kind: 'http',
        title,
        lookup: { active_only, active_field: 'is_active' },
        script: { body: { username: 'alice', is_active: false } },
        answer,
      },
    ];
  }),

  // WebFinger
  {
    kind: 'webfinger',
    title: 'knows her at another domain',
    script: { body: { subject: 'acct:alice@elsewhere.example' } },
    answer: 1,
    says: /is about one at another domain: is user_lookup.resource right\?/,
  },
  {
    kind: 'webfinger',
    title: 'knows her by an alias',
    script: { body: { subject: 'https://HOST/users/1', aliases: [7, 'acct:Alice@HOST'] } },
    answer: 1,
  },
  {
    kind: 'webfinger',
    title: 'has no subject',
    script: { body: { links: [] } },
    answer: 1,
    says: /no subject/,
  },
  {
    kind: 'webfinger',
    title: 'is broken about somebody else',
    script: { body: { subject: 'acct:%zz@HOST' } },
    answer: 0,
  },

  {
    kind: 'keycloak',
    title: 'would find the account of a client',
    localpart: 'service-account-xmpp',
    script: { body: [{ username: 'service-account-xmpp' }] },
    answer: 0,
    asked: [],
  },

  // Any other
  {
    kind: 'http',
    title: 'has the name further in',
    lookup: { username_path: 'results.user.name' },
    script: { body: { results: [{ user: { name: 'bob' } }, { user: { name: 'alice' } }] } },
    answer: 1,
  },
  {
    kind: 'http',
    title: 'has nobody further in',
    lookup: { username_path: 'results.user.name' },
    script: { body: { results: [] } },
    answer: 0,
  },
  {
    kind: 'http',
    title: 'has the name elsewhere',
    script: { body: { name: 'alice' } },
    answer: 1,
    says: /no text at username: is user_lookup.username_path right\?/,
  },
  ...[
    'x\\22\\20or\\20userName\\20pr',
    '*',
    '%',
    '_',
    'a\\2fb',
    'a?b#c',
    'a\\26b',
    '{host}',
    '$&',
    'jörg',
  ].map(
    (localpart): Case => ({
      kind: 'http',
      title: `is asked for ${localpart} and nothing else`,
      localpart,
      script: { status: 404 },
      answer: 0,
      asked: [
        `/${encodeURIComponent(localpart.replace(/\\(2.)/g, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16))))}`,
      ],
    }),
  ),
  ...['..', '.', '..\\2f..\\2fadmin', 'a\\2f..', '..\\5c2fadmin', '..\\admin'].map(
    (localpart): Case => ({
      kind: 'http',
      title: `is not asked for ${localpart}, which leads elsewhere`,
      localpart,
      script: { body: { username: localpart } },
      answer: 0,
      asked: [],
    }),
  ),
];

describe('a directory of the kind', () => {
  let provider: Scripted;
  let bridge: Bridge;
  const hostOf = (index: number): string => `c${index}.example`;

  before(async () => {
    provider = await startScripted();
    provider.set('token', grant(canaries.ownToken));
    provider.set('directory', (request) => {
      const [, index = ''] = /^\/directory\/c(\d+)\b/.exec(request.url) ?? [];
      const { script } = cases[Number(index)] as Case;
      const { body, ...behaviour } = typeof script === 'function' ? script(request) : script;
      const text = typeof body === 'string' || body === undefined ? body : JSON.stringify(body);
      return { ...behaviour, body: text?.replaceAll('HOST', hostOf(Number(index))) };
    });
    const token_file = secretFile(canaries.fileToken);
    bridge = open(
      provider,
      Object.fromEntries(
        cases.map(({ kind, lookup, host }, index) => {
          const base = `${provider.endpoints.directory}/c${index}`;
          const url = kind === 'http' ? `${base}/{localpart}` : base;
          return [hostOf(index), { ...host, user_lookup: { type: kind, url, token_file, ...lookup } }];
        }),
      ),
    );
  });
  after(async () => {
    await bridge?.stop();
    await provider?.stop();
  });

  cases.forEach(({ kind, title, localpart = 'alice', answer, asked }, index) => {
    it(`${kind} that ${title}: ${answer ? 'yes' : 'no'}`, async () => {
      provider.seen.length = 0;
      assert.equal(await bridge.ask(`isuser:${localpart}:${hostOf(index)}`), answer);
      const expected =
        asked ??
        {
          scim: [`/Users?filter=${encodeURIComponent(`userName eq "${localpart}"`)}&count=20`],
          keycloak: [
            `/users?username=${encodeURIComponent(localpart)}&exact=true&briefRepresentation=true&max=20`,
          ],
          webfinger: [
            `?resource=${encodeURIComponent(`acct:${encodeURIComponent(localpart)}@${hostOf(index)}`)}`,
          ],
          http: [`/${encodeURIComponent(localpart)}`],
        }[kind];
      assert.deepEqual(
        provider.seen.map(({ method, url, headers }) => [method, url, headers.authorization]),
        expected.map((each) => ['GET', `/directory/c${index}${each}`, `Bearer ${canaries.fileToken}`]),
      );
    });
  });

  it('is complained of in words that name the option', async () => {
    await sleep(200);
    const complaints = bridge
      .logLines()
      .filter(({ event }) => event === 'unsafe')
      .map(({ message }) => String(message));
    for (const { kind, title, says } of cases)
      if (says !== undefined)
        assert.ok(
          complaints.some((each) => says.test(each)),
          `${kind} that ${title}`,
        );
  });

  it('tells the log neither names nor secrets', async () => {
    for (const [index, { title }] of cases.entries())
      if (title !== 'does not answer') await bridge.ask(`isuser:${hidden}:${hostOf(index)}`);
    await sleep(200);
    assert.ok(provider.seen.some(({ url }) => url.includes(hidden)));
    assertDiscreet(bridge);
  });
});
