// Reads a JWT without believing it (RFC 7519, RFC 7515 section 3.1). Whoever uses the claims must know who vouches for them.
import { type JsonObject, member, parseJsonObject } from './json.ts';

export interface Jwt {
  readonly header: JsonObject;
  readonly claims: JsonObject;
  /** What the signature is over: the first two parts and the dot between them. */
  readonly signed: string;
  /** base64url. */
  readonly signature: string;
}

/** Token sizes seen go up to 8 KB; the bound is DESIGN's, and holds before anything is decoded. */
export const MAX_TOKEN = 16 * 1024;

const JWS = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*$/;
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
  const header = decodeHeader(text.slice(0, dot));
  if (header === undefined) return undefined;
  if (header !== 'duplicate' && !Object.hasOwn(header, 'alg')) return undefined;
  return JWS.test(text) ? 'signed' : JWE.test(text) ? 'encrypted' : 'mangled';
}

/**
 * `undefined` when a part is no JSON object or has a name twice (different readers would read different things), or when
 * one is not encoded in the one way that RFC 4648 section 3.5 calls canonical: the same token in two spellings.
 */
export function readJwt(token: string): Jwt | undefined {
  const [first = '', second = '', signature = ''] = token.split('.', 4);
  if (!isCanonical(first) || !isCanonical(second)) return undefined;
  const header = decodeHeader(first);
  const claims = decode(second);
  if (header === undefined || claims === undefined || header === 'duplicate' || claims === 'duplicate')
    return undefined;
  // Only what says `none` may have no signature (RFC 7518 section 3.6), and is refused for what it says.
  if (member(header, 'alg') !== 'none' && (signature === '' || !isCanonical(signature))) return undefined;
  return { header, claims, signed: token.slice(0, first.length + 1 + second.length), signature };
}

/** Last characters whose unused bits are zero, for a last group of two and of three characters. */
const LAST_OF_TWO = 'AQgw';
const LAST_OF_THREE = 'AEIMQUYcgkosw048';

function isCanonical(segment: string): boolean {
  const last = segment.at(-1) ?? '';
  switch (segment.length % 4) {
    case 0:
      return true;
    case 2:
      return LAST_OF_TWO.includes(last);
    case 3:
      return LAST_OF_THREE.includes(last);
    default:
      return false;
  }
}

// All tokens of one key have the same header, and it is looked at twice.
let lastSegment = '';
let lastHeader: ReturnType<typeof decode>;

function decodeHeader(segment: string): ReturnType<typeof decode> {
  if (segment !== lastSegment) {
    lastHeader = decode(segment);
    lastSegment = segment;
  }
  return lastHeader;
}

// One buffer for all: a new one for each part would be garbage that V8 hardly sees, and collects late.
const scratch = Buffer.allocUnsafeSlow(MAX_TOKEN);

function decode(segment: string): JsonObject | 'duplicate' | undefined {
  // Longer than any token may be; what it looks like is still looked at.
  const buffer = segment.length > scratch.length ? Buffer.alloc(segment.length) : scratch;
  const length = buffer.write(segment, 0, 'base64url');
  const parsed = parseJsonObject(buffer.toString('utf8', 0, length));
  return parsed.kind === 'object' ? parsed.value : parsed.kind === 'duplicate' ? 'duplicate' : undefined;
}
