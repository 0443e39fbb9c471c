// Everything that authorization servers are known to answer, and everything that can go wrong on the way, against the
// bridge as a real child process: the answer on the wire, the reason in the log, the time it took, and life afterwards.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import type { RefusedReason, UnavailableReason } from '../src/verdict.ts';
import { type Bridge, startBridge, temporaryFolder } from './support/bridge.ts';
import {
  alice,
  type Behaviour,
  type Endpoint,
  type Script,
  type Scripted,
  selfSigned,
  startScripted,
} from './support/scripted-provider.ts';

const DEADLINE = 1500;
/** What an answer may take longer than the deadline: timers, pipes, and the test itself. */
const TOLERANCE = 100;
const CLIENT_SECRET = 'client-secret-of-the-faults';

interface Row {
  readonly name: string;
  readonly scripts?: Partial<Record<Endpoint, Script>>;
  /** Default: a password in groups about the token endpoint, a token elsewhere. */
  readonly method?: 'password' | 'token';
  /** Default: one that no other row has sent. */
  readonly secret?: string;
  readonly host?: string;
  /** More than one: the specification leaves it open. */
  readonly refused?: RefusedReason | readonly RefusedReason[];
  readonly unavailable?: UnavailableReason | readonly UnavailableReason[];
  /** Neither of the two: the login must succeed. */
}

type Expectation = Pick<Row, 'refused' | 'unavailable'>;

const json = (value: unknown, status = 200): Behaviour => ({ status, body: value });
const html: Behaviour = {
  headers: { 'content-type': 'text/html' },
  body: '<!doctype html><title>Log in</title><form method="post"></form>',
};
const error = (name: string, status = 400, description?: string): Behaviour =>
  json({ error: name, ...(description === undefined ? {} : { error_description: description }) }, status);
const text = (body: string, type = 'application/json', status = 200): Behaviour => ({
  status,
  headers: { 'content-type': type },
  body,
});
const redirect = (status: number, location: string): Behaviour => ({ status, headers: { location } });

/** A token that UserInfo takes, whatever the password was. */
const granted: Behaviour = json({ access_token: alice.token, token_type: 'Bearer', expires_in: 300 });
const described: Behaviour = json({ sub: alice.sub, preferred_username: alice.name });

let trap: Scripted;
before(async () => {
  trap = await startScripted();
});
after(() => trap.stop());

/** Where a redirect must not lead: elsewhere at the same server and at another one. The port is known only at run time. */
const redirects = (endpoint: Endpoint): Row[] =>
  [301, 302, 303, 307, 308].flatMap((status) => [
    {
      name: `${status} to another server is not followed`,
      scripts: { [endpoint]: () => redirect(status, `${trap.origin}/trap`) },
      unavailable: 'provider_error',
    },
    {
      name: `${status} to the same server is not followed`,
      scripts: { [endpoint]: redirect(status, '/trap') },
      unavailable: 'provider_error',
    },
  ]);

/** What happens below and beside HTTP is the same for every endpoint. `good` is what a healthy one would answer. */
const troubles = (endpoint: Endpoint, good: Behaviour): Row[] => {
  const trouble = (name: string, unavailable: UnavailableReason, script: Script): Row => ({
    name,
    scripts: { [endpoint]: script },
    unavailable,
  });
  return [
    ...redirects(endpoint),
    trouble('429', 'provider_busy', { status: 429 }),
    trouble('429 with Retry-After', 'provider_busy', {
      status: 429,
      headers: { 'retry-after': '0' },
      body: 'slow down',
    }),
    trouble('404 without a body', 'provider_error', { status: 404 }),
    trouble('404 with HTML', 'provider_error', { ...html, status: 404 }),
    trouble('405', 'provider_error', { status: 405, headers: { allow: 'GET' } }),
    ...[500, 501, 502, 503, 504].map((status) =>
      trouble(`${status} with HTML`, 'provider_error', { ...html, status }),
    ),
    trouble('500 with JSON', 'provider_error', error('server_error', 500)),
    trouble('503 with Retry-After', 'provider_error', { status: 503, headers: { 'retry-after': '0' } }),
    trouble('204', 'provider_error', { status: 204 }),
    trouble('200 with HTML', 'provider_error', html),
    trouble('200 with HTML labelled as JSON', 'provider_error', {
      ...html,
      headers: { 'content-type': 'application/json' },
    }),
    trouble('200 with nothing', 'provider_error', {}),
    trouble('200 with white space', 'provider_error', text(' \n ')),
    trouble('200 with an array', 'provider_error', text(`[${JSON.stringify(good.body)}]`)),
    trouble('200 with null', 'provider_error', text('null')),
    trouble('200 with a string', 'provider_error', text('"alice"')),
    trouble('200 with a number', 'provider_error', text('1')),
    trouble('200 with half a JSON object', 'provider_error', text(JSON.stringify(good.body).slice(0, -1))),
    trouble('200 with a JSON object and more', 'provider_error', text(`${JSON.stringify(good.body)}{}`)),
    trouble('200 with 5 MiB', 'provider_error', { ...good, oversize: 5 * 1024 * 1024 }),
    trouble('400 with 5 MiB', 'provider_error', { ...good, status: 400, oversize: 5 * 1024 * 1024 }),
    trouble('headers of 100 kB', 'provider_error', {
      ...good,
      headers: { 'x-padding': 'x'.repeat(100_000) },
    }),
    trouble('no HTTP at all', 'provider_error', { raw: 'SSH-2.0-OpenSSH_9.2p1\r\n' }),
    trouble('no answer', 'provider_timeout', { stall: true }),
    trouble('an answer that stops after the headers', 'provider_timeout', {
      ...good,
      drip: { bytes: 5, everyMs: 10_000 },
    }),
    trouble('an answer byte by byte', 'provider_timeout', { ...good, drip: { bytes: 1, everyMs: 100 } }),
    trouble('a reset instead of an answer', 'provider_unreachable', { reset: 'beforeHeaders' }),
    trouble('a reset in the middle of the answer', 'provider_unreachable', { ...good, reset: 'midBody' }),
    trouble('the connection closed instead of an answer', 'provider_unreachable', { raw: '' }),
    trouble('the connection closed before the body is complete', 'provider_unreachable', {
      raw: `HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n${JSON.stringify(good.body)}`,
    }),
  ];
};

function tokenAnswers(): Row[] {
  const row = (name: string, token: Script, expected: Expectation): Row => ({
    name,
    scripts: { token },
    method: 'password',
    ...expected,
  });
  const no = (reason: RefusedReason): Expectation => ({ refused: reason });
  const sorry = (reason: UnavailableReason): Expectation => ({ unavailable: reason });
  const without = (body: object): Row[] => [
    row(`200 with ${JSON.stringify(body)}`, json(body), sorry('provider_error')),
  ];
  return [
    // Wrong password, unknown user, disabled user: each server in its own words.
    row(
      'wrong password at oidc-provider',
      error('invalid_grant', 400, 'grant request is invalid'),
      no('not_authorized'),
    ),
    row(
      'wrong password at doorkeeper',
      { ...error('invalid_grant'), headers: { 'www-authenticate': 'Bearer realm="Doorkeeper"' } },
      no('not_authorized'),
    ),
    row(
      'wrong password at Keycloak up to 26.5',
      error('invalid_grant', 401, 'Invalid user credentials'),
      no('not_authorized'),
    ),
    row('invalid_grant with 403', error('invalid_grant', 403), no('not_authorized')),
    row('invalid_grant with 422', error('invalid_grant', 422), no('not_authorized')),
    row(
      'invalid_grant labelled text/html',
      text('{"error":"invalid_grant"}', 'text/html', 400),
      no('not_authorized'),
    ),
    row(
      'invalid_grant without a content type',
      { status: 400, body: '{"error":"invalid_grant"}' },
      no('not_authorized'),
    ),
    row('disabled user at Keycloak', error('invalid_grant', 400, 'Account disabled'), no('account_disabled')),
    row(
      'required action at Keycloak',
      error('invalid_grant', 400, 'Account is not fully set up'),
      no('account_incomplete'),
    ),
    ...[400, 401, 403].flatMap((status) => [
      row(`${status} without a body`, { status }, no('not_authorized')),
      row(`${status} with HTML`, { ...html, status }, no('not_authorized')),
      row(
        `${status} with a JSON string`,
        text('"invalid_client"', 'application/json', status),
        no('not_authorized'),
      ),
      row(
        `${status} with an error that is an object`,
        json({ error: { code: 'invalid_client' } }, status),
        no('not_authorized'),
      ),
      row(`${status} with an unknown error`, error('out_of_cheese', status), no('not_authorized')),
    ]),
    row(
      '401 with Basic asked for',
      { status: 401, headers: { 'www-authenticate': 'Basic realm="x"' } },
      no('not_authorized'),
    ),

    // Our client, our grant, our scope: the operator's to mend, whoever logs in.
    row(
      'wrong client secret at oidc-provider',
      error('invalid_client', 401, 'client authentication failed'),
      sorry('client_refused'),
    ),
    row(
      'wrong client secret at django-oauth-toolkit',
      { ...error('invalid_client', 401), headers: { 'www-authenticate': 'Bearer error="invalid_client"' } },
      sorry('client_refused'),
    ),
    row('wrong client secret at lemonldap-ng', error('invalid_client', 400), sorry('client_refused')),
    row(
      'wrong client secret at Keycloak',
      error('unauthorized_client', 401, 'Invalid client secret'),
      sorry('client_refused'),
    ),
    row(
      'client that may not use the grant',
      error('unauthorized_client', 400, 'Client not allowed for direct access grants'),
      sorry('client_refused'),
    ),
    row(
      'client that may not use the grant at oidc-provider',
      error('invalid_request', 400, 'requested grant type is not allowed for this client'),
      sorry('client_refused'),
    ),
    row(
      'client error labelled text/html',
      text('{"error":"invalid_client"}', 'text/html', 401),
      sorry('client_refused'),
    ),
    row('unsupported grant', error('unsupported_grant_type'), sorry('client_refused')),
    row('unknown scope', error('invalid_scope'), sorry('client_refused')),
    row(
      'missing parameter at Keycloak',
      error('invalid_request', 401, 'Missing parameter: username'),
      sorry('client_refused'),
    ),
    row('plain http at Keycloak', error('invalid_request', 403, 'HTTPS required'), sorry('client_refused')),

    // A success that is none.
    ...without({}),
    ...without({ access_token: '' }),
    ...without({ access_token: null }),
    ...without({ access_token: 1 }),
    ...without({ access_token: true }),
    ...without({ access_token: [alice.token] }),
    ...without({ access_token: { value: alice.token } }),
    ...without({ error: 'invalid_grant' }),
    ...without({ id_token: 'e30.e30.e30', token_type: 'Bearer' }),
    ...without({ access_token: alice.token, token_type: 'DPoP' }),
    ...without({ access_token: alice.token, token_type: 'dpop' }),
    ...without({ access_token: alice.token, token_type: 'mac' }),
    row(
      '200 with access_token in a prototype',
      text(`{"__proto__":{"access_token":"${alice.token}"}}`),
      sorry('provider_error'),
    ),
    row('200 with access_token twice', text(`{"access_token":"x","access_token":"${alice.token}"}`), {
      refused: 'malformed_token',
      unavailable: 'provider_error',
    }),
    ...['two words', 'line\r\nx-injected: yes', 'nul\0', 'ünïcode'].map((token) =>
      row(
        `200 with the access token ${JSON.stringify(token)}`,
        json({ access_token: token, token_type: 'Bearer' }),
        {
          refused: 'malformed_token',
          unavailable: 'provider_error',
        },
      ),
    ),
    ...troubles('token', granted).map((trouble) => ({ ...trouble, method: 'password' as const })),
    {
      name: 'two slow answers, each in time, together too late',
      method: 'password',
      scripts: { token: { ...granted, delay: 900 }, userinfo: { ...described, delay: 900 } },
      unavailable: 'deadline',
    },

    // Strange, and still a success.
    row('200 labelled text/html', text(JSON.stringify(granted.body), 'text/html'), {}),
    row('200 without a content type', { body: JSON.stringify(granted.body) }, {}),
    row('token_type in lower case', json({ access_token: alice.token, token_type: 'bearer' }), {}),
    row(
      '103 before the 200',
      {
        raw: `HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nConnection: close\r\n\r\n${JSON.stringify(granted.body)}`,
      },
      {},
    ),
    row('no token_type, no expires_in', json({ access_token: alice.token }), {}),
    row(
      'refresh_token that is no string',
      json({ access_token: alice.token, token_type: 'Bearer', refresh_token: 5 }),
      {},
    ),
    ...[{ status: 500 }, { status: 401 }, { reset: 'beforeHeaders' }, { stall: true }].map(
      (revocation): Row => ({
        name: `revocation that fails: ${JSON.stringify(revocation)}`,
        method: 'password',
        scripts: { token: granted, revocation: revocation as Behaviour },
      }),
    ),
  ];
}

function userinfoAnswers(method: 'password' | 'token'): Row[] {
  const row = (name: string, userinfo: Script, expected: Expectation): Row => ({
    name,
    method,
    scripts: { token: granted, userinfo },
    ...expected,
  });
  const no = (...refused: RefusedReason[]): Expectation => ({ refused });
  const named = (value: unknown): Behaviour => json({ sub: alice.sub, preferred_username: value });
  return [
    // A token that is not good (any more), or not good for this.
    row(
      'garbage at oidc-provider',
      error('invalid_token', 401, 'invalid token provided'),
      no('token_inactive'),
    ),
    row(
      'garbage at django-oauth-toolkit',
      text('{"error":"invalid_token"}', 'text/html', 401),
      no('token_inactive'),
    ),
    row(
      'garbage at doorkeeper',
      {
        status: 401,
        headers: { 'content-type': 'text/html', 'www-authenticate': 'Bearer error="invalid_token"' },
      },
      no('token_inactive'),
    ),
    row(
      'garbage at lemonldap-ng',
      { status: 401, headers: { 'www-authenticate': 'error=invalid_request,error_description=x' } },
      no('token_inactive'),
    ),
    row(
      'no openid scope',
      error('insufficient_scope', 403, 'access token missing openid scope'),
      no('token_inactive'),
    ),
    row(
      "a client's own token at Mastodon",
      json({ error: 'This method requires an authenticated user' }, 422),
      no('token_inactive'),
    ),
    ...[400, 401, 403].flatMap((status) => [
      row(`${status} without a body`, { status }, no('token_inactive')),
      row(`${status} with HTML`, { ...html, status }, no('token_inactive')),
      row(`${status} with the claims`, { ...described, status }, no('token_inactive')),
    ]),

    // 200, and nobody is named.
    row('no claims', json({}), no('username_missing')),
    row('sub only', json({ sub: alice.sub }), no('username_missing')),
    row('another name claim', json({ sub: alice.sub, username: alice.name }), no('username_missing')),
    row(
      'the claim in a prototype',
      text('{"__proto__":{"preferred_username":"alice"}}'),
      no('username_missing'),
    ),
    row(
      'the claim in a nested prototype',
      text('{"sub":"s","profile":{"__proto__":{"preferred_username":"alice"}}}'),
      no('username_missing'),
    ),
    row(
      'the claim in a nested object',
      json({ data: { preferred_username: 'alice' } }),
      no('username_missing'),
    ),
    row('the claim null', named(null), no('username_missing', 'username_invalid')),
    row('an error with 200', error('invalid_token', 200), no('username_missing')),

    // 200, and what is named is no name.
    ...[0, 1, true, ['alice'], { name: 'alice' }, ''].map((value) =>
      row(`the name ${JSON.stringify(value)}`, named(value), no('username_invalid')),
    ),
    ...['al ice', 'alice@example.org/x', 'ali\0ce', 'alice\n', '\u202Ealice'].map((value) =>
      row(`the name ${JSON.stringify(value)}`, named(value), no('username_invalid', 'user_mismatch')),
    ),
    ...[5, null, ['x'], { id: 1 }, true].map((sub) =>
      row(
        `sub ${JSON.stringify(sub)}`,
        json({ sub, preferred_username: alice.name }),
        no('username_invalid', 'malformed_token'),
      ),
    ),
    row(
      'the claim twice',
      text('{"preferred_username":"alice","preferred_username":"alice"}'),
      no('malformed_token'),
    ),
    row(
      'the claim twice, once escaped',
      text('{"preferred_username":"bob","\\u0070referred_username":"alice"}'),
      no('malformed_token'),
    ),
    row(
      'another claim twice',
      text('{"sub":"a","sub":"a","preferred_username":"alice"}'),
      no('malformed_token'),
    ),
    row(
      'a claim twice further inside',
      text('{"x":[{"a":1,"a":2}],"preferred_username":"alice"}'),
      no('malformed_token'),
    ),

    // 200, and it is somebody else.
    ...['bob', 'alice2', 'alic', 'alice@example.org', '\u0430lice'].map((value) =>
      row(`the name ${JSON.stringify(value)}`, named(value), no('user_mismatch')),
    ),
    row(
      "a client's own token at lemonldap-ng",
      json({ sub: 'xmpp', preferred_username: alice.name }),
      no('not_a_user'),
    ),
    row('a service account at Keycloak', named('service-account-xmpp'), no('not_a_user')),

    ...troubles('userinfo', described).map((trouble) => ({
      ...trouble,
      method,
      scripts: { token: granted, ...trouble.scripts },
    })),

    // Strange, and still a success.
    row('200 labelled text/html', text(JSON.stringify(described.body), 'text/html'), {}),
    row('200 labelled text/plain', text(JSON.stringify(described.body), 'text/plain'), {}),
    row('200 without sub', json({ preferred_username: alice.name }), {}),
    row('the name in capitals', named('ALICE'), {}),
  ];
}

function introspectionAnswers(): Row[] {
  const row = (name: string, introspection: Script, expected: Expectation): Row => ({
    name,
    method: 'token',
    scripts: { introspection },
    ...expected,
  });
  const no = (...refused: RefusedReason[]): Expectation => ({ refused });
  const sorry = (unavailable: UnavailableReason): Expectation => ({ unavailable });
  const active = { active: true, client_id: 'xmpp', preferred_username: alice.name };
  const saying = (more: object): Behaviour => json({ ...active, ...more });
  const now = Math.floor(Date.now() / 1000);
  return [
    // Nothing but the boolean true.
    ...[false, 'true', 1, null, [true], { active: true }, undefined].map((value) =>
      row(`active ${JSON.stringify(value)}`, saying({ active: value }), no('token_inactive')),
    ),
    row('active twice', text('{"active":false,"active":true,"client_id":"xmpp"}'), no('malformed_token')),
    row('active in a prototype', text('{"__proto__":{"active":true}}'), no('token_inactive')),

    // Active, and not good for us.
    row('expired', saying({ exp: now - 60 }), no('expired')),
    row('exp that is text', saying({ exp: 'tomorrow' }), no('malformed_token')),
    row('not yet valid', saying({ nbf: now + 3600 }), no('not_yet_valid')),
    row('obtained by another client', saying({ client_id: 'evil' }), no('aud_mismatch')),
    row('for another audience', saying({ client_id: undefined, aud: 'evil' }), no('aud_mismatch')),
    row('for nobody that it names', saying({ client_id: undefined }), no('aud_mismatch')),
    row('a refresh token at glewlwyd', saying({ token_type: 'refresh_token' }), no('id_token')),
    row('an ID token at glewlwyd', saying({ token_type: 'id_token' }), no('id_token')),
    row('a refresh token at Keycloak', saying({ typ: 'Refresh' }), no('id_token')),
    row('an ID token at Keycloak', saying({ typ: 'ID' }), no('id_token')),
    row('a refresh token at Ory Hydra', saying({ token_use: 'refresh_token' }), no('id_token')),
    row('a DPoP token', saying({ token_type: 'DPoP' }), no('sender_constrained')),
    row('bound to a certificate', saying({ cnf: { 'x5t#S256': 'x' } }), no('sender_constrained')),
    row("a client's own token", saying({ sub: 'xmpp' }), no('not_a_user')),
    row('a service account', saying({ preferred_username: 'service-account-xmpp' }), no('not_a_user')),
    row('sub that is a number', saying({ sub: 5 }), no('username_invalid')),
    row('no name', saying({ preferred_username: undefined, username: 'alice' }), no('username_missing')),
    row('the name of somebody else', saying({ preferred_username: 'bob' }), no('user_mismatch')),
    row('an error with 200', error('invalid_client', 200), no('token_inactive')),

    // Our client: nobody's token is to blame.
    row('wrong secret at oidc-provider', error('invalid_client', 401), sorry('client_refused')),
    row('wrong secret at django-oauth-toolkit', { ...html, status: 403 }, sorry('client_refused')),
    row('wrong secret at glewlwyd', { status: 401 }, sorry('client_refused')),
    row('no authentication at oidc-provider', error('invalid_request'), sorry('client_refused')),
    row(
      'public client at Keycloak',
      error('invalid_request', 403, 'Client not allowed.'),
      sorry('client_refused'),
    ),
    row('a kind of token that it does not introspect', error('unsupported_token_type'), no('token_inactive')),

    row(
      'a signed answer, and no keys to check it by',
      { ...text('a.b.c', 'application/token-introspection+jwt') },
      sorry('not_configured'),
    ),
    ...troubles('introspection', json(active)).map((trouble) => ({ ...trouble, method: 'token' as const })),

    // Strange, and still a success.
    row('active and little else', json(active), {}),
    row('exp 0, at a server whose tokens live for ever', saying({ exp: 0 }), {}),
    row(
      'null for what there is nothing to say about',
      saying({ exp: null, nbf: null, iss: null, cnf: null }),
      {},
    ),
    row('token_type in lower case', saying({ token_type: 'bearer' }), {}),
    row('made for us by another client', saying({ client_id: 'app', aud: ['xmpp', 'more'] }), {}),
    row('labelled text/html', text(JSON.stringify(active), 'text/html'), {}),
  ];
}

interface Outcome {
  readonly answer: number;
  readonly milliseconds: number;
  /** Requests at the provider that went to no endpoint. */
  readonly astray: number;
  /** How often the token endpoint saw a password. */
  readonly grants: number;
  readonly headers: readonly string[];
  /** The answer to a good login right afterwards. */
  readonly afterwards: number;
  line?: Record<string, unknown>;
}

interface Group {
  readonly bridge: Bridge;
  readonly scripted: Scripted;
}

/** Sends one request per row, each followed by a good login, and reads the log once at the end. */
async function play(rows: readonly Row[], { bridge, scripted }: Group): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  for (const [index, row] of rows.entries()) {
    scripted.reset();
    for (const [endpoint, script] of Object.entries(row.scripts ?? {}))
      scripted.set(endpoint as Endpoint, script);
    const started = performance.now();
    const answer = await bridge.ask(`auth:alice:${row.host ?? 'example.org'}:${secretOf(row, index)}`, 5000);
    const milliseconds = performance.now() - started;
    const { seen } = scripted;
    const outcome = {
      answer,
      milliseconds,
      astray: seen.filter(({ endpoint }) => endpoint === undefined).length,
      grants: seen.filter(({ endpoint }) => endpoint === 'token').length,
      headers: seen.flatMap(({ headers }) => Object.keys(headers)),
    };
    scripted.reset();
    outcomes.push({
      ...outcome,
      afterwards: await bridge.ask(`auth:alice:example.org:${alice.password}`, 5000),
    });
  }
  const lines = await requestLines(bridge, 2 * rows.length);
  for (const [index, outcome] of outcomes.entries()) {
    const line = lines[2 * index];
    if (line !== undefined) outcome.line = line;
  }
  return outcomes;
}

/** Lines are written in the background, up to some 150 ms after the answer. */
async function requestLines(bridge: Bridge, count: number): Promise<Record<string, unknown>[]> {
  for (const until = Date.now() + 2000; ; await pause(25)) {
    const complete = bridge.log().endsWith('\n');
    const lines = complete ? bridge.logLines().filter(({ event }) => event === 'request') : [];
    if (lines.length >= count || Date.now() > until) return lines;
  }
}

function secretOf(row: Row, index: number): string {
  const secret = row.secret ?? `secret-of-row-${index}`;
  return row.method === 'token' ? `token:${secret}` : secret;
}

function judge(row: Row, outcome: Outcome | undefined): void {
  assert.ok(outcome, 'the row was played');
  const refused = [row.refused ?? []].flat();
  const unavailable = [row.unavailable ?? []].flat();
  const isFault = refused.length + unavailable.length > 0;
  assert.equal(outcome.answer, isFault ? 0 : 1, `answer; log line: ${JSON.stringify(outcome.line)}`);
  assert.ok(
    outcome.milliseconds <= DEADLINE + TOLERANCE,
    `answered after ${Math.round(outcome.milliseconds)} ms`,
  );
  assert.equal(outcome.astray, 0, 'nothing was sent anywhere but to the endpoints');
  assert.ok(outcome.grants <= 1, `a password was sent ${outcome.grants} times`);
  assert.ok(!outcome.headers.includes('x-injected'), 'no header comes from an answer');
  assert.equal(outcome.afterwards, 1, 'a good login afterwards');
  const { verdict, reason, method } = outcome.line ?? {};
  if (verdict === 'unavailable' && reason !== 'deadline') assert.ok(method, 'the log says what was tried');
  if (isFault) {
    const expected = [
      ...refused.map((word) => `refused ${word}`),
      ...unavailable.map((word) => `unavailable ${word}`),
    ];
    assert.ok(
      expected.includes(`${verdict} ${reason}`),
      `expected ${expected.join(' or ')}, not ${verdict} ${reason}`,
    );
  } else {
    assert.equal(verdict, 'accepted');
  }
}

interface GroupOptions {
  readonly rows: readonly Row[];
  /** Beside what every group has. */
  readonly config?: (scripted: Scripted) => Record<string, unknown>;
  /** Default: the one provider. */
  readonly hosts?: (scripted: Scripted) => Promise<Record<string, unknown>>;
}

/** A host with endpoints of its own inherits no secret. */
function withSecret(hosts: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(hosts).map(([name, options]) => [
      name,
      { client_secret: CLIENT_SECRET, ...(options as object) },
    ]),
  );
}

function group(name: string, { rows, hosts, config = () => ({}) }: GroupOptions): void {
  describe(name, { concurrency: 1 }, () => {
    let bridge: Bridge;
    let scripted: Scripted;
    let outcomes: Outcome[] = [];

    before(async () => {
      scripted = await startScripted();
      const { token, userinfo, revocation } = scripted.endpoints;
      bridge = startBridge({
        config: {
          token_endpoint: token,
          validation_endpoint: userinfo,
          revocation_endpoint: revocation,
          client_id: 'xmpp',
          resource_owner_password: true,
          credential: 'auto',
          token_prefix: 'token:',
          deadline: `${DEADLINE}ms`,
          http: { timeout: '1s' },
          log: { level: 'debug' },
          // Every row is asked for, whatever the others came to.
          cache: { token_ttl: 0, negative_ttl: 0 },
          limits: { wrong_passwords: 'none' },
          ...config(scripted),
          ...(hosts === undefined ? {} : { hosts: withSecret(await hosts(scripted)) }),
        },
        env: { EXTAUTH_OAUTH_CLIENT_SECRET: CLIENT_SECRET },
      });
      outcomes = await play(rows, { bridge, scripted });
    });
    after(async () => {
      await bridge?.stop();
      await scripted?.stop();
    });

    for (const [index, row] of rows.entries()) test(row.name, () => judge(row, outcomes[index]));

    test('no secret is in the log', () => {
      const secrets = [CLIENT_SECRET, alice.password, alice.token, 'secret-of-row'];
      for (const secret of secrets) assert.ok(!bridge.log().includes(secret), `${secret} is in the log`);
    });
    test('stdout has nothing but the answers', () => assert.equal(bridge.unread().length, 0));
    test('ends with exit code 0 at the end of input', async () => {
      assert.deepEqual(await bridge.stop(), { code: 0, signal: null });
    });
  });
}

const servers: { stop(): Promise<void> }[] = [];
after(() => Promise.all(servers.map((server) => server.stop())));

/** One virtual host for each way in which a provider cannot be reached. */
async function unreachableHosts(healthy: Scripted): Promise<Record<string, unknown>> {
  const folder = temporaryFolder();
  const at = (origin: string): object => ({
    token_endpoint: `${origin}/token`,
    validation_endpoint: `${origin}/userinfo`,
  });
  const file = (name: string, content: string): string => {
    writeFileSync(join(folder, name), content);
    return join(folder, name);
  };
  const ours = selfSigned('127.0.0.1', 'localhost');
  const theirs = selfSigned('idp.example');
  const secure = await startScripted({ tls: ours });
  const misnamed = await startScripted({ tls: theirs });
  servers.push(secure, misnamed);

  const silent = createServer(() => {});
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
  silent.unref().on('connection', (socket) => socket.unref().on('error', () => {}));
  const portOf = (server: typeof silent): number => (server.address() as { port: number }).port;
  const closed = createServer();
  await new Promise<void>((resolve) => closed.listen(0, '127.0.0.1', resolve));
  const closedOrigin = `http://127.0.0.1:${portOf(closed)}`;
  await new Promise((resolve) => closed.close(resolve));

  return {
    'example.org': {},
    'refused.test': at(closedOrigin),
    'refused-userinfo.test': { validation_endpoint: `${closedOrigin}/userinfo` },
    'self-signed.test': at(secure.origin),
    'other-authority.test': { ...at(secure.origin), http: { ca_file: file('theirs.pem', theirs.cert) } },
    'other-name.test': { ...at(misnamed.origin), http: { ca_file: file('theirs.pem', theirs.cert) } },
    'trusted.test': { ...at(secure.origin), http: { ca_file: file('ours.pem', ours.cert) } },
    'not-tls.test': at(healthy.origin.replace('http:', 'https:')),
    'silent-tls.test': at(`https://127.0.0.1:${portOf(silent)}`),
    'nowhere.test': at('https://idp.invalid'),
  };
}

function unreachable(): Row[] {
  const both = (name: string, host: string, unavailable: Row['unavailable']): Row[] =>
    (['password', 'token'] as const).map((method) => ({
      name: `${name} (${method})`,
      host,
      method,
      secret: method === 'password' ? alice.password : alice.token,
      ...(unavailable === undefined ? {} : { unavailable }),
    }));
  return [
    ...both('connection refused', 'refused.test', 'provider_unreachable'),
    ...both('connection refused by UserInfo alone', 'refused-userinfo.test', 'provider_unreachable'),
    ...both('self-signed certificate', 'self-signed.test', 'provider_unreachable'),
    ...both('certificate of another authority', 'other-authority.test', 'provider_unreachable'),
    ...both('certificate for another name', 'other-name.test', 'provider_unreachable'),
    ...both('plain HTTP where TLS is expected', 'not-tls.test', 'provider_unreachable'),
    ...both('TLS handshake that is never answered', 'silent-tls.test', 'provider_timeout'),
    ...both('name that does not exist', 'nowhere.test', [
      'provider_unreachable',
      'provider_timeout',
      'deadline',
    ]),
    ...both('certificate in http.ca_file', 'trusted.test', undefined),
  ];
}

describe('faults', { concurrency: 5 }, () => {
  group('token endpoint', { rows: tokenAnswers() });
  group('UserInfo, for a token', { rows: userinfoAnswers('token') });
  group('UserInfo, after a password', { rows: userinfoAnswers('password') });
  group('introspection', {
    rows: introspectionAnswers(),
    config: ({ endpoints }) => ({
      validation: 'introspection',
      introspection_endpoint: endpoints.introspection,
    }),
  });
  group('no way there', { rows: unreachable(), hosts: unreachableHosts });

  describe('metadata', { concurrency: 1 }, () => {
    const rows: { name: string; discovery: (origin: string) => Behaviour; unavailable: UnavailableReason }[] =
      [
        { name: '404', discovery: () => ({ status: 404 }), unavailable: 'not_configured' },
        { name: 'a login page', discovery: () => html, unavailable: 'not_configured' },
        { name: '500', discovery: () => ({ status: 500 }), unavailable: 'provider_error' },
        { name: '429', discovery: () => ({ status: 429 }), unavailable: 'provider_busy' },
        {
          name: 'a reset',
          discovery: () => ({ reset: 'beforeHeaders' }),
          unavailable: 'provider_unreachable',
        },
        { name: 'no answer', discovery: () => ({ stall: true }), unavailable: 'provider_timeout' },
        {
          name: 'another issuer',
          discovery: () => json({ issuer: 'https://evil.example', token_endpoint: `${trap.origin}/token` }),
          unavailable: 'not_configured',
        },
        {
          name: 'the issuer with a slash more',
          discovery: (origin) => json({ issuer: `${origin}/`, token_endpoint: `${origin}/token` }),
          unavailable: 'not_configured',
        },
        {
          name: 'a token endpoint on another host',
          discovery: (origin) =>
            json({
              issuer: origin,
              token_endpoint: 'https://evil.example/token',
              userinfo_endpoint: `${origin}/userinfo`,
            }),
          unavailable: 'not_configured',
        },
        {
          name: 'no token endpoint',
          discovery: (origin) => json({ issuer: origin, userinfo_endpoint: `${origin}/userinfo` }),
          unavailable: 'not_configured',
        },
      ];
    for (const { name, discovery, unavailable } of rows) {
      test(name, async () => {
        const scripted = await startScripted();
        scripted.set('discovery', () => discovery(scripted.origin));
        const bridge = startBridge({
          config: {
            issuer: scripted.origin,
            client_id: 'xmpp',
            resource_owner_password: true,
            deadline: `${DEADLINE}ms`,
            http: { timeout: '1s' },
          },
          env: { EXTAUTH_OAUTH_CLIENT_SECRET: CLIENT_SECRET },
        });
        try {
          assert.equal(await bridge.ask(`auth:alice:example.org:${alice.password}`, 5000), 0);
          const [line] = await requestLines(bridge, 1);
          assert.deepEqual([line?.verdict, line?.reason], ['unavailable', unavailable]);
          assert.ok(!scripted.seen.some(({ endpoint }) => endpoint === 'token'), 'no password was sent');
        } finally {
          await bridge.stop();
          await scripted.stop();
        }
      });
    }
  });
});

test('no redirect has led to the other server', () => assert.deepEqual(trap.seen, []));
