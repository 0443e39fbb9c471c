// Every check of a token, in the whole line from the settings to the verdict: a valid token, then the one thing wrong.
import assert from 'node:assert/strict';
import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { createDirectory, createJudge, createProvider } from '../src/auth/index.ts';
import { loadConfig } from '../src/config/load.ts';
import { judgeLogin } from '../src/judge.ts';
import { Secret, type Verdict } from '../src/verdict.ts';
import { temporaryFolder, writeConfig } from './support/bridge.ts';
import { createSigner, encode, type Json, type Signer, symmetric } from './support/signer.ts';

const issuer = 'https://id.example/realms/a';
const NOW = 1_800_000_000_000;
const seconds = NOW / 1000;

const rsa = createSigner('RS256', 'rsa');
const signers: Record<string, Signer> = Object.fromEntries(
  ['PS256', 'ES256', 'EdDSA', 'RS384', 'ES384'].map((alg) => [alg, createSigner(alg)]),
);
/** Of another realm of the same server, which by bad luck has the same key id. */
const otherRealm = createSigner('RS256', 'rsa');
const weak = createSigner('RS256', 'weak', generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey);

const keys = [
  rsa.jwk,
  ...Object.values(signers).map(({ jwk }) => jwk),
  weak.jwk,
  { ...rsa.jwk, kid: 'for-encryption', use: 'enc' },
  { ...rsa.jwk, kid: 'for-signing-only', use: undefined, key_ops: ['sign'] },
  { ...rsa.jwk, kid: 'of-another-alg', alg: 'PS256' },
  { ...rsa.jwk, kid: 'says-nothing', alg: undefined, use: undefined },
  { kty: 'oct', kid: 'symmetric', k: 'c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0' },
  { kty: 'RSA', kid: 'broken', n: '!', e: 'AQAB' },
];
const jwks = join(temporaryFolder(), 'jwks.json');
writeFileSync(jwks, JSON.stringify({ keys }));

const claims = {
  iss: issuer,
  sub: 'f3b2',
  aud: 'account',
  azp: 'xmpp',
  exp: seconds + 300,
  iat: seconds - 10,
  jti: '1',
  scope: 'openid profile xmpp',
  preferred_username: 'alice',
  groups: ['staff', 'xmpp-users'],
  realm_access: { roles: ['chat', 'admin'] },
  level: 3,
};

/** The verdict on `secret` as alice's at chat.example, by these settings and no network. */
async function judge(secret: string, options: Json = {}, user = 'alice'): Promise<Verdict> {
  const base = { issuer, jwks_file: jwks, client_id: 'xmpp', validation: 'jwt' };
  const { hosts } = loadConfig({ config: writeConfig({ ...base, ...options }), env: {} });
  const settings = hosts[0];
  assert.ok(settings);
  const directory = createDirectory({ now: () => performance.now() });
  const [first, ...others] = settings.providers.map((provider) =>
    createProvider({ settings: provider, directory, wallClock: () => NOW }),
  );
  assert.ok(first);
  const providers = [first, ...others] as const;
  const line = createJudge({ settings, providers, afterwards: () => {}, wallClock: () => NOW });
  const credentials = {
    localpart: user,
    authcid: user,
    host: 'chat.example',
    secret: new Secret(secret),
    isBearer: false,
  };
  const onInternalError = (name: string, where: string | undefined): void => assert.fail(`${name} ${where}`);
  const clock = { deadlineAt: performance.now() + 5000, now: () => performance.now(), onInternalError };
  const verdict = await judgeLogin({ ...line, atOnce: () => undefined }, credentials, clock);
  // The short way says nothing else. (Strange key ids and bad signatures it leaves to the long one.)
  const atOnce = await judgeLogin(line, credentials, clock);
  assert.deepEqual(atOnce, verdict);
  for (const provider of providers) provider.close();
  directory.close();
  return verdict;
}

async function reason(secret: string, options: Json = {}, user?: string): Promise<string> {
  const verdict = await judge(secret, options, user);
  return verdict.outcome === 'accepted' ? 'accepted' : verdict.reason;
}

interface Row {
  readonly title: string;
  readonly header?: Json;
  readonly claims?: Json;
  readonly options?: Json;
  readonly signer?: Signer;
  /** jose does not make such a token. */
  readonly byHand?: true;
  readonly expected: string;
}

function row(title: string, expected: string, rest: Omit<Row, 'title' | 'expected'> = {}): Row {
  return { title, expected, ...rest };
}

describe('a JWT judged by the keys of its issuer', () => {
  const rows: Row[] = [
    row('that is all right', 'accepted'),
    // 1: alg
    ...Object.entries(signers).map(([alg, signer]) =>
      row(`signed with ${alg}`, ['RS384', 'ES384'].includes(alg) ? 'alg_not_allowed' : 'accepted', {
        signer,
      }),
    ),
    row('signed with RS384, which algorithms names', 'accepted', {
      signer: signers.RS384 as Signer,
      options: { algorithms: ['RS384'] },
    }),
    row('signed with RS256, which algorithms does not name', 'alg_not_allowed', {
      options: { algorithms: ['ES256'] },
    }),
    // 2: header
    row('with crit', 'header_not_allowed', { byHand: true, header: { crit: ['exp'], exp: 1 } }),
    row('with jku, x5u and jwk, which are not looked at', 'accepted', {
      header: { jku: 'https://evil.example/keys', x5u: 'https://evil.example/c', jwk: otherRealm.jwk },
    }),
    // 3: kid
    row('with a kid of 257 characters', 'kid_invalid', { header: { kid: 'k'.repeat(257) } }),
    row('with a kid that is a number', 'kid_invalid', { header: { kid: 7 } }),
    row('with a kid that is a path', 'kid_unknown', { header: { kid: '../../../etc/passwd' } }),
    row('with a kid that is SQL', 'kid_unknown', { header: { kid: "rsa' OR '1'='1" } }),
    row('with a kid that is a prototype', 'kid_unknown', { header: { kid: '__proto__' } }),
    row('with an empty kid', 'kid_unknown', { header: { kid: '' } }),
    row('without a kid', 'accepted', { header: { kid: undefined } }),
    // 4: the key
    row('of a key for encryption', 'key_mismatch', { header: { kid: 'for-encryption' } }),
    row('of a key whose key_ops do not have verify', 'key_mismatch', { header: { kid: 'for-signing-only' } }),
    row('of a key for another alg', 'key_mismatch', { header: { kid: 'of-another-alg' } }),
    row('of a key that says neither use nor alg', 'accepted', { header: { kid: 'says-nothing' } }),
    row('of a symmetric key', 'key_mismatch', { header: { kid: 'symmetric' } }),
    row('of a key that is broken', 'key_mismatch', { header: { kid: 'broken' } }),
    row('of an EC key', 'key_mismatch', { header: { kid: 'key-ES256' } }),
    row('of an RSA key of 1024 bits', 'key_mismatch', { byHand: true, signer: weak }),
    // 5: kid unknown
    row('of a key that the set does not have', 'kid_unknown', { header: { kid: 'new' } }),
    // 6: signature
    row('of another realm that says it is of ours', 'bad_signature', { signer: otherRealm }),
    // 7: iss
    row('of another realm with the same key id', 'iss_mismatch', {
      signer: otherRealm,
      claims: { iss: 'https://id.example/realms/b' },
    }),
    row('without iss', 'iss_mismatch', { claims: { iss: undefined } }),
    row('with iss in a list', 'iss_mismatch', { claims: { iss: [issuer] } }),
    row('with a slash after iss', 'iss_mismatch', { claims: { iss: `${issuer}/` } }),
    row('with iss in capitals', 'iss_mismatch', { claims: { iss: issuer.toUpperCase() } }),
    row('whose iss ours is the beginning of', 'iss_mismatch', { claims: { iss: `${issuer}b` } }),
    // 8: time
    row('without exp', 'malformed_token', { claims: { exp: undefined } }),
    row('with exp as text', 'malformed_token', { claims: { exp: String(seconds + 300) } }),
    row('that expired within the skew', 'accepted', { claims: { exp: seconds - 29 } }),
    row('that expired', 'expired', { claims: { exp: seconds - 30 } }),
    row('that expired, without skew', 'expired', { claims: { exp: seconds }, options: { clock_skew: 0 } }),
    row('not valid before later', 'not_yet_valid', { claims: { nbf: seconds + 31 } }),
    row('issued in the future', 'not_yet_valid', { claims: { iat: seconds + 31 } }),
    row('with nbf as text', 'malformed_token', { claims: { nbf: 'now' } }),
    row('older than max_token_age', 'expired', {
      claims: { iat: seconds - 91 },
      options: { max_token_age: '1m' },
    }),
    row('younger than max_token_age', 'accepted', {
      claims: { iat: seconds - 59 },
      options: { max_token_age: '1m' },
    }),
    row('without iat, where max_token_age is set', 'malformed_token', {
      claims: { iat: undefined },
      options: { max_token_age: '1m' },
    }),
    // 9: audience
    row('obtained by another client', 'aud_mismatch', { claims: { azp: 'evil' } }),
    row('for another audience', 'aud_mismatch', { claims: { azp: undefined, aud: ['evil', 'xmpp2'] } }),
    row('for nobody', 'aud_mismatch', { claims: { azp: undefined, aud: undefined } }),
    row('for us among others', 'accepted', { claims: { azp: 'evil', aud: ['evil', 'xmpp'] } }),
    row('for the audience that is set', 'accepted', { options: { audience: 'account' } }),
    row('for us, where another audience is set', 'aud_mismatch', {
      claims: { aud: 'xmpp' },
      options: { audience: 'chat' },
    }),
    row('obtained by an accepted client', 'accepted', {
      claims: { azp: 'app' },
      options: { accepted_clients: ['app'] },
    }),
    row('obtained by us, where other clients are accepted', 'client_not_accepted', {
      options: { accepted_clients: ['app'] },
    }),
    row('obtained by our client at Okta', 'accepted', { claims: { azp: undefined, cid: 'xmpp' } }),
    row('obtained by another client at Okta', 'aud_mismatch', { claims: { azp: undefined, cid: 'evil' } }),
    row('whose azp and client_id differ', 'aud_mismatch', { claims: { client_id: 'evil' } }),
    // 10: typ
    row('with typ JWT', 'accepted', { header: { typ: 'JWT' } }),
    row('without typ', 'accepted', { header: { typ: undefined } }),
    row('with typ application/at+jwt', 'accepted', { header: { typ: 'application/at+jwt' } }),
    row('with typ JWT, where at+jwt is wanted', 'wrong_typ', {
      header: { typ: 'JWT' },
      options: { token_typ: 'at+jwt' },
    }),
    ...['logout+jwt', 'dpop+jwt', 'secevent+jwt', 'token-introspection+jwt', 'JOSE', 5].map((typ) =>
      row(`with typ ${typ}`, 'wrong_typ', { header: { typ } }),
    ),
    // 11: what it is
    row('with at_hash', 'id_token', { claims: { at_hash: 'x' } }),
    row('with c_hash', 'id_token', { claims: { c_hash: 'x' } }),
    row('with s_hash', 'id_token', { claims: { s_hash: 'x' } }),
    row('with nonce', 'id_token', { claims: { nonce: 'n' } }),
    row('with nonce, of an older Keycloak', 'accepted', { claims: { nonce: 'n', typ: 'Bearer' } }),
    row('that says it is an ID token', 'id_token', { claims: { typ: 'ID' } }),
    row('that says it is a refresh token', 'id_token', { claims: { typ: 'Refresh' } }),
    row('that says it is an offline token', 'id_token', { claims: { typ: 'Offline' } }),
    row('that says it is a logout token', 'id_token', { claims: { typ: 'Logout' } }),
    row('to be used as id', 'id_token', { claims: { token_use: 'id' } }),
    row('to be used as refresh_token, of Ory Hydra', 'id_token', { claims: { token_use: 'refresh_token' } }),
    row('to be used as access', 'accepted', { claims: { token_use: 'access' } }),
    row('with events', 'id_token', { claims: { events: {} } }),
    row("that is a client's own", 'not_a_user', { claims: { sub: 'xmpp' } }),
    row("that is another client's own", 'not_a_user', {
      claims: { sub: 'app', client_id: 'app', aud: 'xmpp' },
    }),
    row("that is a client's own at Okta", 'not_a_user', {
      claims: { sub: 'xmpp', azp: undefined, cid: 'xmpp' },
    }),
    row("that is a client's own at Auth0", 'not_a_user', { claims: { gty: 'client-credentials' } }),
    row('of a service account', 'not_a_user', { claims: { preferred_username: 'service-account-xmpp' } }),
    // 12: bound to a key
    row('bound by DPoP', 'sender_constrained', { claims: { cnf: { jkt: 'x' } } }),
    row('bound to a certificate', 'sender_constrained', { claims: { cnf: { 'x5t#S256': 'x' } } }),
    // 13: scopes and rules
    row('with the scope', 'accepted', { options: { required_scopes: ['xmpp', 'openid'] } }),
    row('without the scope', 'scope_missing', { options: { required_scopes: 'xmp' } }),
    row('with the scope in a list', 'accepted', {
      claims: { scope: ['xmpp'] },
      options: { required_scopes: 'xmpp' },
    }),
    row('with the scope in scp', 'accepted', {
      claims: { scope: undefined, scp: ['xmpp'] },
      options: { required_scopes: 'xmpp' },
    }),
    row('with scopes that are no text', 'scope_missing', {
      claims: { scope: { xmpp: true } },
      options: { required_scopes: 'xmpp' },
    }),
    row('with the claim', 'accepted', { options: { require: { azp: 'xmpp' } } }),
    row('with the claim of another value', 'rule_failed', { options: { require: { azp: ['app', 'xmp'] } } }),
    row('with a number', 'accepted', { options: { require: { level: [2, 3] } } }),
    row('with a number, where text is wanted', 'rule_failed', { options: { require: { level: '3' } } }),
    row('with the group in a list', 'accepted', { options: { require: { groups: ['xmpp-users', 'x'] } } }),
    row('without the group', 'rule_failed', { options: { require: { groups: 'xmpp' } } }),
    row('with the role further inside', 'accepted', {
      options: { require: { 'realm_access.roles': 'chat' } },
    }),
    row('without the role further inside', 'rule_failed', {
      options: { require: { 'realm_access.roles': 'root' } },
    }),
    row('with one of two claims', 'rule_failed', { options: { require: { azp: 'xmpp', acr: '2' } } }),
    row('without the claim', 'rule_failed', { options: { require: { acr: '2' } } }),
    row('with the claim in a prototype only', 'rule_failed', {
      options: { require: { 'constructor.name': 'Object' } },
    }),
    // 14: who
    row('of somebody else', 'user_mismatch', { claims: { preferred_username: 'bob' } }),
    row('of nobody', 'username_missing', { claims: { preferred_username: undefined } }),
    // 15: odd JSON
    row('whose name is a list', 'username_invalid', { claims: { preferred_username: ['alice'] } }),
    row('whose name is an object', 'username_invalid', { claims: { preferred_username: { alice: 1 } } }),
    row('whose sub is a number', 'username_invalid', { claims: { sub: 5 } }),
  ];
  for (const { title, header, claims: changed, options, signer = rsa, byHand, expected } of rows) {
    it(`${title}: ${expected}`, async () => {
      const said = { ...claims, ...changed };
      const token = byHand
        ? signer.forge(said, { alg: signer.alg, kid: signer.kid, typ: 'at+jwt', ...header })
        : await signer.token(said, header);
      const verdict = await judge(token, options);
      const found = verdict.outcome === 'accepted' ? 'accepted' : verdict.reason;
      assert.equal(found, expected, JSON.stringify(verdict));
      if (verdict.outcome !== 'unavailable') assert.equal(verdict.method, 'jwt');
    });
  }

  it('is good for its owner alone', async () => {
    const token = await rsa.token(claims);
    for (const user of ['bob', 'alice2', 'alic', 'ALICE', 'alice\\20']) {
      assert.equal(await reason(token, {}, user), 'user_mismatch');
    }
  });

  it('is not looked for anywhere else when it is no JWT', async () => {
    assert.equal(await reason('opaque', { credential: 'token' }), 'malformed_token');
  });
});

describe('a forged token', () => {
  const header = { alg: 'RS256', kid: 'rsa', typ: 'at+jwt' };
  const zero = (bytes: number): string => Buffer.alloc(bytes).toString('base64url');
  const es = signers.ES256 as Signer;
  const forged: [title: string, token: () => string | Promise<string>, expected: string][] = [
    [
      'with alg none and no signature',
      () => `${encode({ alg: 'none' })}.${encode(claims)}.`,
      'alg_not_allowed',
    ],
    [
      'with alg none and a signature',
      () => `${encode({ alg: 'none', kid: 'rsa' })}.${encode(claims)}.AAAA`,
      'alg_not_allowed',
    ],
    ['with alg None', () => rsa.forge(claims, { ...header, alg: 'None' }), 'alg_not_allowed'],
    ['with no alg', () => rsa.forge(claims, { kid: 'rsa', typ: 'at+jwt' }), 'password_disabled'],
    [
      'with the public key as HMAC secret, PEM',
      () => symmetric(claims, { kid: 'rsa' }, publicPem()),
      'alg_not_allowed',
    ],
    [
      'with the public key as HMAC secret, JWK',
      () => symmetric(claims, { kid: 'rsa' }, JSON.stringify(rsa.jwk)),
      'alg_not_allowed',
    ],
    [
      'with the public key as HMAC secret that says RS256',
      () => symmetric(claims, { ...header }, publicPem()),
      'bad_signature',
    ],
    [
      'with the published symmetric key',
      () => symmetric(claims, { kid: 'symmetric' }, 'secret-secret-secret-secret'),
      'alg_not_allowed',
    ],
    [
      'that brings its own key',
      () => otherRealm.forge(claims, { ...header, jwk: otherRealm.jwk }),
      'bad_signature',
    ],
    [
      'that says where its key is',
      () => otherRealm.forge(claims, { ...header, kid: 'evil', jku: 'http://127.0.0.1:9/jwks' }),
      'kid_unknown',
    ],
    [
      'with an unknown critical header',
      () => rsa.forge(claims, { ...header, crit: ['x'], x: 1 }),
      'header_not_allowed',
    ],
    ['with an empty crit', () => rsa.forge(claims, { ...header, crit: [] }), 'header_not_allowed'],
    [
      'with an unencoded payload (RFC 7797)',
      () => rsa.forge(claims, { ...header, crit: ['b64'], b64: false }),
      'header_not_allowed',
    ],
    [
      'with a claim twice',
      () => rsa.forge(JSON.stringify(claims).replace('{', '{"preferred_username":"bob",'), header),
      'malformed_token',
    ],
    [
      'with a claim twice, once escaped',
      () => rsa.forge(JSON.stringify(claims).replace('{', '{"s\\u0075b":"x",'), header),
      'malformed_token',
    ],
    [
      'with a header member twice',
      () => rsa.forge(claims, '{"alg":"RS256","kid":"rsa","typ":"at+jwt","alg":"RS256"}'),
      'malformed_token',
    ],
    [
      'with a claim in its prototype',
      () =>
        rsa.forge(
          JSON.stringify({ ...claims, preferred_username: undefined }).replace(
            '{',
            '{"__proto__":{"preferred_username":"alice"},',
          ),
          header,
        ),
      'username_missing',
    ],
    [
      'that is encrypted',
      () => `${encode({ alg: 'RSA-OAEP', enc: 'A256GCM' })}.AAAA.AAAA.AAAA.AAAA`,
      'malformed_token',
    ],
    [
      'with a psychic signature (all zero)',
      () => `${encode({ ...header, alg: 'ES256', kid: es.kid })}.${encode(claims)}.${zero(64)}`,
      'bad_signature',
    ],
    [
      'with a psychic signature of another length',
      () => `${encode({ ...header, alg: 'ES256', kid: es.kid })}.${encode(claims)}.${zero(8)}`,
      'bad_signature',
    ],
    [
      'with an all-zero EdDSA signature',
      () => `${encode({ ...header, alg: 'EdDSA', kid: 'key-EdDSA' })}.${encode(claims)}.${zero(64)}`,
      'bad_signature',
    ],
    [
      'with an ECDSA signature in DER',
      async () => {
        const [head, body, signature = ''] = (await es.token(claims)).split('.');
        return `${head}.${body}.${Buffer.concat([Buffer.from('3044', 'hex'), Buffer.from(signature, 'base64url')]).toString('base64url')}`;
      },
      'bad_signature',
    ],
    [
      'with the signature of another token',
      async () => {
        const [head, , signature] = (await rsa.token({ ...claims, preferred_username: 'bob' })).split('.');
        return `${head}.${encode(claims)}.${signature}`;
      },
      'bad_signature',
    ],
    [
      'whose last character has unused bits set',
      async () => {
        const token = await rsa.token(claims);
        const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
        return token.slice(0, -1) + alphabet[alphabet.indexOf(token.at(-1) ?? '') + 1];
      },
      'malformed_token',
    ],
    ['with a dot more', async () => `${await rsa.token(claims)}.`, 'malformed_token'],
    ['with padding', async () => `${await rsa.token(claims)}==`, 'malformed_token'],
    ['with a tail that some servers ignore', async () => `${await rsa.token(claims)}~x`, 'malformed_token'],
    [
      'with a header of 100 KB',
      () => rsa.forge(claims, { ...header, pad: 'x'.repeat(100_000) }),
      'malformed_token',
    ],
    ['with claims that are a list', () => rsa.forge('[]', header), 'malformed_token'],
    ['with claims that are null', () => rsa.forge('null', header), 'malformed_token'],
    ['with claims that are no JSON', () => rsa.forge('{"iss":', header), 'malformed_token'],
  ];
  for (const [title, token, expected] of forged) {
    it(`${title}: ${expected}`, async () => assert.equal(await reason(await token()), expected));
  }

  function publicPem(): string {
    return String(createPublicKey(rsa.privateKey).export({ type: 'spki', format: 'pem' }));
  }
});

describe('several providers of one virtual host', () => {
  const otherIssuer = 'https://other.example';
  const other = createSigner('RS256', 'rsa');
  const otherKeys = join(temporaryFolder(), 'other.json');
  writeFileSync(otherKeys, JSON.stringify({ keys: [other.jwk] }));
  const options = {
    issuer: undefined,
    jwks_file: undefined,
    client_id: undefined,
    providers: [
      { issuer, jwks_file: jwks, client_id: 'xmpp' },
      { issuer: otherIssuer, jwks_file: otherKeys, client_id: 'chat', username_field: 'nick' },
    ],
  };
  const rows: [title: string, signer: Signer, changed: Json, expected: string][] = [
    ['of the first', rsa, {}, 'accepted'],
    ['of the second', other, { iss: otherIssuer, azp: 'chat', nick: 'alice' }, 'accepted'],
    [
      "of the second, with the first one's name claim",
      other,
      { iss: otherIssuer, azp: 'chat' },
      'username_missing',
    ],
    [
      "of the second, made for the first one's client",
      other,
      { iss: otherIssuer, nick: 'alice' },
      'aud_mismatch',
    ],
    ['of the first, signed by the second', other, {}, 'bad_signature'],
    [
      'of the second, signed by the first',
      rsa,
      { iss: otherIssuer, azp: 'chat', nick: 'alice' },
      'bad_signature',
    ],
    ['of neither', rsa, { iss: 'https://evil.example' }, 'iss_mismatch'],
    ['of nobody', rsa, { iss: undefined }, 'iss_mismatch'],
  ];
  for (const [title, signer, changed, expected] of rows) {
    it(`take a token ${title}: ${expected}`, async () => {
      assert.equal(await reason(await signer.token({ ...claims, ...changed }), options), expected);
    });
  }
});
