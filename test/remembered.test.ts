// What is remembered of good logins: for whom, how long, how much.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createRemembered, type Remembered } from '../src/guard/remembered.ts';
import { type Accepted, type Credentials, refused, Secret, unavailable } from '../src/verdict.ts';

const NOW = 1_800_000_000_000;
const HOUR = 3_600_000;
const good: Accepted = { outcome: 'accepted', method: 'jwt', localpart: 'alice', until: NOW + HOUR };

function login(secret: string, localpart = 'alice', host = 'chat.example'): Credentials {
  return { localpart, authcid: localpart, host, secret: new Secret(secret), isBearer: false };
}

/** As a login that has come twice. */
function keepTwice(remembered: Remembered, credentials: Credentials, verdict: Accepted = good): void {
  remembered.keep(credentials, verdict, NOW);
  remembered.keep(credentials, verdict, NOW);
}

describe('a good login', () => {
  it('is remembered when it has come twice', () => {
    const remembered = createRemembered({ keepFor: 60_000, maxEntries: 10_000 });
    const alice = login('token-of-alice');
    assert.equal(remembered.find(alice, NOW), undefined);
    remembered.keep(alice, good, NOW);
    assert.equal(remembered.find(alice, NOW), undefined);
    remembered.keep(alice, good, NOW);
    assert.equal(remembered.find(alice, NOW)?.method, 'jwt');
    assert.equal(remembered.find(alice, NOW)?.cache, 'hit');
  });

  const others: [title: string, other: Credentials][] = [
    ['another secret', login('token-of-bob')],
    ['another secret with the same end', login('Xtoken-of-alice-with-a-long-end')],
    ['another user', login('token-of-alice-with-a-long-end', 'bob')],
    ['another host', login('token-of-alice-with-a-long-end', 'alice', 'other.example')],
    ['a name that takes a letter of the secret', login('oken-of-alice-with-a-long-end', 'alicet')],
    [
      'a host that takes a letter of the name',
      login('token-of-alice-with-a-long-end', 'lice', 'chat.examplea'),
    ],
    ['no name', login('token-of-alice-with-a-long-end', '')],
  ];
  for (const [title, other] of others) {
    it(`is none of ${title}`, () => {
      const remembered = createRemembered({ keepFor: 60_000, maxEntries: 10_000 });
      keepTwice(remembered, login('token-of-alice-with-a-long-end'));
      assert.equal(remembered.find(other, NOW), undefined);
    });
  }

  it('is not remembered beyond the end of its token, nor longer than a minute', () => {
    const remembered = createRemembered({ keepFor: 60_000, maxEntries: 10_000 });
    keepTwice(remembered, login('short'), { ...good, until: NOW + 1000 });
    keepTwice(remembered, login('long'));
    assert.ok(remembered.find(login('short'), NOW + 999));
    assert.equal(remembered.find(login('short'), NOW + 1000), undefined);
    assert.ok(remembered.find(login('long'), NOW + 59_999));
    assert.equal(remembered.find(login('long'), NOW + 60_000), undefined);
  });

  it('is not remembered when somebody was asked, or when it is none', () => {
    const remembered = createRemembered({ keepFor: 60_000, maxEntries: 10_000 });
    const verdicts = [
      { outcome: 'accepted', method: 'password', localpart: 'alice' } as const,
      { outcome: 'accepted', method: 'jwt+userinfo', localpart: 'alice' } as const,
      refused('expired'),
      unavailable('provider_error'),
    ];
    for (const [index, verdict] of verdicts.entries()) {
      const credentials = login(`secret-${index}`);
      for (let n = 0; n < 3; n++) remembered.keep(credentials, verdict, NOW);
      assert.equal(remembered.find(credentials, NOW), undefined);
    }
  });

  it('is forgotten with all others when the keys change', () => {
    const remembered = createRemembered({ keepFor: 60_000, maxEntries: 10_000 });
    keepTwice(remembered, login('a'));
    remembered.forget();
    assert.equal(remembered.find(login('a'), NOW), undefined);
    remembered.keep(login('a'), good, NOW);
    assert.equal(remembered.find(login('a'), NOW), undefined, 'and must come twice again');
  });

  it('is found again among thousands that come in turn, and makes room for newer ones', () => {
    const remembered = createRemembered({ keepFor: 60_000, maxEntries: 10_000 });
    const secret = (n: number): Credentials => login(`token-number-${n}-${(n * 2654435761) >>> 0}`);
    for (let round = 0; round < 2; round++)
      for (let n = 0; n < 4000; n++) remembered.keep(secret(n), good, NOW);
    let found = 0;
    for (let n = 0; n < 4000; n++) if (remembered.find(secret(n), NOW) !== undefined) found++;
    assert.equal(found, 4000);
    for (let n = 4000; n < 24_000; n++) keepTwice(remembered, secret(n));
    found = 0;
    for (let n = 0; n < 24_000; n++) if (remembered.find(secret(n), NOW) !== undefined) found++;
    assert.ok(found <= 10_000, `${found} are kept`);
    assert.ok(remembered.find(secret(23_999), NOW));
    assert.equal(remembered.find(secret(0), NOW), undefined);
  });
});
