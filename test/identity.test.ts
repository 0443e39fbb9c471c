// From the provider's claims to the localpart, as a table: the claims are good, whose are they?
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type IdentityRules, judgeIdentity, providerUsername } from '../src/auth/identity.ts';

const defaults: IdentityRules = {
  client_id: 'xmpp',
  username_field: ['preferred_username'],
  username_mapping: '',
  sasl_username_mapping: '',
  username_case: 'ascii',
  jid_escape: 'xep0106',
  require_email_verified: true,
};
const host = 'corp.example';

describe("the provider's claims", () => {
  type Row = [
    title: string,
    claims: object,
    localpart: string,
    rules: Partial<IdentityRules>,
    reason: string,
  ];
  const split = { username_field: ['email'], username_mapping: 'split' } as const;
  const table: Row[] = [
    ['of alice', { preferred_username: 'alice' }, 'alice', {}, 'fine'],
    ['of bob', { preferred_username: 'bob' }, 'alice', {}, 'user_mismatch'],
    [
      'of somebody whose name begins like hers',
      { preferred_username: 'alice2' },
      'alice',
      {},
      'user_mismatch',
    ],
    ['of Alice', { preferred_username: 'Alice' }, 'alice', {}, 'fine'],
    [
      'of Alice, where spelling must be exact',
      { preferred_username: 'Alice' },
      'alice',
      { username_case: 'exact' },
      'username_invalid',
    ],
    [
      'of a name that folds to hers beyond ASCII',
      { preferred_username: 'ａlice' },
      'alice',
      {},
      'username_invalid',
    ],
    [
      'of the same, where folding is allowed',
      { preferred_username: 'ａlice' },
      'alice',
      { username_case: 'nodeprep' },
      'fine',
    ],
    ["with Kelvin's sign for a k", { preferred_username: '\u212aate' }, 'kate', {}, 'username_invalid'],
    ['with a soft hyphen inside', { preferred_username: 'al\u00adice' }, 'alice', {}, 'username_invalid'],
    ['with a space behind', { preferred_username: 'alice ' }, 'alice', {}, 'username_invalid'],
    ['with a NUL behind', { preferred_username: 'alice\0x' }, 'alice', {}, 'username_invalid'],
    ['of an address', { preferred_username: 'alice@corp.example' }, 'alice\\40corp.example', {}, 'fine'],
    [
      'of an address, for the name in front of the @',
      { preferred_username: 'alice@corp.example' },
      'alice',
      {},
      'user_mismatch',
    ],
    ['of a name with a slash', { preferred_username: 'alice/phone' }, 'alice\\2fphone', {}, 'fine'],
    [
      'of a name that is an escape sequence',
      { preferred_username: 'alice\\40evil' },
      'alice\\40evil',
      {},
      'user_mismatch',
    ],
    ['of the same, escaped', { preferred_username: 'alice\\40evil' }, 'alice\\5c40evil', {}, 'fine'],
    ['of DOMAIN\\user', { preferred_username: 'domain\\user' }, 'domain\\user', {}, 'fine'],
    [
      'of DOMAIN\\user, at Prosody 0.11',
      { preferred_username: 'domain\\user' },
      'domain\\5cuser',
      { jid_escape: 'prosody-0.11' },
      'fine',
    ],
    ['without a name', { sub: '1' }, 'alice', {}, 'username_missing'],
    ['with null for a name', { preferred_username: null }, 'alice', {}, 'username_missing'],
    ['with an empty name', { preferred_username: '' }, 'alice', {}, 'username_invalid'],
    ['with a number for a name', { preferred_username: 7 }, '7', {}, 'username_invalid'],
    ['with a list of names', { preferred_username: ['alice'] }, 'alice', {}, 'username_invalid'],
    [
      'with an object for a name',
      { preferred_username: { toString: 'alice' } },
      'alice',
      {},
      'username_invalid',
    ],
    ['with a number for sub', { sub: 7, preferred_username: 'alice' }, 'alice', {}, 'username_invalid'],
    ['of our own client', { sub: 'xmpp', preferred_username: 'alice' }, 'alice', {}, 'not_a_user'],
    [
      'of a service account',
      { preferred_username: 'service-account-x' },
      'service-account-x',
      {},
      'not_a_user',
    ],
    [
      'with the name deeper',
      { user: { login: 'alice' } },
      'alice',
      { username_field: ['user.login'] },
      'fine',
    ],
    [
      "with a dot in the claim's name",
      { 'https://x.example/user': 'alice' },
      'alice',
      { username_field: ['https://x.example/user'] },
      'fine',
    ],
    [
      'with the second of two fields',
      { nickname: 'alice' },
      'alice',
      { username_field: ['preferred_username', 'nickname'] },
      'fine',
    ],
    [
      'with both, of which the first counts',
      { preferred_username: 'bob', nickname: 'alice' },
      'alice',
      { username_field: ['preferred_username', 'nickname'] },
      'user_mismatch',
    ],
    [
      'with a name from the prototype',
      {},
      'object',
      { username_field: ['constructor.name'] },
      'username_missing',
    ],
    [
      'with a verified address, split',
      { email: 'alice@corp.example', email_verified: true },
      'alice',
      split,
      'fine',
    ],
    [
      'with "true" for verified',
      { email: 'alice@corp.example', email_verified: 'true' },
      'alice',
      split,
      'fine',
    ],
    [
      'with the domain in capitals',
      { email: 'alice@CORP.example', email_verified: true },
      'alice',
      split,
      'fine',
    ],
    [
      'with an address that is not verified',
      { email: 'alice@corp.example' },
      'alice',
      split,
      'email_not_verified',
    ],
    [
      'with 1 for verified',
      { email: 'alice@corp.example', email_verified: 1 },
      'alice',
      split,
      'email_not_verified',
    ],
    [
      'with an unverified address, where that is allowed',
      { email: 'alice@corp.example' },
      'alice',
      { ...split, require_email_verified: false },
      'fine',
    ],
    [
      'with an address of a domain that folds to ours',
      { email: 'alice@\u212aorp.example', email_verified: true },
      'alice',
      { ...split, username_domains: ['korp.example'] },
      'domain_not_allowed',
    ],
    [
      'with the verification of another address',
      { email_verified: true, attributes: { email: 'alice@corp.example', email_verified: false } },
      'alice',
      { ...split, username_field: ['attributes.email'] },
      'email_not_verified',
    ],
    [
      'with the verification beside the address',
      { attributes: { email: 'alice@corp.example', email_verified: true } },
      'alice',
      { ...split, username_field: ['attributes.email'] },
      'fine',
    ],
    [
      'with an address of another domain',
      { email: 'alice@evil.example', email_verified: true },
      'alice',
      split,
      'domain_not_allowed',
    ],
    [
      'with an address of a domain below',
      { email: 'alice@sub.corp.example', email_verified: true },
      'alice',
      split,
      'domain_not_allowed',
    ],
    [
      'with an address of two @',
      { email: 'alice@corp.example@evil.example', email_verified: true },
      'alice',
      split,
      'domain_not_allowed',
    ],
    [
      'with an address of two @, the last of them ours',
      { email: 'alice@evil.example@corp.example', email_verified: true },
      'alice',
      split,
      'user_mismatch',
    ],
    [
      'with no @ at all, split',
      { email: 'alice', email_verified: true },
      'alice',
      split,
      'domain_not_allowed',
    ],
    [
      'with nothing before the @',
      { email: '@corp.example', email_verified: true },
      'alice',
      split,
      'domain_not_allowed',
    ],
    [
      'with an address of a listed domain',
      { email: 'alice@school.example', email_verified: true },
      'alice',
      { ...split, username_domains: ['school.example'] },
      'fine',
    ],
  ];
  for (const [title, claims, localpart, rules, reason] of table) {
    it(`${title}, asked for by ${localpart}: ${reason}`, () => {
      const judged = judgeIdentity(
        claims as Record<string, unknown>,
        { localpart, host },
        { ...defaults, ...rules },
      );
      if (typeof judged === 'string') assert.deepEqual([judged, 'fine'], [localpart, reason]);
      else assert.equal(judged.reason, reason, judged.detail);
    });
  }
  it('are named, and their values are not, when the name is missing', () => {
    const judged = judgeIdentity({ sub: 'planted', email: 'planted@x' }, { localpart: 'a', host }, defaults);
    const detail = typeof judged === 'string' ? judged : (judged.detail ?? '');
    assert.match(detail, /no preferred_username, only sub, email/);
    assert.ok(!detail.includes('planted'));
  });
});

describe('the provider is asked about', () => {
  const table: [localpart: string, rules: Partial<IdentityRules>, name: string][] = [
    ['alice', {}, 'alice'],
    ['alice\\40corp.example', {}, 'alice@corp.example'],
    ['alice', { sasl_username_mapping: 'join' }, 'alice@corp.example'],
  ];
  for (const [localpart, rules, name] of table) {
    it(`${name} when ${localpart} logs in`, () =>
      assert.equal(providerUsername(localpart, host, { ...defaults, ...rules }), name));
  }
});
