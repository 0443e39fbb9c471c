// The smallest check of a JWT: the signature by the one key there is, issuer, expiry, audience. Gives the claims, or
// `undefined`.
import { createPublicKey, verify } from 'node:crypto';
import { readFileSync } from 'node:fs';

export function checkWith(file, issuer) {
  const [jwk] = JSON.parse(readFileSync(file, 'utf8')).keys;
  const key = { key: createPublicKey({ key: jwk, format: 'jwk' }), dsaEncoding: 'ieee-p1363' };
  return (token) => {
    const end = token.lastIndexOf('.');
    const signature = Buffer.from(token.slice(end + 1), 'base64url');
    if (!verify('sha256', Buffer.from(token.slice(0, end), 'latin1'), key, signature)) return undefined;
    const payload = token.slice(token.indexOf('.') + 1, end);
    const claims = JSON.parse(Buffer.from(payload, 'base64url').latin1Slice());
    const valid = claims.iss === issuer && claims.aud === 'bench' && claims.exp > Date.now() / 1000;
    return valid ? claims : undefined;
  };
}
