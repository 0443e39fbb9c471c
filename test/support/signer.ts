// Keys and tokens for tests: well-made by jose, or forged by hand. Nothing of it comes from src/.
import {
  constants,
  createHmac,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  sign as rawSign,
} from 'node:crypto';
import { CompactSign } from 'jose';

export type Json = Record<string, unknown>;

export interface Signer {
  readonly alg: string;
  readonly kid: string;
  /** The public key as a member of a key set. */
  readonly jwk: Json;
  readonly privateKey: KeyObject;
  /** A JWT as a good provider makes it. What is `undefined` in header or claims is left out. */
  token(claims: Json, header?: Json): Promise<string>;
  /** A JWT with this header and these claims, to the letter, signed with this key whatever the header says. */
  forge(claims: string | Json, header: string | Json): string;
}

const KINDS: Readonly<Record<string, () => KeyObject>> = {
  RS: () => generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey,
  ES256: () => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey,
  ES384: () => generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey,
  ES512: () => generateKeyPairSync('ec', { namedCurve: 'P-521' }).privateKey,
  Ed: () => generateKeyPairSync('ed25519').privateKey,
};

export function createSigner(alg: string, kid = `key-${alg}`, key?: KeyObject): Signer {
  const kind = /^[RP]S/.test(alg) ? 'RS' : alg.startsWith('Ed') ? 'Ed' : alg;
  const privateKey = key ?? (KINDS[kind] as () => KeyObject)();
  const jwk = { ...createPublicKey(privateKey).export({ format: 'jwk' }), kid, alg, use: 'sig' };
  return {
    alg,
    kid,
    jwk,
    privateKey,
    token: (claims, header = {}) =>
      new CompactSign(Buffer.from(JSON.stringify(claims)))
        .setProtectedHeader(withoutUndefined({ alg, kid, typ: 'at+jwt', ...header }) as { alg: string })
        .sign(privateKey),
    forge(claims, header) {
      const signed = `${encode(header)}.${encode(claims)}`;
      return `${signed}.${signatureOf(signed, alg, privateKey).toString('base64url')}`;
    },
  };
}

export function signatureOf(signed: string, alg: string, key: KeyObject): Buffer {
  const pss = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST };
  const hash = alg.startsWith('Ed') ? null : `sha${alg.slice(2)}`;
  return rawSign(hash, Buffer.from(signed), {
    key,
    dsaEncoding: 'ieee-p1363',
    ...(alg.startsWith('PS') ? pss : {}),
  });
}

/** Signed as HS256 would be, with whatever bytes. */
export function symmetric(claims: Json, header: Json, secret: string | Buffer): string {
  const signed = `${encode({ alg: 'HS256', typ: 'at+jwt', ...header })}.${encode(claims)}`;
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`;
}

export function encode(part: string | Json): string {
  return Buffer.from(typeof part === 'string' ? part : JSON.stringify(part)).toString('base64url');
}

function withoutUndefined(object: Json): Json {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined));
}
