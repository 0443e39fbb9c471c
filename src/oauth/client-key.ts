// The private key of our client, and the assertions it signs (RFC 7523 section 3, OpenID Connect Core section 9).
import type { KeyObject } from 'node:crypto';
import { member, parseJsonObject } from './json.ts';

export interface ClientKey {
  readonly key: KeyObject;
  readonly alg: 'RS256' | 'PS256' | 'ES256' | 'ES384' | 'ES512' | 'EdDSA';
  readonly kid: string | undefined;
}

/** Long enough for clocks that differ, too short to be worth stealing. */
const ASSERTION_LIFETIME = 60;

/** Reads a private key, PEM or JWK. `kid` wins over the JWK's own. Throws an Error that says what is wrong, never what it read. */
export function readClientKey(text: string, kid: string | undefined): ClientKey {
  const { createPrivateKey } = process.getBuiltinModule('node:crypto');
  const jwk = text.trimStart().startsWith('{') ? parseJsonObject(text) : undefined;
  let key: KeyObject;
  try {
    key = createPrivateKey(
      jwk?.kind === 'object' ? { key: jwk.value as Record<string, string>, format: 'jwk' } : text,
    );
  } catch {
    // The library's message may quote the file.
    throw new Error('holds no private key: PEM without a passphrase, or a JWK');
  }
  const named = jwk?.kind === 'object' ? member(jwk.value, 'kid') : undefined;
  const declared = jwk?.kind === 'object' ? member(jwk.value, 'alg') : undefined;
  return {
    key,
    alg: algorithmOf(key, declared),
    kid: kid ?? (typeof named === 'string' ? named : undefined),
  };
}

function algorithmOf(key: KeyObject, declared: unknown): ClientKey['alg'] {
  const { modulusLength = 0, namedCurve } = key.asymmetricKeyDetails ?? {};
  switch (key.asymmetricKeyType) {
    case 'rsa':
      if (modulusLength < 2048) throw new Error('holds an RSA key of less than 2048 bits');
      return declared === 'PS256' ? 'PS256' : 'RS256';
    case 'ec':
      if (namedCurve === 'prime256v1') return 'ES256';
      if (namedCurve === 'secp384r1') return 'ES384';
      if (namedCurve === 'secp521r1') return 'ES512';
      break;
    case 'ed25519':
      return 'EdDSA';
    default:
  }
  throw new Error('holds a key of a kind that is not used here: RSA, P-256, P-384, P-521 or Ed25519');
}

/** A JWT that says: this is `clientId`, now, to `audience`. `now` in milliseconds of the wall clock. */
export function signAssertion(
  { key, alg, kid }: ClientKey,
  { clientId, audience, now }: { clientId: string; audience: string; now: number },
): string {
  const { constants, randomUUID, sign } = process.getBuiltinModule('node:crypto');
  const iat = Math.floor(now / 1000);
  const header = { alg, typ: 'JWT', ...(kid === undefined ? {} : { kid }) };
  const claims = {
    iss: clientId,
    sub: clientId,
    aud: audience,
    jti: randomUUID(),
    iat,
    exp: iat + ASSERTION_LIFETIME,
  };
  const encode = (part: object): string => Buffer.from(JSON.stringify(part)).toString('base64url');
  const signed = `${encode(header)}.${encode(claims)}`;
  const hash = alg === 'EdDSA' ? undefined : `sha${alg.slice(2)}`;
  const padding =
    alg === 'PS256'
      ? { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST }
      : {};
  const signature = sign(hash, Buffer.from(signed), { key, dsaEncoding: 'ieee-p1363', ...padding });
  return `${signed}.${signature.toString('base64url')}`;
}
