// The strings of XMPP: Nodeprep (RFC 3454, RFC 6122 appendix A), JID escaping (XEP-0106), and the localpart made of both.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { escapeLocalpart, type JidEscape, unescapeLocalpart } from '../src/xmpp/escape.ts';
import { type LocalpartRules, toLocalpart, toProviderName } from '../src/xmpp/localpart.ts';
import { fold, nodeprep } from '../src/xmpp/nodeprep.ts';

const show = (text: string | undefined): string =>
  text === undefined
    ? 'nothing'
    : JSON.stringify(text.length > 24 ? `${text.slice(0, 24)}...` : text).replace(
        /[^ -~\u00a1-\u00ac\u00ae-\u02ff\u0370-\u058f]/g,
        (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
      );

describe('nodeprep', () => {
  const table: [why: string, name: string, localpart: string | undefined][] = [
    ['plain ASCII', 'alice', 'alice'],
    ['capitals', 'ALICE', 'alice'],
    ['all of ASCII that is allowed', '!#$%()*+,-.09;=?AZ[\\]^_`az{|}~', '!#$%()*+,-.09;=?az[\\]^_`az{|}~'],
    ['an escaped name', 'alice\\40corp.com', 'alice\\40corp.com'],
    ['fullwidth letters', 'ａｌｉｃｅ', 'alice'],
    ['fullwidth capitals', 'ＡＬＩＣＥ', 'alice'],
    ['halfwidth katakana', '\uff76\uff9e', '\u30ac'],
    ['NFD', 'A\u0308rger', 'ärger'],
    ['NFC', 'Ärger', 'ärger'],
    ['sharp s', 'straße', 'strasse'],
    ['an fi ligature', '\ufb01sh', 'fish'],
    ['an st ligature', '\ufb06', 'st'],
    ['a dotted capital i', 'İ', 'i\u0307'],
    ['a dotless i', 'ı', 'ı'],
    ['a final sigma', 'Σίσυφος', 'σίσυφοσ'],
    ["Kelvin's sign", '\u212aate', 'kate'],
    ['a Roman numeral', '\u2167', 'viii'],
    ['a squared sign whose letters fold only after NFKC', '\u3392', 'mhz'],
    ['mathematical letters', '\u{1d400}\u{1d41b}', 'ab'],
    ['Deseret', '\u{10400}', '\u{10428}'],
    ['Han', '\u65e5\u672c\u8a9e', '\u65e5\u672c\u8a9e'],
    ['Hangul letters that make a syllable', '\u1112\u1161\u11ab', '\ud55c'],
    ['a Georgian capital that got its small letter after Unicode 3.2', '\u10a0', '\u10a0'],
    ['a Cherokee letter that got its small letter after Unicode 3.2', '\u13a0', '\u13a0'],
    ['an ideograph before Corrigendum 4', '\u{2f868}', '\u{2136a}'],
    ['a soft hyphen', 'al\u00adice', 'alice'],
    ['a zero-width space', 'al\u200bice', 'alice'],
    ['a zero-width joiner', 'al\u200dice', 'alice'],
    ['a variation selector', 'alice\ufe0f', 'alice'],
    ['a name of which nothing is left', '\u00ad\u200d', undefined],
    ['no name', '', undefined],
    ['a space', 'al ice', undefined],
    ['a no-break space', 'al\u00a0ice', undefined],
    ['an ideographic space', 'al\u3000ice', undefined],
    ['an at sign', 'alice@home', undefined],
    ['a fullwidth at sign', 'alice\uff20home', undefined],
    ['a small at sign', 'alice\ufe6bhome', undefined],
    ['a slash', 'a/b', undefined],
    ['a fullwidth slash', 'a\uff0fb', undefined],
    ['an account-of sign, which holds a slash', '\u2100', undefined],
    ['a colon', 'a:b', undefined],
    ['a quotation mark', 'a"b', undefined],
    ['an ampersand', 'a&b', undefined],
    ['an apostrophe', "a'b", undefined],
    ['less than', 'a<b', undefined],
    ['greater than', 'a>b', undefined],
    ['not greater than, which NFKC makes of two', 'a>\u0338b', 'a\u226fb'],
    ['a NUL', 'a\0b', undefined],
    ['a newline', 'a\nb', undefined],
    ['a delete character', 'a\u007fb', undefined],
    ['a C1 control character', 'a\u0085b', undefined],
    ['a line separator', 'a\u2028b', undefined],
    ['a right-to-left override', 'a\u202eb', undefined],
    ['a replacement character', 'a\ufffdb', undefined],
    ['a private-use character', 'a\ue000b', undefined],
    ['a tag character', 'a\u{e0041}b', undefined],
    ['a noncharacter', 'a\ufdd0b', undefined],
    ['a lone surrogate', 'a\ud800', undefined],
    ['two surrogates in the wrong order', '\udc00\ud800', undefined],
    ['an emoji', '\u{1f438}', undefined],
    ['the emoji of Unicode 1.1', '\u263a', '\u263a'],
    ['a letter assigned after Unicode 3.2', '\u0221', undefined],
    ['a capital sharp s, assigned after Unicode 3.2', '\u1e9e', undefined],
    ['Hebrew', '\u05d0\u05d1', '\u05d0\u05d1'],
    ['Arabic presentation forms', '\ufefb', '\u0644\u0627'],
    ['Hebrew and Latin', '\u05d0a\u05d0', undefined],
    ['Hebrew with a digit behind', '\u05d01', undefined],
    ['Hebrew with a digit in front', '1\u05d0', undefined],
    ['Hebrew around a digit', '\u05d01\u05d0', '\u05d01\u05d0'],
    ['1023 bytes', 'a'.repeat(1023), 'a'.repeat(1023)],
    ['1024 bytes', 'a'.repeat(1024), undefined],
    ['1024 bytes of 512 letters', 'ä'.repeat(512), undefined],
    ['1022 bytes of 511 letters', 'Ä'.repeat(511), 'ä'.repeat(511)],
    ['a short name that grows beyond', '\ufdfa'.repeat(60), undefined],
    ['a long name that would shrink', `a${'\u00ad'.repeat(512)}`, undefined],
  ];
  for (const [why, name, localpart] of table) {
    it(`makes ${show(localpart)} of ${show(name)}: ${why}`, () => assert.equal(nodeprep(name), localpart));
  }

  // The referee is Python, whose standard library holds RFC 3454 and Unicode 3.2. The hashes are what
  //   python3 test/support/nodeprep-tables.py --digest
  // prints: SHA-256 over the results, each with a line feed behind, a refusal being a quotation mark.
  it('is what Python makes of every code point', () => {
    assert.deepEqual(digest(everyCodePoint()), {
      sha256: 'f9644961b17d1b8ebb1ef881dea81c2ee3395505b38a5692998a13f2feed879a',
      accepted: 94841,
    });
  });

  it('is what Python makes of 20,000 strings', () => {
    assert.deepEqual(digest(randomStrings()), {
      sha256: 'bd376613f809147eb16cbbb179b0347bfaf563d20dcd3f89c4c049e7a6b65a8c',
      accepted: 12002,
    });
  });

  it('takes a plain name no other way than the long one', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme-ascii', minLength: 1 }), (name) => {
        const prepared = nodeprep(name);
        if (prepared !== undefined) assert.equal(prepared, fold(name));
        assert.equal(prepared === undefined, /[ "&'/:<>@]/.test(name));
      }),
    );
  });

  it('changes nothing more the second time, and leaves nothing that a JID separates by', () => {
    fc.assert(
      fc.property(names(), (name) => {
        const once = nodeprep(name);
        if (once === undefined) return;
        assert.equal(nodeprep(once), once);
        assertHarmless(once);
      }),
      { numRuns: 5000 },
    );
  });
});

describe('XEP-0106', () => {
  // Its examples. Where an example escapes a backslash that its own rules (section 4.1, 7) leave alone, Prosody goes by
  // the rules since 0.12 and went by the examples in 0.11.
  const table: [name: string, escaped: string, prosody011?: string][] = [
    ['space cadet', 'space\\20cadet'],
    ['call me "ishmael"', 'call\\20me\\20\\22ishmael\\22'],
    ['at&t guy', 'at\\26t\\20guy'],
    ["d'artagnan", 'd\\27artagnan'],
    ['/.fanboy', '\\2f.fanboy'],
    ['::foo::', '\\3a\\3afoo\\3a\\3a'],
    ['<foo>', '\\3cfoo\\3e'],
    ['user@host', 'user\\40host'],
    ['c:\\net', 'c\\3a\\net', 'c\\3a\\5cnet'],
    ['c:\\\\net', 'c\\3a\\\\net', 'c\\3a\\5c\\5cnet'],
    ['c:\\cool stuff', 'c\\3a\\cool\\20stuff', 'c\\3a\\5ccool\\20stuff'],
    ['c:\\\\cool stuff', 'c\\3a\\\\cool\\20stuff', 'c\\3a\\5c\\5ccool\\20stuff'],
    ['c:\\5commas', 'c\\3a\\5c5commas'],
    ['\\3and\\2is\\5cool', '\\5c3and\\2is\\5c5cool', '\\5c3and\\5c2is\\5c5cool'],
    ['\\2plus\\2is\\4', '\\2plus\\2is\\4', '\\5c2plus\\5c2is\\5c4'],
    ['foo\\bar', 'foo\\bar', 'foo\\5cbar'],
    ['foob\\41r', 'foob\\41r', 'foob\\5c41r'],
    ["here's_a_wild_&_/cr%zy/_address", 'here\\27s_a_wild_\\26_\\2fcr%zy\\2f_address'],
    [
      'here\'s_a_wild_&_/cr%zy/_address_for:<wv>("IMPS")',
      'here\\27s_a_wild_\\26_\\2fcr%zy\\2f_address_for\\3a\\3cwv\\3e(\\22IMPS\\22)',
    ],
    [
      "CN=D'Artagnan Saint-André,O=Example & Company, Inc.,DC=example,DC=com",
      'CN=D\\27Artagnan\\20Saint-André,O=Example\\20\\26\\20Company,\\20Inc.,DC=example,DC=com',
    ],
    ['somenick!user"&\'/:<>\\3address', 'somenick!user\\22\\26\\27\\2f\\3a\\3c\\3e\\5c3address'],
    ['tréville@musketeers.lit', 'tréville\\40musketeers.lit'],
    ['DOMAIN\\user', 'DOMAIN\\user', 'DOMAIN\\5cuser'],
    ['\\5c', '\\5c5c'],
    ['\\2F is none', '\\2F\\20is\\20none', '\\5c2F\\20is\\20none'],
  ];
  for (const [name, escaped, prosody011 = escaped] of table) {
    it(`writes ${name} as ${escaped}, and reads it back`, () => {
      assert.equal(escapeLocalpart(name, 'xep0106'), escaped);
      assert.equal(unescapeLocalpart(escaped), name);
    });
    it(`writes ${name} as ${prosody011} for Prosody 0.11, and reads it back`, () => {
      assert.equal(escapeLocalpart(name, 'prosody-0.11'), prosody011);
      assert.equal(unescapeLocalpart(prosody011), name);
    });
  }

  for (const name of [' alice', 'alice ', ' ', '  ']) {
    it(`cannot write ${show(name)}: no \\20 at either end`, () => {
      assert.equal(escapeLocalpart(name, 'xep0106'), undefined);
      assert.equal(escapeLocalpart(name, 'prosody-0.11'), undefined);
    });
  }

  it('reads once only', () => {
    assert.equal(unescapeLocalpart('\\5c5c40'), '\\5c40');
    assert.equal(unescapeLocalpart('\\5c40'), '\\40');
  });

  it('reads lower-case sequences of the ten characters and nothing else', () => {
    for (const text of ['\\2F', '\\5C', '\\3A', '\\21', '\\41', '\\0a', '\\', '\\4', '\\\\']) {
      assert.equal(unescapeLocalpart(text), text);
    }
  });

  it('reads back whatever it writes, in both dialects', () => {
    fc.assert(
      fc.property(escapeLike(), dialects(), (name, dialect) => {
        const escaped = escapeLocalpart(name, dialect);
        assert.equal(escaped === undefined, name.startsWith(' ') || name.endsWith(' '));
        if (escaped === undefined) return;
        assert.equal(unescapeLocalpart(escaped), name);
        assert.doesNotMatch(escaped, /[ "&'/:<>@]|^\\20|\\20$/);
      }),
      { numRuns: 5000 },
    );
  });
});

describe("the localpart of a provider's user", () => {
  type Row = [
    name: string,
    exact: string | undefined,
    ascii: string | undefined,
    nodeprep: string | undefined,
  ];
  const same = (name: string, localpart: string): Row => [name, localpart, localpart, localpart];
  const none = (name: string): Row => [name, undefined, undefined, undefined];
  const table: Row[] = [
    same('alice', 'alice'),
    same('jörg', 'jörg'),
    same('alice@corp.example', 'alice\\40corp.example'),
    same('corp\\alice', 'corp\\alice'),
    same('alice\\40evil', 'alice\\5c40evil'),
    same('a b', 'a\\20b'),
    same("d'artagnan", 'd\\27artagnan'),
    same('\u65e5\u672c', '\u65e5\u672c'),
    ['Alice', undefined, 'alice', 'alice'],
    ['Alice@Corp.example', undefined, 'alice\\40corp.example', 'alice\\40corp.example'],
    ['Jörg', undefined, 'jörg', 'jörg'],
    ['JÖRG', undefined, undefined, 'jörg'],
    ['jo\u0308rg', undefined, undefined, 'jörg'],
    ['straße', undefined, undefined, 'strasse'],
    ['ａlice', undefined, undefined, 'alice'],
    ['\u212aate', undefined, undefined, 'kate'],
    ['al\u00adice', undefined, undefined, 'alice'],
    ['al\u200dice', undefined, undefined, 'alice'],
    ['İ', undefined, undefined, 'i\u0307'],
    // Folding would make an escape sequence, or break one.
    none('root\\2Fadmin'),
    none('root\uff3c2fadmin'),
    none('root\\2\u00adfadmin'),
    none('<\u0327'),
    none('\u00ad alice'),
    none(' alice'),
    none('alice '),
    none('alice\u00a0'),
    none('alice\uff20corp'),
    none('alice\nbob'),
    none('alice\0'),
    none('\ud800'),
    none('\u{1f438}'),
    none('\u05d0a'),
    none(''),
    none('@'.repeat(342)),
    same('@'.repeat(341), '\\40'.repeat(341)),
  ];
  for (const [name, exact, ascii, prepared] of table) {
    for (const [username_case, expected] of Object.entries({ exact, ascii, nodeprep: prepared })) {
      it(`is ${show(expected)} for ${show(name)} under ${username_case}`, () => {
        const rules = { username_case, jid_escape: 'xep0106' } as LocalpartRules;
        assert.equal(toLocalpart(name, rules), expected);
      });
    }
  }

  it('escapes every backslash for Prosody 0.11, so that a folded one cannot become a sequence', () => {
    const rules = { username_case: 'ascii', jid_escape: 'prosody-0.11' } as const;
    assert.equal(toLocalpart('CORP\\alice', rules), 'corp\\5calice');
    assert.equal(toLocalpart('root\\2Fadmin', rules), 'root\\5c2fadmin');
  });

  it('is harmless, prepared and leads back to the name, but for what was allowed to fold', () => {
    const folding = {
      exact: (name: string) => name,
      ascii: (name: string) => name.replace(/[A-Z]/g, (letter) => letter.toLowerCase()),
      nodeprep: fold,
    };
    fc.assert(
      fc.property(names(), allRules(), (name, rules) => {
        const localpart = toLocalpart(name, rules);
        if (localpart === undefined) return;
        assertHarmless(localpart);
        assert.equal(nodeprep(localpart), localpart);
        assert.equal(toProviderName(localpart), folding[rules.username_case](name));
      }),
      { numRuns: 10_000 },
    );
  });

  it('is never that of two users, where spelling must be exact', () => {
    const near = fc.string({
      unit: fc.constantFrom('a', 'A', 'ä', 'a\u0308', '\\', '2', 'f', 'F', '/', 'ß', 's', '\u00ad'),
    });
    fc.assert(
      fc.property(near, near, dialects(), (one, other, jid_escape) => {
        const rules = { username_case: 'exact', jid_escape } as const;
        const localpart = toLocalpart(one, rules);
        if (localpart !== undefined && one !== other) assert.notEqual(localpart, toLocalpart(other, rules));
      }),
      { numRuns: 10_000 },
    );
  });
});

function assertHarmless(localpart: string): void {
  assert.ok(localpart !== '' && Buffer.byteLength(localpart) <= 1023);
  assert.doesNotMatch(localpart, /[\p{Cc}\p{Cs}\p{Zs}\p{Zl}\p{Zp}"&'/:<>@]/u);
}

/** Names that meet the rules half-way: any text, and text full of what is special here. */
function names(): fc.Arbitrary<string> {
  return fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.string({ unit: 'grapheme' }),
    escapeLike(),
    fc.string({
      unit: fc.constantFrom(
        ...'aAzßäÄ\u0308\u0327\u0338\u00ad\u00a0\u200d\u05d0\u0661\uff3c\uff12\ufb01 \\2fFcC3</@',
      ),
    }),
  );
}

function escapeLike(): fc.Arbitrary<string> {
  return fc.string({ unit: fc.constantFrom(...' "&\'/:<>@\\0234567acefxAF') });
}

function dialects(): fc.Arbitrary<JidEscape> {
  return fc.constantFrom('xep0106', 'prosody-0.11');
}

function allRules(): fc.Arbitrary<LocalpartRules> {
  return fc.record({ username_case: fc.constantFrom('exact', 'ascii', 'nodeprep'), jid_escape: dialects() });
}

function digest(strings: Iterable<string>): { sha256: string; accepted: number } {
  const hash = createHash('sha256');
  let accepted = 0;
  for (const text of strings) {
    const prepared = nodeprep(text);
    if (prepared !== undefined) accepted++;
    hash.update(`${prepared ?? '"'}\n`);
  }
  return { sha256: hash.digest('hex'), accepted };
}

function* everyCodePoint(): Generator<string> {
  for (let code = 0; code < 0x110000; code++) yield String.fromCodePoint(code);
}

// biome-ignore format: one table, the same as BLOCKS in nodeprep-tables.py
const BLOCKS: [first: number, last: number][] = [
  [0x21, 0x7e], [0x41, 0x5a], [0xa0, 0x17f], [0x180, 0x24f], [0x300, 0x34f], [0x370, 0x3ff], [0x400, 0x50f],
  [0x591, 0x5f4], [0x60c, 0x6fe], [0x901, 0x94d], [0x981, 0x9d7], [0xb3e, 0xb57], [0xbbe, 0xbd7], [0xc41, 0xc56],
  [0xcbf, 0xcd6], [0xd3e, 0xd57], [0xdca, 0xddf], [0xe31, 0xe4e], [0xf71, 0xf84], [0x1025, 0x1039], [0x10a0, 0x10ff],
  [0x1100, 0x1175], [0x11a8, 0x11f9], [0x13a0, 0x13f4], [0x1e00, 0x1e9b], [0x1f00, 0x1ffe], [0x2000, 0x2063],
  [0x2070, 0x218f], [0x2460, 0x24ea], [0x3041, 0x30ff], [0x3131, 0x33ff], [0xac00, 0xd7a3], [0xf900, 0xfa6a],
  [0xfb00, 0xfb4f], [0xfb50, 0xfdfc], [0xfe00, 0xfefc], [0xff01, 0xffee], [0x10400, 0x1044d], [0x1d15e, 0x1d1dd],
  [0x1d400, 0x1d7ff], [0x2f800, 0x2fa1d],
];

/** One to five characters out of two blocks, by the same generator as `random_strings` in nodeprep-tables.py. */
function* randomStrings(): Generator<string> {
  let state = 1;
  const below = (limit: number): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return (state >>> 8) % limit;
  };
  const block = () => BLOCKS[below(BLOCKS.length)]!;
  for (let round = 0; round < 20_000; round++) {
    const two = [block(), block()];
    let name = '';
    for (let left = 1 + below(5); left > 0; left--) {
      const [first, last] = two[below(2)]!;
      name += String.fromCodePoint(first + below(last - first + 1));
    }
    yield name;
  }
}
