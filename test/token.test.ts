// What a secret is, and what a JWT must say: everything that is decided without asking anybody.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type ClaimRules, judgeClaims, judgeHeader, judgeIssuer } from '../src/auth/claims.ts';
import { type ClassifySettings, classify } from '../src/auth/classify.ts';
import { readJwt } from '../src/oauth/jwt.ts';
import { Secret } from '../src/verdict.ts';

const base64url = (value: unknown): string =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');
const jwt = (header: unknown, claims: unknown): string =>
  `${base64url(header)}.${base64url(claims)}.c2lnbmF0dXJl`;

const NOW = 1_800_000_000_000;
const seconds = NOW / 1000;
const header = { alg: 'RS256', typ: 'at+jwt', kid: '1' };
const claims = {
  iss: 'https://id.example',
  sub: '1',
  aud: 'xmpp',
  exp: seconds + 300,
  iat: seconds - 10,
  client_id: 'app',
};

describe('a secret', () => {
  const token = jwt(header, claims);
  const table: [title: string, secret: string, settings: Partial<ClassifySettings>, kind: string][] = [
    ['a JWT', token, {}, 'token'],
    ['a JWT, where passwords are allowed', token, { passwords: true }, 'token'],
    [
      'a JWT, where only passwords are taken',
      token,
      { passwords: true, credential: 'password' },
      'token_disabled',
    ],
    ['an opaque text, where passwords are off', 'hunter2', {}, 'password_disabled'],
    ['an opaque text, where passwords are allowed', 'hunter2', { passwords: true }, 'password'],
    ['an opaque text, where only tokens are taken', 'abc.DEF-_~+/==', { credential: 'token' }, 'token'],
    [
      'a text no header can carry, where only tokens are taken',
      'two words',
      { credential: 'token' },
      'malformed_token',
    ],
    [
      'a newline, where only tokens are taken',
      'abc\r\nX-Evil: 1',
      { credential: 'token' },
      'malformed_token',
    ],
    ['an umlaut, where only tokens are taken', 'tökén', { credential: 'token' }, 'malformed_token'],
    ['a marked token', 'token:abc', { passwords: true, token_prefix: 'token:' }, 'token'],
    [
      'a marked token, where only passwords are taken',
      'token:abc',
      { passwords: true, token_prefix: 'token:', credential: 'password' },
      'token_disabled',
    ],
    ['a mark and nothing else', 'token:', { passwords: true, token_prefix: 'token:' }, 'malformed_token'],
    ['a password with dots', 'a.b.c', { passwords: true }, 'password'],
    ['a password of three base64 words', 'aGVsbG8.d29ybGQ.Zm9v', { passwords: true }, 'password'],
    [
      'a token with none for a signature algorithm',
      jwt({ alg: 'none' }, claims).replace(/[^.]*$/, 'x'),
      { passwords: true },
      'token',
    ],
    [
      'an encrypted token',
      `${base64url({ alg: 'RSA-OAEP', enc: 'A256GCM' })}.a.b.c.d`,
      { passwords: true },
      'malformed_token',
    ],
    [
      'a JWT whose claims are no JSON',
      `${base64url(header)}.${base64url('nope')}.x`,
      { passwords: true },
      'malformed_token',
    ],
    [
      'a JWT whose claims are a list',
      `${base64url(header)}.${base64url([])}.x`,
      { passwords: true },
      'malformed_token',
    ],
    [
      'a JWT with a claim twice',
      `${base64url(header)}.${base64url('{"sub":"a","s\\u0075b":"b"}')}.x`,
      { passwords: true },
      'malformed_token',
    ],
    [
      'a JWT with a header member twice',
      `${base64url('{"alg":"RS256","alg":"none"}')}.${base64url(claims)}.x`,
      { passwords: true },
      'malformed_token',
    ],
    [
      'a JWT of more than 16 KiB',
      jwt({ ...header, pad: 'x'.repeat(20_000) }, claims),
      { passwords: true },
      'malformed_token',
    ],
    [
      'a JWT with a dot too many, where tokens are taken',
      `${token}.`,
      { credential: 'token' },
      'malformed_token',
    ],
    ['a JWT with padding, where tokens are taken', `${token}=`, { credential: 'token' }, 'malformed_token'],
    ['a JWT with a tail, where passwords are allowed', `${token}~x`, { passwords: true }, 'malformed_token'],
    ['a marked JWT with a dot too many', `token:${token}.`, { token_prefix: 'token:' }, 'malformed_token'],
    [
      'a JWT without a signature',
      `${token.slice(0, token.lastIndexOf('.') + 1)}`,
      { credential: 'token' },
      'malformed_token',
    ],
    ['nothing', '', { passwords: true }, 'malformed'],
    ['a NUL', 'a\0b', { passwords: true }, 'malformed'],
    [
      'a JWT with a header of 100 KB',
      jwt({ ...header, pad: 'x'.repeat(100_000) }, claims),
      {},
      'malformed_token',
    ],
  ];
  for (const [title, secret, settings, kind] of table) {
    it(`that is ${title}: ${kind}`, () => {
      const found = classify(new Secret(secret), { credential: 'auto', passwords: false, ...settings });
      assert.equal('kind' in found ? found.kind : found.reason, kind);
      assert.ok(
        !JSON.stringify(found, (key, value) =>
          key === 'token' || key === 'jwt' ? undefined : value,
        ).includes(secret) || secret === '',
      );
    });
  }
});

describe('a JWT', () => {
  const rules: ClaimRules = {
    issuer: 'https://id.example',
    algorithms: ['RS256'],
    client_id: 'xmpp',
    token_typ: 'lax',
    clock_skew: 30_000,
  };
  type Row = [
    title: string,
    change: { header?: object; claims?: object; rules?: Partial<ClaimRules> },
    reason: string,
  ];
  const table: Row[] = [
    ['that is all right', {}, 'fine'],
    ['with alg none', { header: { alg: 'none' } }, 'alg_not_allowed'],
    ['with alg HS256', { header: { alg: 'HS256' } }, 'alg_not_allowed'],
    ['with alg of another case', { header: { alg: 'rs256' } }, 'alg_not_allowed'],
    ['with an alg that is no text', { header: { alg: ['RS256'] } }, 'alg_not_allowed'],
    ['with crit', { header: { crit: ['exp'] } }, 'header_not_allowed'],
    ['without iss', { claims: { iss: undefined } }, 'iss_mismatch'],
    ['of another issuer', { claims: { iss: 'https://evil.example' } }, 'iss_mismatch'],
    ['of an issuer with one slash more', { claims: { iss: 'https://id.example/' } }, 'iss_mismatch'],
    ['of an issuer that ours is a prefix of', { claims: { iss: 'https://id.example.evil' } }, 'iss_mismatch'],
    [
      'of whatever issuer, when ours is not known',
      { claims: { iss: 'https://x' }, rules: { issuer: undefined } },
      'fine',
    ],
    ['without exp', { claims: { exp: undefined } }, 'malformed_token'],
    ['with exp as text', { claims: { exp: String(seconds + 300) } }, 'malformed_token'],
    ['with exp before all time', { claims: { exp: -1 } }, 'malformed_token'],
    ['expired within the skew', { claims: { exp: seconds - 29 } }, 'fine'],
    ['expired by the skew', { claims: { exp: seconds - 30 } }, 'expired'],
    ['not yet valid, within the skew', { claims: { nbf: seconds + 30 } }, 'fine'],
    ['not yet valid', { claims: { nbf: seconds + 31 } }, 'not_yet_valid'],
    ['issued in the future', { claims: { iat: seconds + 3600 } }, 'not_yet_valid'],
    ['for several, us among them', { claims: { aud: ['other', 'xmpp'] } }, 'fine'],
    ['for others', { claims: { aud: ['other', 'xmpp2'] } }, 'aud_mismatch'],
    ['for nobody', { claims: { aud: undefined } }, 'aud_mismatch'],
    ['for others, obtained by us', { claims: { aud: 'account', client_id: undefined, azp: 'xmpp' } }, 'fine'],
    [
      'for others, obtained by us and somebody else at once',
      { claims: { aud: 'account', client_id: 'evil', azp: 'xmpp' } },
      'aud_mismatch',
    ],
    ['for the one in audience', { claims: { aud: 'chat' }, rules: { audience: ['chat'] } }, 'fine'],
    ['for our client, which audience does not name', { rules: { audience: ['chat'] } }, 'aud_mismatch'],
    ['obtained by an accepted client', { rules: { accepted_clients: ['app'] } }, 'fine'],
    [
      'obtained by a client that is not accepted',
      { claims: { client_id: 'evil' }, rules: { accepted_clients: ['app'] } },
      'client_not_accepted',
    ],
    ['with typ JWT', { header: { typ: 'JWT' } }, 'fine'],
    ['with no typ', { header: { typ: undefined } }, 'fine'],
    ['with typ application/at+jwt', { header: { typ: 'application/at+jwt' } }, 'fine'],
    [
      'with typ JWT, where at+jwt is required',
      { header: { typ: 'JWT' }, rules: { token_typ: 'at+jwt' } },
      'wrong_typ',
    ],
    ...['logout+jwt', 'dpop+jwt', 'secevent+jwt', 'token-introspection+jwt', 'evil'].map(
      (typ): Row => [`with typ ${typ}`, { header: { typ } }, 'wrong_typ'],
    ),
    ['with at_hash', { claims: { at_hash: 'x' } }, 'id_token'],
    ['with c_hash', { claims: { c_hash: 'x' } }, 'id_token'],
    ['with nonce', { claims: { nonce: 'x' } }, 'id_token'],
    ['with nonce that says it is a bearer token', { claims: { nonce: 'x', typ: 'Bearer' } }, 'fine'],
    ['that says it is an ID token', { claims: { typ: 'ID' } }, 'id_token'],
    ['that says it is a refresh token', { claims: { typ: 'Refresh' } }, 'id_token'],
    ['that says it is an offline token', { claims: { typ: 'Offline' } }, 'id_token'],
    ['used as id', { claims: { token_use: 'id' } }, 'id_token'],
    ['with events', { claims: { events: {} } }, 'id_token'],
    ['of a client about itself', { claims: { sub: 'app' } }, 'not_a_user'],
    [
      'of a Keycloak service account',
      { claims: { preferred_username: 'service-account-app' } },
      'not_a_user',
    ],
    ['bound to a key', { claims: { cnf: { jkt: 'x' } } }, 'sender_constrained'],
  ];
  for (const [title, change, reason] of table) {
    it(`${title}: ${reason}`, () => {
      const token = readJwt(jwt({ ...header, ...change.header }, { ...claims, ...change.claims }));
      assert.ok(token);
      const own = { ...rules, ...change.rules };
      const verdict = judgeHeader(token, own) ?? judgeIssuer(token, own) ?? judgeClaims(token, own, NOW);
      assert.equal(verdict?.reason ?? 'fine', reason);
    });
  }
});
