// jose is the referee: over generated tokens, good ones and every way of breaking them, our check of a signature says
// what jose's says.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { before, describe, it } from 'node:test';
import fc from 'fast-check';
import { compactVerify, createLocalJWKSet, type JSONWebKeySet } from 'jose';
import { algorithms } from '../src/oauth/jwk.ts';
import { parseKeySet } from '../src/oauth/jwks.ts';
import { readJwt } from '../src/oauth/jwt.ts';
import { checkSignature, type KeySet } from '../src/oauth/key-set.ts';
import { createSigner, encode, type Json, type Signer, signatureOf } from './support/signer.ts';

// Two keys of each kind, the second one under a name of its own.
const signers = algorithms.flatMap((alg) => [createSigner(alg), createSigner(alg, `second-${alg}`)]);
const jwks = { keys: signers.map(({ jwk }) => jwk) };
const set = parseKeySet(JSON.stringify(jwks)) as KeySet;
const referee = createLocalJWKSet(jwks as unknown as JSONWebKeySet);

async function joseTakes(token: string): Promise<boolean> {
  try {
    await compactVerify(token, referee, { algorithms: [...algorithms] });
    return true;
  } catch {
    return false;
  }
}

function weTake(token: string): boolean {
  const jwt = readJwt(token);
  // What is critical, and which alg is allowed, is looked at elsewhere (src/auth/claims.ts).
  if (jwt === undefined || jwt.header.crit !== undefined || jwt.header.alg === 'none') return false;
  return checkSignature(jwt, set) === undefined;
}

describe('a signature', () => {
  const good = new Map<Signer, string>();
  before(async () => {
    for (const signer of signers) good.set(signer, await signer.token({ sub: signer.kid }));
  });

  it('of every algorithm, made by jose, is good', async () => {
    for (const [signer, token] of good) {
      assert.ok(weTake(token), signer.alg);
      assert.ok(await joseTakes(token), signer.alg);
    }
  });

  it('of every algorithm, broken in one bit anywhere, is bad', () => {
    for (const token of good.values()) {
      const [header = '', claims = '', signature = ''] = token.split('.');
      for (const at of [0, 1, signature.length >> 1, signature.length - 4]) {
        const bytes = Buffer.from(signature, 'base64url');
        const index = Math.min(bytes.length - 1, Math.floor((at * 3) / 4));
        bytes[index] = (bytes[index] ?? 0) ^ 1;
        assert.ok(!weTake(`${header}.${claims}.${bytes.toString('base64url')}`));
      }
    }
  });

  it('is judged as jose judges it, whoever signed what as which algorithm under which key id', async () => {
    const signer = fc.constantFrom(...signers);
    const mutation = fc.constantFrom<(token: string, other: string) => string>(
      (token) => token,
      (token) => token,
      (token) => token,
      (token) => token,
      (token, other) => token.slice(0, token.lastIndexOf('.')) + other.slice(other.lastIndexOf('.')),
      (token, other) => `${token.split('.')[0]}.${other.split('.')[1]}.${token.split('.')[2]}`,
      (token, other) => `${other.split('.')[0]}.${token.split('.')[1]}.${token.split('.')[2]}`,
      (token) => token.slice(0, -4),
      (token) => `${token}AAAA`,
      (token) => `${token.slice(0, token.lastIndexOf('.') + 1)}${randomBytes(64).toString('base64url')}`,
      (token) => `${token.slice(0, token.lastIndexOf('.') + 1)}${Buffer.alloc(256).toString('base64url')}`,
    );
    // Half of what is drawn has come before, and signing takes most of the time.
    const signatures = new Map<string, string>();
    const signatureBy = ({ alg, kid, privateKey }: Signer, signed: string): string => {
      const name = `${kid} ${signed}`;
      const signature = signatures.get(name) ?? signatureOf(signed, alg, privateKey).toString('base64url');
      signatures.set(name, signature);
      return signature;
    };
    let accepted = 0;
    await fc.assert(
      fc.asyncProperty(
        signer,
        signer,
        fc.constantFrom(...algorithms, 'HS256', 'ES256K', 'rs256'),
        // Without one jose refuses to choose among several keys, and we try them: not to be compared.
        fc.constantFrom('own', 'own', 'own', 'other', 'strange', ''),
        fc.boolean(),
        mutation,
        async (by, other, alg, kid, honest, mutate) => {
          const said = honest ? by.alg : alg;
          const named = kid === 'own' ? by.kid : kid === 'other' ? other.kid : kid;
          const header: Json = { alg: said, typ: 'at+jwt', kid: named };
          const signed = `${encode(header)}.${encode({ sub: 'x' })}`;
          const token = `${signed}.${signatureBy(by, signed)}`;
          const tried = mutate(token, good.get(other) as string);
          const theirs = await joseTakes(tried);
          assert.equal(weTake(tried), theirs, tried);
          if (theirs) accepted++;
        },
      ),
      { numRuns: 2500 },
    );
    assert.ok(accepted > 100, `${accepted} of them were good`);
  });

  it('without a key id is tried with the keys that fit, and with no others', async () => {
    for (const signer of signers) {
      const token = await signer.token({ sub: 'x' }, { kid: undefined });
      assert.ok(weTake(token), signer.alg);
    }
    const stranger = createSigner('RS256');
    assert.ok(!weTake(await stranger.token({ sub: 'x' }, { kid: undefined })));
  });
});
