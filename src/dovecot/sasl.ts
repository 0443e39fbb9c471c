// What clients say in the three SASL mechanisms: PLAIN (RFC 4616), OAUTHBEARER (RFC 7628) and Google's XOAUTH2. Pure.

export const MECHANISMS = ['PLAIN', 'OAUTHBEARER', 'XOAUTH2'] as const;
export type Mechanism = (typeof MECHANISMS)[number];

/** What one client has said. The secret is plain text here; whoever takes it wraps it. */
export interface SaslMessage {
  readonly mechanism: Mechanism;
  /** Whom the client wants to act as; empty: whoever it is. */
  readonly authzid: string;
  /** The name that was typed; empty with tokens' own mechanisms, where the token says it. */
  readonly authcid: string;
  /** The password, or the token; empty when a client of OAUTHBEARER only asks where tokens are to be had. */
  readonly secret: string;
}

/** Bytes of a name: what RFC 7622 allows a localpart and a domain to have. */
const MAX_NAME = 2047;

export function isMechanism(name: string): name is Mechanism {
  return (MECHANISMS as readonly string[]).includes(name);
}

/** `undefined` for what is no message of the mechanism. */
export function parseMessage(mechanism: Mechanism, bytes: Buffer): SaslMessage | undefined {
  const text = decode(bytes);
  if (text === undefined) return undefined;
  const message = PARSERS[mechanism](text);
  if (message === undefined || !isName(message.authzid) || !isName(message.authcid)) return undefined;
  return { mechanism, ...message };
}

type Content = Omit<SaslMessage, 'mechanism'>;

const PARSERS: Readonly<Record<Mechanism, (text: string) => Content | undefined>> = {
  PLAIN: plain,
  OAUTHBEARER: oauthBearer,
  XOAUTH2: xoauth2,
};

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function decode(bytes: Buffer): string | undefined {
  try {
    return utf8.decode(bytes);
  } catch {
    return undefined;
  }
}

function isName(name: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: no server and no provider takes a name with them
  return Buffer.byteLength(name) <= MAX_NAME && !/[\0-\x1f\x7f]/.test(name);
}

/** RFC 4616: [authzid] NUL authcid NUL passwd; the two last are not empty and nothing has a NUL. */
function plain(text: string): Content | undefined {
  const [authzid, authcid, secret, ...more] = text.split('\0');
  if (authzid === undefined || !authcid || !secret || more.length > 0) return undefined;
  return { authzid, authcid, secret };
}

/** RFC 7628 section 3.1: gs2-header kvsep *kvpair kvsep. Whoever wants channel binding (p=) is refused: there is none. */
const GS2_HEADER = /^[ny],(?:a=((?:[^,=]|=2C|=3D)+))?,$/;

function oauthBearer(text: string): Content | undefined {
  const [header = '', ...pairs] = text.split('\x01');
  const authzid = GS2_HEADER.exec(header);
  const secret = bearer(pairs);
  if (authzid === null || secret === undefined) return undefined;
  return { authzid: (authzid[1] ?? '').replaceAll('=2C', ',').replaceAll('=3D', '='), authcid: '', secret };
}

/** `user=` name ^A `auth=Bearer ` token ^A ^A. The name is that of the account to be logged in to: an authzid. */
function xoauth2(text: string): Content | undefined {
  const [user = '', ...pairs] = text.split('\x01');
  const secret = bearer(pairs);
  if (!user.startsWith('user=') || secret === undefined) return undefined;
  return { authzid: user.slice('user='.length), authcid: '', secret };
}

/** The token of `auth=Bearer token`; empty when `auth` is (RFC 7628 section 4.3). The list ends in two empty ones. */
function bearer(pairs: readonly string[]): string | undefined {
  if (pairs.at(-1) !== '' || pairs.at(-2) !== '') return undefined;
  const stated = pairs.slice(0, -2);
  if (!stated.every((pair) => /^[A-Za-z]+=/.test(pair))) return undefined;
  const [auth, ...more] = stated.filter((pair) => pair.startsWith('auth='));
  if (auth === undefined || more.length > 0) return undefined;
  if (auth === 'auth=') return '';
  // The scheme's name is compared without case (RFC 7235 section 2.1).
  return /^auth=bearer +([^ ].*)$/is.exec(auth)?.[1];
}
