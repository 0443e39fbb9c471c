// Password or token? Decided by shape and settings before anything goes over the network: a token must never end in
// the log of a token endpoint, nor a password in that of a resource server.

import { type Jwt, type JwtShape, looksLikeJwt, MAX_TOKEN, readJwt } from '../oauth/jwt.ts';
import { isB64Token } from '../oauth/provider.ts';
import { type Refused, refused, type Secret } from '../verdict.ts';

export interface ClassifySettings {
  readonly credential: 'auto' | 'token' | 'password';
  readonly token_prefix?: string | undefined;
  readonly passwords: boolean;
}

export type Classified =
  | { readonly kind: 'password'; readonly secret: Secret }
  /** `jwt`: its unverified content, when the token is one. */
  | { readonly kind: 'token'; readonly token: string; readonly jwt: Jwt | undefined };

export function classify(
  secret: Secret,
  settings: ClassifySettings,
  { isBearer = false } = {},
): Classified | Refused {
  const { credential, token_prefix, passwords } = settings;
  const text = secret.reveal();
  if (text === '' || text.includes('\0'))
    return refused('malformed', 'the secret is empty or has a NUL in it');
  const prefixed = !isBearer && token_prefix !== undefined && text.startsWith(token_prefix);
  const token = prefixed ? text.slice(token_prefix.length) : text;
  const shape = looksLikeJwt(token);

  if (isBearer || prefixed || shape !== undefined || credential === 'token') {
    if (credential === 'password') {
      return refused('token_disabled', 'the secret is a token, and credential is password');
    }
    return readToken(token, shape);
  }
  if (!passwords) {
    return refused(
      'password_disabled',
      'the secret is no JWT and resource_owner_password is off; for opaque access tokens set credential: token',
    );
  }
  return { kind: 'password', secret };
}

function readToken(token: string, shape: JwtShape | undefined): Classified | Refused {
  if (token.length > MAX_TOKEN)
    return refused('malformed_token', `the token is longer than ${MAX_TOKEN} bytes`);
  // What has the shape of a JWT has no other characters than those of one.
  if (shape === undefined && !isB64Token(token))
    return refused('malformed_token', 'the token has characters that no bearer token has');
  if (shape === 'encrypted')
    return refused('malformed_token', 'the token is encrypted: nobody here can read it');
  if (shape === 'mangled') return refused('malformed_token', 'the token begins like a JWT and is none');
  if (shape === undefined) return { kind: 'token', token, jwt: undefined };
  const jwt = readJwt(token);
  if (jwt === undefined)
    return refused('malformed_token', 'the token has a part that is no JSON object, or a name twice');
  return { kind: 'token', token, jwt };
}
