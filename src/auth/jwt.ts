// Reads a JWT without believing it (RFC 7519, RFC 7515 section 3.1). Whoever uses the claims must know who vouches for them.
import { type JsonObject, parseJsonObject } from '../oauth/json.ts';

export interface Jwt {
  readonly header: JsonObject;
  readonly claims: JsonObject;
}

/** Token sizes seen go up to 8 KB; the bound is DESIGN's, and holds before anything is decoded. */
export const MAX_TOKEN = 16 * 1024;

const JWS = /^[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+){2}$/;
const JWE = /^[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*){4}$/;

/** `mangled`: begins like a JWT and is none, such as one with a character too many. */
export type JwtShape = 'signed' | 'encrypted' | 'mangled';

/**
 * Whether `text` is a JWT: what stands before its first dot decodes to an object with `alg`. What begins so and is not
 * well-formed must be neither an opaque token nor a password: there are servers that ignore what is too much of it, and
 * then nobody would have looked at its claims.
 */
export function looksLikeJwt(text: string): JwtShape | undefined {
  const dot = text.indexOf('.');
  if (dot <= 0) return undefined;
  const header = decode(text.slice(0, dot));
  if (header === undefined) return undefined;
  if (header !== 'duplicate' && !Object.hasOwn(header, 'alg')) return undefined;
  return JWS.test(text) ? 'signed' : JWE.test(text) ? 'encrypted' : 'mangled';
}

/** `undefined` when a part is no JSON object or has a name twice: different readers would read different things. */
export function readJwt(token: string): Jwt | undefined {
  const [first = '', second = ''] = token.split('.', 3);
  const header = decode(first);
  const claims = decode(second);
  if (header === undefined || claims === undefined || header === 'duplicate' || claims === 'duplicate')
    return undefined;
  return { header, claims };
}

function decode(segment: string): JsonObject | 'duplicate' | undefined {
  const parsed = parseJsonObject(Buffer.from(segment, 'base64url').toString('utf8'));
  return parsed.kind === 'object' ? parsed.value : parsed.kind === 'duplicate' ? 'duplicate' : undefined;
}
