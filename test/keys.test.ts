// The provider's keys: when they are fetched, how long they serve, and who may make us fetch them again.
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, it } from 'node:test';
import { createHttpClient } from '../src/oauth/http.ts';
import { fetchKeySet, parseKeySet } from '../src/oauth/jwks.ts';
import { type Jwt, readJwt } from '../src/oauth/jwt.ts';
import { createKeySource, type KeySet, type KeySource, verifySignature } from '../src/oauth/key-set.ts';
import { type Scripted, startScripted } from './support/scripted-provider.ts';
import { createSigner, type Json, type Signer } from './support/signer.ts';

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;

const old = createSigner('RS256', 'a');
const renewed = createSigner('RS256', 'a');
const next = createSigner('ES256', 'b');
const tokens = new Map<Signer, Jwt>();
const forever = new AbortController().signal;

function setOf(...signers: Signer[]): KeySet {
  const set = parseKeySet(JSON.stringify({ keys: signers.map(({ jwk }) => jwk) }));
  assert.ok(set);
  return set;
}

describe('a key source', () => {
  let now = 0;
  let fetches = 0;
  let changes = 0;
  let published: () => Promise<KeySet>;
  let source: KeySource;
  const down = (): Promise<KeySet> => Promise.reject(new Error('down'));

  before(async () => {
    for (const signer of [old, renewed, next]) {
      const jwt = readJwt(await signer.token({ sub: signer.kid }));
      assert.ok(jwt);
      tokens.set(signer, jwt);
    }
  });
  beforeEach(() => {
    now = 1_000_000;
    fetches = 0;
    changes = 0;
    published = () => Promise.resolve(setOf(old));
    source = createKeySource({
      load: () => {
        fetches++;
        return published();
      },
      now: () => now,
      onChange: () => changes++,
    });
  });

  const verify = (signer: Signer): ReturnType<typeof verifySignature> =>
    verifySignature(tokens.get(signer) as Jwt, source, forever);
  const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

  it('is asked once for all who wait for the first keys', async () => {
    const faults = await Promise.all(Array.from({ length: 50 }, () => verify(old)));
    assert.deepEqual(new Set(faults), new Set([undefined]));
    assert.equal(fetches, 1);
  });

  it('makes 10,000 tokens with random key ids one fetch for each cool-down', async () => {
    await verify(old);
    fetches = 0;
    const strange = async (count: number): Promise<void> => {
      for (let n = 0; n < count; n++) {
        const jwt = { ...(tokens.get(old) as Jwt), header: { alg: 'RS256', kid: `random-${n}` } };
        assert.equal(await verifySignature(jwt, source, forever), 'kid_unknown');
      }
    };
    await strange(5000);
    assert.equal(fetches, 1, 'the first 5,000');
    await Promise.all([strange(1000), strange(1000)]);
    assert.equal(fetches, 1, '2,000 more at once');
    now += 30 * SECOND;
    await strange(3000);
    assert.equal(fetches, 2, 'and 3,000 after 30 s');
  });

  it('finds a new key at once, without another refusal, and tells that the keys are others', async () => {
    await verify(old);
    published = () => Promise.resolve(setOf(old, next));
    const faults = await Promise.all([verify(next), verify(old), verify(next)]);
    assert.deepEqual(faults, [undefined, undefined, undefined]);
    assert.equal(fetches, 2);
    assert.equal(changes, 2);
  });

  it('finds a new key of the same id by the bad signature', async () => {
    await verify(old);
    published = () => Promise.resolve(setOf(renewed));
    assert.equal(await verify(renewed), undefined);
    assert.equal(await verify(old), 'bad_signature', 'the old key is gone');
    assert.equal(fetches, 2, 'the second bad signature is within the cool-down');
  });

  it('does not count the fetch at the start or a timed one to the cool-down', async () => {
    await verify(old);
    published = () => Promise.resolve(setOf(old, next));
    now += 1;
    assert.equal(await verify(next), undefined);
  });

  it('is refreshed after 5 minutes, without anybody waiting for it', async () => {
    await verify(old);
    let answer = (_: KeySet): void => {};
    published = () => new Promise((resolve) => (answer = resolve));
    now += 5 * MINUTE;
    assert.equal(await verify(old), undefined);
    assert.equal(await verify(old), undefined);
    assert.equal(fetches, 2);
    answer(setOf(next));
    await settled();
    published = () => Promise.resolve(setOf(next));
    assert.equal(await verify(old), 'kid_unknown');
  });

  it('says nothing of a change when the same keys come again', async () => {
    await verify(old);
    now += 5 * MINUTE;
    source.refresh();
    await settled();
    assert.equal(fetches, 2);
    assert.equal(changes, 1);
  });

  it('serves for a day while the provider is down, and not longer', async () => {
    await verify(old);
    published = down;
    for (const hours of [1, 12, 23.9]) {
      now = 1_000_000 + hours * HOUR;
      assert.equal(await verify(old), undefined, `after ${hours} hours`);
      await settled();
    }
    now = 1_000_000 + 24 * HOUR;
    await assert.rejects(verify(old), /down/);
    published = () => Promise.resolve(setOf(old));
    assert.equal(await verify(old), undefined, 'when it is back');
  });

  it('is asked every 30 s while refreshing fails, not at every login', async () => {
    await verify(old);
    published = down;
    now += 5 * MINUTE;
    for (let n = 0; n < 100; n++) {
      await verify(old);
      await settled();
    }
    assert.equal(fetches, 2);
    now += 30 * SECOND;
    await verify(old);
    assert.equal(fetches, 3);
  });

  it('keeps refusing a strange key id when the provider is down', async () => {
    await verify(old);
    published = down;
    assert.equal(await verify(next), 'kid_unknown');
    assert.equal(await verify(old), undefined);
  });

  it('is not set back by an older answer that comes late', async () => {
    await verify(old);
    let late = (_: KeySet): void => {};
    published = () => new Promise((resolve) => (late = resolve));
    now += 5 * MINUTE;
    source.refresh();
    published = () => Promise.resolve(setOf(next));
    assert.equal(await verify(next), undefined);
    late(setOf(old));
    await settled();
    assert.equal(await verify(next), undefined);
  });

  it('lets one who has no time left go, and the others have the keys', async () => {
    let answer = (_: KeySet): void => {};
    published = () => new Promise((resolve) => (answer = resolve));
    const hurry = new AbortController();
    const impatient = verifySignature(tokens.get(old) as Jwt, source, hurry.signal);
    const patient = verify(old);
    hurry.abort(new Error('deadline'));
    await assert.rejects(impatient, /deadline/);
    answer(setOf(old));
    assert.equal(await patient, undefined);
    assert.equal(fetches, 1);
  });
});

describe('a key set', () => {
  let scripted: Scripted;
  const http = createHttpClient(
    { connect_timeout: 500, timeout: 500, retries: 0, max_response_bytes: 1024 * 1024 },
    { authorities: undefined, certificate: undefined },
  );
  before(async () => {
    scripted = await startScripted();
  });
  after(async () => {
    http.close();
    await scripted.stop();
  });

  const answers: [title: string, behaviour: Json, expected: number | RegExp][] = [
    ['of one key', { body: { keys: [old.jwk] } }, 1],
    ['of no key', { body: { keys: [] } }, 0],
    ['of 100 keys', { body: { keys: Array(100).fill(old.jwk) } }, 100],
    ['of 101 keys', { body: { keys: Array(101).fill(old.jwk) } }, /no set of at most 100 keys/],
    ['with members that are none', { body: { keys: [null, 'x', [], old.jwk] } }, 1],
    ['labelled text/html', { headers: { 'content-type': 'text/html' }, body: '{"keys":[]}' }, 0],
    ['of 256 KiB and more', { body: { keys: [old.jwk] }, oversize: 257 * 1024 }, /answered more than 262144/],
    ['that is a list', { body: [old.jwk] }, /jwks_uri/],
    ['that has no keys', { body: { key: old.jwk } }, /jwks_uri/],
    ['with keys twice', { body: '{"keys":[],"keys":[]}' }, /jwks_uri/],
    ['that is a login page', { body: '<!doctype html>' }, /jwks_uri/],
    ['with 404', { status: 404 }, /jwks_uri/],
    ['with 429', { status: 429 }, /fewer requests/],
    ['with a redirect', { status: 302, headers: { location: '/elsewhere' } }, /jwks_uri/],
    ['that never comes', { stall: true }, /did not answer within/],
    ['that breaks off', { body: { keys: [old.jwk] }, reset: 'midBody' }, /closed the connection/],
  ];
  for (const [title, behaviour, expected] of answers) {
    it(`${title} is ${typeof expected === 'number' ? 'taken' : 'refused'}`, async () => {
      scripted.set('jwks', behaviour);
      const answer = fetchKeySet(scripted.endpoints.jwks, http);
      if (typeof expected === 'number') assert.equal((await answer).keys.length, expected);
      else await assert.rejects(answer, expected);
      assert.ok(
        scripted.seen.every(({ endpoint }) => endpoint === 'jwks'),
        'nobody else is asked',
      );
    });
  }
});
