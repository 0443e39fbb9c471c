// JSON Web Keys (RFC 7517) and the signatures they check (RFC 7515, RFC 7518 section 3, RFC 8037). node:crypto does it
// synchronously: in a conversation of one request at a time there is nothing to overlap with, and a hop to the thread
// pool and back costs more than the check. test/signature.test.ts holds this file to jose's judgement.
import type { KeyObject, VerifyKeyObjectInput } from 'node:crypto';
import { type JsonObject, member } from './json.ts';
import { type Jwt, MAX_TOKEN } from './jwt.ts';

interface Algorithm {
  readonly kty: 'RSA' | 'EC' | 'OKP';
  /** Name of the only curve. */
  readonly crv?: string;
  readonly hash: 'sha256' | 'sha384' | 'sha512' | undefined;
  readonly pss?: true;
}

/** RFC 8725 section 3.1: asymmetric signatures only, so that no reader's public key can be somebody's secret. */
const ALGORITHMS: Readonly<Record<string, Algorithm>> = {
  RS256: { kty: 'RSA', hash: 'sha256' },
  RS384: { kty: 'RSA', hash: 'sha384' },
  RS512: { kty: 'RSA', hash: 'sha512' },
  PS256: { kty: 'RSA', hash: 'sha256', pss: true },
  PS384: { kty: 'RSA', hash: 'sha384', pss: true },
  PS512: { kty: 'RSA', hash: 'sha512', pss: true },
  ES256: { kty: 'EC', crv: 'P-256', hash: 'sha256' },
  ES384: { kty: 'EC', crv: 'P-384', hash: 'sha384' },
  ES512: { kty: 'EC', crv: 'P-521', hash: 'sha512' },
  EdDSA: { kty: 'OKP', crv: 'Ed25519', hash: undefined },
  Ed25519: { kty: 'OKP', crv: 'Ed25519', hash: undefined },
};

export const algorithms: readonly string[] = Object.keys(ALGORITHMS);

/** RFC 7518 section 3.3. */
const LEAST_RSA_BITS = 2048;

/** One member of a key set. What it says of itself is looked at when a token names it. */
export interface Jwk {
  readonly kid: string | undefined;
  /** The key, if tokens with this `alg` may be checked with it. */
  keyFor(alg: string): KeyObject | undefined;
}

/** The keys of a JWK Set; `undefined` when it is none. Broken and foreign keys are in it, and suit no algorithm. */
export function readJwkSet(document: JsonObject): readonly Jwk[] | undefined {
  const keys = member(document, 'keys');
  if (!Array.isArray(keys)) return undefined;
  return keys
    .filter((key): key is JsonObject => typeof key === 'object' && key !== null && !Array.isArray(key))
    .map(readJwk);
}

function readJwk(jwk: JsonObject): Jwk {
  const kid = member(jwk, 'kid');
  const declared = member(jwk, 'alg');
  const operations = member(jwk, 'key_ops');
  const forSignatures =
    [undefined, 'sig'].includes(member(jwk, 'use') as undefined) &&
    (operations === undefined || (Array.isArray(operations) && operations.includes('verify')));
  let imported: KeyObject | undefined;
  let tried = false;

  return {
    kid: typeof kid === 'string' ? kid : undefined,
    keyFor(alg) {
      const algorithm = Object.hasOwn(ALGORITHMS, alg) ? ALGORITHMS[alg] : undefined;
      if (
        algorithm === undefined ||
        !forSignatures ||
        member(jwk, 'kty') !== algorithm.kty ||
        (algorithm.crv !== undefined && member(jwk, 'crv') !== algorithm.crv) ||
        (declared !== undefined && declared !== alg)
      )
        return undefined;
      if (!tried) {
        tried = true;
        imported = importPublicKey(jwk);
      }
      return imported;
    },
  };
}

/** Public members only: a key set that holds private keys by mistake is still no reason to load them. */
const PUBLIC_MEMBERS = ['kty', 'n', 'e', 'crv', 'x', 'y'];

function importPublicKey(jwk: JsonObject): KeyObject | undefined {
  const { createPublicKey } = process.getBuiltinModule('node:crypto');
  const key = Object.fromEntries(PUBLIC_MEMBERS.map((name) => [name, member(jwk, name)]));
  try {
    const imported = createPublicKey({ key, format: 'jwk' });
    const { modulusLength = LEAST_RSA_BITS } = imported.asymmetricKeyDetails ?? {};
    return modulusLength < LEAST_RSA_BITS ? undefined : imported;
  } catch {
    return undefined;
  }
}

// As in jwt.ts, and the module is asked for once: it takes 7 ms to load, and a start does without it.
const scratch = Buffer.allocUnsafeSlow(2 * MAX_TOKEN);
let crypto: typeof import('node:crypto') | undefined;

/** `key` must be one that `keyFor(alg)` gave. Never throws. */
export function isSignedBy(key: KeyObject, alg: string, { signed, signature }: Jwt): boolean {
  const algorithm = ALGORITHMS[alg];
  if (algorithm === undefined) return false;
  crypto ??= process.getBuiltinModule('node:crypto');
  // A signed answer may be longer than any token.
  const length = signed.length + signature.length;
  const bytes = length > scratch.length ? Buffer.alloc(length) : scratch;
  const middle = bytes.write(signed, 0, 'latin1');
  const end = middle + bytes.write(signature, middle, 'base64url');
  try {
    return crypto.verify(
      algorithm.hash,
      bytes.subarray(0, middle),
      how(key, algorithm),
      bytes.subarray(middle, end),
    );
  } catch {
    return false;
  }
}

function how(key: KeyObject, { kty, pss }: Algorithm): KeyObject | VerifyKeyObjectInput {
  // RFC 7518 section 3.4: r and s one after the other, not DER.
  if (kty === 'EC') return { key, dsaEncoding: 'ieee-p1363' };
  if (pss === undefined) return key;
  const { RSA_PKCS1_PSS_PADDING: padding, RSA_PSS_SALTLEN_DIGEST: saltLength } =
    process.getBuiltinModule('node:crypto').constants;
  // RFC 7518 section 3.5: the salt is as long as the hash.
  return { key, padding, saltLength };
}
