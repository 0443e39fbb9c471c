// Reads a JWT without believing it (RFC 7519, RFC 7515 section 3.1). Whoever uses the claims must know who vouches for them.
import { type JsonObject, parseJsonObject } from '../oauth/json.ts';

export interface Jwt {
  readonly header: JsonObject;
  readonly claims: JsonObject;
}

/** Token sizes seen go up to 8 KB; the bound is DESIGN's, and holds before anything is decoded. */
export const MAX_TOKEN = 16 * 1024;

const SEGMENT = /^[A-Za-z0-9_-]+$/;

/** Three base64url parts, the first of which decodes to an object with `alg`; five such parts are an encrypted token. */
export function looksLikeJwt(text: string): 'signed' | 'encrypted' | undefined {
  // Longer than any token, and still recognisable: it must not be taken for a password.
  const [first = '', ...rest] = text.split('.', 6);
  if (rest.length !== 2 && rest.length !== 4) return undefined;
  if (!SEGMENT.test(first) || !/^[A-Za-z0-9_\-.]+$/.test(text)) return undefined;
  const header = decode(first);
  if (header === undefined || header === 'duplicate' || typeof header.alg !== 'string') {
    return header === 'duplicate' ? 'signed' : undefined;
  }
  return rest.length === 2 ? 'signed' : 'encrypted';
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
