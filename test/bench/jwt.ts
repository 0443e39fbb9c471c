// Makes what an issuer makes: a key, its JWK Set, and tokens like Keycloak's, of which each is another.
import { execFileSync } from 'node:child_process';
import { createHash, generateKeyPairSync, type KeyObject, randomBytes, randomUUID, sign } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { CLIENT, temporaryPath } from './program.ts';

export type Algorithm = 'RS256' | 'ES256';

export const ISSUER = 'http://127.0.0.1:9/realms/xmpp';

/** Long enough for a run of everything. */
const LIFETIME = 24 * 3600;

export interface Key {
  readonly jwks: { readonly keys: readonly object[] };
  /** The same in a file. */
  readonly jwksFile: string;
  /** One access token, another one each time. With few claims it has 770 bytes. */
  accessToken(user: string, issuer?: string): string;
  /** One ID token of alice, another one each time, given out together with `accessToken`. */
  idToken(accessToken: string): string;
}

export function createKey(algorithm: Algorithm): Key {
  const { publicKey, privateKey } = keyPair(algorithm);
  const kid = randomBytes(32).toString('base64url');
  const jwks = { keys: [{ kid, use: 'sig', alg: algorithm, ...publicKey.export({ format: 'jwk' }) }] };
  const jwksFile = temporaryPath('jwks.json');
  writeFileSync(jwksFile, JSON.stringify(jwks));
  const header = encode({ alg: algorithm, typ: 'JWT', kid });
  const signed = (claims: object): string => {
    const text = `${header}.${encode(claims)}`;
    const key = { key: privateKey, dsaEncoding: 'ieee-p1363' } as const;
    return `${text}.${sign('sha256', Buffer.from(text), key).toString('base64url')}`;
  };
  return {
    jwks,
    jwksFile,
    accessToken: (user, issuer = ISSUER) =>
      signed({
        ...times(),
        jti: randomBytes(16).toString('base64url'),
        iss: issuer,
        aud: CLIENT.client_id,
        sub: randomUUID(),
        typ: 'Bearer',
        azp: CLIENT.client_id,
        scope: 'openid',
        preferred_username: user,
      }),
    idToken: (accessToken) =>
      signed({
        ...times(),
        jti: randomBytes(16).toString('base64url'),
        iss: ISSUER,
        aud: CLIENT.client_id,
        sub: 'a1',
        typ: 'ID',
        azp: CLIENT.client_id,
        at_hash: createHash('sha256').update(accessToken).digest().subarray(0, 16).toString('base64url'),
        preferred_username: 'alice',
      }),
  };
}

function keyPair(algorithm: Algorithm): { publicKey: KeyObject; privateKey: KeyObject } {
  switch (algorithm) {
    case 'RS256':
      return generateKeyPairSync('rsa', { modulusLength: 2048 });
    case 'ES256':
      return generateKeyPairSync('ec', { namedCurve: 'P-256' });
  }
}

function times(): { exp: number; iat: number } {
  const now = Math.floor(Date.now() / 1000);
  return { exp: now + LIFETIME, iat: now };
}

const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');

/** OpenSSL's own speed on this processor: signatures verified a second, by the clock, as ours are. */
export function opensslVerifies(algorithm: Algorithm): number {
  const test = { RS256: 'rsa2048', ES256: 'ecdsap256' }[algorithm];
  const printed = execFileSync('openssl', ['speed', '-elapsed', '-seconds', '1', test], {
    encoding: 'latin1',
    stdio: 'pipe',
  });
  // A line of column names, then the values below them; newer versions have more columns.
  const [names = [], values = []] = printed
    .trimEnd()
    .split('\n')
    .slice(-2)
    .map((line) => line.trim().split(/\s+/));
  const rate = Number(values.at(names.indexOf('verify/s') - names.length));
  if (!(rate > 0)) throw new Error(`openssl speed printed: ${printed}`);
  return rate;
}
