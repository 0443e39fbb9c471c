// The Dovecot authentication protocol as our side speaks it: lines, SASL messages, and who is answered what and when.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import { createLineReader, escapeValue, type Line, MAX_LINE, unescapeValue } from '../src/dovecot/lines.ts';
import type { SaslAnswer, SaslRequest } from '../src/dovecot/logins.ts';
import type { SaslFault, SaslOutcome } from '../src/dovecot/outcome.ts';
import { MECHANISMS, type Mechanism, parseMessage } from '../src/dovecot/sasl.ts';
import { createDovecotSession, type DovecotSession } from '../src/dovecot/session.ts';
import { ByteQueue } from '../src/extauth/byte-queue.ts';
import { split } from './support/chunks.ts';
import { auth, base64, oauthBearer, plain, xoauth2 } from './support/sasl.ts';

describe('a value between tabs', () => {
  const anything = fc.string({ unit: 'binary' });

  it('comes back as it was, whatever is in it', () => {
    fc.assert(
      fc.property(anything, (value) => {
        assert.equal(unescapeValue(escapeValue(value)), value);
      }),
    );
  });

  it('holds nothing that ends a value, a line or a C string', () => {
    fc.assert(
      fc.property(anything, (value) => {
        assert.ok(!['\0', '\t', '\r', '\n'].some((character) => escapeValue(value).includes(character)));
      }),
    );
  });

  const table: [escaped: string, value: string][] = [
    ['plain', 'plain'],
    ['a\x01tb\x01nc\x01rd\x010e\x011f', 'a\tb\nc\rd\0e\x01f'],
    // 1 and t are what they are when no escape character stands in front.
    ['\x0111t', '\x011t'],
    ['\x01x', 'x'],
    ['\x01\x01t', '\x01t'],
    ['end\x01', 'end'],
    ['\x01😀', '😀'],
  ];
  for (const [escaped, value] of table) {
    it(`${JSON.stringify(escaped)} is ${JSON.stringify(value)}`, () => {
      assert.equal(unescapeValue(escaped), value);
    });
  }
});

/** All lines in these chunks, read as they come. */
function linesIn(chunks: readonly Uint8Array[]): Line[] {
  const queue = new ByteQueue();
  const next = createLineReader();
  const lines: Line[] = [];
  for (const chunk of chunks) {
    queue.push(chunk, 0);
    for (let line = next(queue); line !== undefined; line = next(queue)) lines.push(line);
  }
  return lines;
}

describe('a line', () => {
  it('is read the same, wherever the chunks are cut', () => {
    const field = fc.string({ unit: 'binary' }).map(escapeValue);
    const lines = fc.array(fc.array(field, { minLength: 1 }));
    fc.assert(
      fc.property(lines, fc.array(fc.nat()), (written, cuts) => {
        const bytes = Buffer.from(written.map((fields) => `${fields.join('\t')}\n`).join(''));
        const expected = written.map((fields) => ({ fields, tooLong: false }));
        assert.deepEqual(linesIn(split(bytes, cuts)), expected);
      }),
    );
  });

  it('is none before its LF', () => {
    assert.deepEqual(linesIn([Buffer.from('VERSION\t1\t1')]), []);
  });

  const lengths: [length: number, tooLong: boolean][] = [
    [MAX_LINE, false],
    [MAX_LINE + 1, true],
    [2 * MAX_LINE, true],
    [10 * MAX_LINE, true],
  ];
  for (const [length, tooLong] of lengths) {
    for (const size of [1000, 4096, MAX_LINE, MAX_LINE + 1, 20 * MAX_LINE]) {
      it(`of ${length} bytes in chunks of ${size} is ${tooLong ? 'dropped but for its beginning' : 'read'}, and so is the next`, () => {
        const head = 'AUTH\t7\tPLAIN\tresp=';
        const bytes = Buffer.from(`${head.padEnd(length, 'A')}\nCPID\t1\n`);
        const cuts = Array.from({ length: Math.ceil(bytes.length / size) }, (_, index) => index * size);
        const [long, next, ...more] = linesIn(split(bytes, cuts));
        assert.equal(long?.tooLong, tooLong);
        assert.deepEqual(long?.fields.slice(0, 3), ['AUTH', '7', 'PLAIN']);
        assert.deepEqual([next, more], [{ fields: ['CPID', '1'], tooLong: false }, []]);
      });
    }
  }
});

describe('a message', () => {
  type Parsed = [authzid: string, authcid: string, secret: string] | undefined;
  const longest = 'x'.repeat(2047);
  const table: [mechanism: Mechanism, message: string | Buffer, parsed: Parsed][] = [
    ['PLAIN', '\0alice\0secret', ['', 'alice', 'secret']],
    ['PLAIN', 'bob\0alice\0secret', ['bob', 'alice', 'secret']],
    ['PLAIN', '\0alice@chat.example\0 p\tw ', ['', 'alice@chat.example', ' p\tw ']],
    ['PLAIN', '\0jörg\0pässwörd ✓', ['', 'jörg', 'pässwörd ✓']],
    ['PLAIN', '\0alice\0\ufeffsecret', ['', 'alice', '\ufeffsecret']],
    ['PLAIN', '\ufeff\0alice\0secret', ['\ufeff', 'alice', 'secret']],
    ['PLAIN', '\0alice\0line\r\nbreak', ['', 'alice', 'line\r\nbreak']],
    ['PLAIN', '', undefined],
    ['PLAIN', 'alice', undefined],
    ['PLAIN', 'alice\0secret', undefined],
    ['PLAIN', '\0\0secret', undefined],
    ['PLAIN', 'alice\0\0secret', undefined],
    ['PLAIN', '\0alice\0', undefined],
    ['PLAIN', '\0alice\0secret\0', undefined],
    ['PLAIN', '\0alice\0sec\0ret', undefined],
    ['PLAIN', '\0al\nice\0secret', undefined],
    ['PLAIN', '\0al\x7fice\0secret', undefined],
    ['PLAIN', 'b\tob\0alice\0secret', undefined],
    ['PLAIN', Buffer.from('\0alice\0\xff\xfe', 'latin1'), undefined],
    ['PLAIN', Buffer.from('\0al\xc0\x80ice\0secret', 'latin1'), undefined],
    ['PLAIN', Buffer.from('\0alice\0\xed\xa0\x80', 'latin1'), undefined],
    ['PLAIN', `${longest}\0${longest}\0secret`, [longest, longest, 'secret']],
    ['PLAIN', `\0${longest}x\0secret`, undefined],
    // Bytes are counted, not characters.
    ['PLAIN', `\0${'é'.repeat(1024)}\0secret`, undefined],
    ['PLAIN', `${longest}x\0alice\0secret`, undefined],

    ['OAUTHBEARER', 'n,,\x01auth=Bearer t0k.en\x01\x01', ['', '', 't0k.en']],
    ['OAUTHBEARER', 'y,,\x01auth=Bearer t0k.en\x01\x01', ['', '', 't0k.en']],
    ['OAUTHBEARER', 'n,a=alice,\x01auth=Bearer t\x01\x01', ['alice', '', 't']],
    [
      'OAUTHBEARER',
      'n,a=alice@chat.example,\x01host=chat.example\x01port=5222\x01auth=Bearer t\x01\x01',
      ['alice@chat.example', '', 't'],
    ],
    ['OAUTHBEARER', 'n,,\x01auth=Bearer t\x01host=chat.example\x01\x01', ['', '', 't']],
    ['OAUTHBEARER', 'n,a=a=2Cb=3Dc,\x01auth=Bearer t\x01\x01', ['a,b=c', '', 't']],
    // One pass: what comes out of an escape is not read again.
    ['OAUTHBEARER', 'n,a=a=3D2Cb,\x01auth=Bearer t\x01\x01', ['a=2Cb', '', 't']],
    ['OAUTHBEARER', 'n,,\x01auth=bearer t\x01\x01', ['', '', 't']],
    ['OAUTHBEARER', 'n,,\x01auth=BEARER   t\x01\x01', ['', '', 't']],
    ['OAUTHBEARER', 'n,,\x01auth=\x01\x01', ['', '', '']],
    ['OAUTHBEARER', 'p=tls-unique,,\x01auth=Bearer t\x01\x01', undefined],
    ['OAUTHBEARER', 'p=tls-exporter,a=alice,\x01auth=Bearer t\x01\x01', undefined],
    ['OAUTHBEARER', 'N,,\x01auth=Bearer t\x01\x01', undefined],
    ['OAUTHBEARER', 'n\x01auth=Bearer t\x01\x01', undefined],
    ['OAUTHBEARER', 'n,\x01auth=Bearer t\x01\x01', undefined],
    ['OAUTHBEARER', 'n,,,\x01auth=Bearer t\x01\x01', undefined],
    ['OAUTHBEARER', 'n,a=,\x01auth=Bearer t\x01\x01', undefined],
    ['OAUTHBEARER', 'n,a=a=2cb,\x01auth=Bearer t\x01\x01', undefined],
    ['OAUTHBEARER', 'n,a=a=b,\x01auth=Bearer t\x01\x01', undefined],
    ['OAUTHBEARER', 'n,alice,\x01auth=Bearer t\x01\x01', undefined],
    ['OAUTHBEARER', 'n,a=al\0ice,\x01auth=Bearer t\x01\x01', undefined],
    ['OAUTHBEARER', 'n,a=al\nice,\x01auth=Bearer t\x01\x01', undefined],
    ['OAUTHBEARER', `n,a=${longest}x,\x01auth=Bearer t\x01\x01`, undefined],
    ['OAUTHBEARER', 'n,,\x01auth=Bearer t\x01', undefined],
    ['OAUTHBEARER', 'n,,\x01auth=Bearer t', undefined],
    ['OAUTHBEARER', 'n,,\x01auth=Bearer t\x01host=chat.example\x01', undefined],
    ['OAUTHBEARER', 'n,,auth=Bearer t\x01\x01', undefined],
    ['OAUTHBEARER', 'n,,\x01auth=Bearer t\x01\x01\x01', undefined],
    ['OAUTHBEARER', 'n,,\x01auth=Bearer t\x01\x01more', undefined],
    ['OAUTHBEARER', 'n,,\x01auth=Bearer a\x01auth=Bearer b\x01\x01', undefined],
    ['OAUTHBEARER', 'n,,\x01auth=Bearer a\x01auth=\x01\x01', undefined],
    ['OAUTHBEARER', 'n,,\x01auth=Basic t\x01\x01', undefined],
    ['OAUTHBEARER', 'n,,\x01auth=Bearer\x01\x01', undefined],
    ['OAUTHBEARER', 'n,,\x01auth=Bearer \x01\x01', undefined],
    ['OAUTHBEARER', 'n,,\x01auth=Bearert\x01\x01', undefined],
    ['OAUTHBEARER', 'n,,\x01auth=t\x01\x01', undefined],
    ['OAUTHBEARER', 'n,,\x01host=chat.example\x01\x01', undefined],
    ['OAUTHBEARER', 'n,,\x01host\x01auth=Bearer t\x01\x01', undefined],
    ['OAUTHBEARER', 'n,,\x01=x\x01auth=Bearer t\x01\x01', undefined],
    ['OAUTHBEARER', 'n,,\x01\x01', undefined],
    ['OAUTHBEARER', '\x01', undefined],
    ['OAUTHBEARER', '', undefined],
    ['OAUTHBEARER', 'user=alice\x01auth=Bearer t\x01\x01', undefined],
    ['OAUTHBEARER', Buffer.from('n,a=\xff,\x01auth=Bearer t\x01\x01', 'latin1'), undefined],

    ['XOAUTH2', 'user=alice\x01auth=Bearer t\x01\x01', ['alice', '', 't']],
    ['XOAUTH2', 'user=a,b=c@chat.example\x01auth=Bearer t\x01\x01', ['a,b=c@chat.example', '', 't']],
    ['XOAUTH2', 'user=alice\x01auth=bearer t\x01\x01', ['alice', '', 't']],
    ['XOAUTH2', 'user=\x01auth=Bearer t\x01\x01', ['', '', 't']],
    ['XOAUTH2', 'user=alice\x01auth=\x01\x01', ['alice', '', '']],
    ['XOAUTH2', 'User=alice\x01auth=Bearer t\x01\x01', undefined],
    ['XOAUTH2', 'alice\x01auth=Bearer t\x01\x01', undefined],
    ['XOAUTH2', 'auth=Bearer t\x01user=alice\x01\x01', undefined],
    ['XOAUTH2', 'user=alice\x01auth=Bearer t\x01', undefined],
    ['XOAUTH2', 'user=alice\x01auth=Basic t\x01\x01', undefined],
    ['XOAUTH2', 'user=alice\x01\x01', undefined],
    ['XOAUTH2', 'user=al\0ice\x01auth=Bearer t\x01\x01', undefined],
    ['XOAUTH2', `user=${longest}x\x01auth=Bearer t\x01\x01`, undefined],
    ['XOAUTH2', 'n,,\x01auth=Bearer t\x01\x01', undefined],
  ];
  for (const [mechanism, message, parsed] of table) {
    const shown = JSON.stringify(message.toString('latin1'));
    const short = shown.length > 90 ? `${shown.slice(0, 80)}... (${message.length})` : shown;
    it(`${short} is ${parsed === undefined ? 'none' : 'one'} of ${mechanism}`, () => {
      const [authzid, authcid, secret] = parsed ?? [];
      const expected = parsed && { mechanism, authzid, authcid, secret };
      assert.deepEqual(parseMessage(mechanism, Buffer.from(message as string)), expected);
    });
  }

  it('of any bytes is one or none, and never more than that', () => {
    // Bytes that mean something come often.
    const telling = fc.constantFrom('\0', '\x01', ',', '=', 'n,,', 'user=', 'auth=', 'Bearer ', 'a=', '\xff');
    const bytes = fc
      .array(fc.oneof(telling, fc.string({ unit: 'binary-ascii', maxLength: 5 })))
      .map((parts) => Buffer.from(parts.join(''), 'latin1'));
    const message = fc.oneof(bytes, fc.uint8Array({ maxLength: 300 }).map(Buffer.from));
    fc.assert(
      fc.property(fc.constantFrom(...MECHANISMS), message, (mechanism, said) => {
        const parsed = parseMessage(mechanism, said);
        if (parsed === undefined) return;
        assert.equal(parsed.mechanism, mechanism);
        for (const name of [parsed.authzid, parsed.authcid]) assert.doesNotMatch(name, /\p{Cc}/u);
      }),
      { numRuns: 2000 },
    );
  });
});

const HELLO = 'VERSION\t1\t1\nCPID\t42\n';
const GREETING = [
  'VERSION\t1\t2',
  'MECH\tPLAIN\tplaintext',
  'MECH\tOAUTHBEARER\tplaintext',
  'MECH\tXOAUTH2\tplaintext',
  'SPID\t11',
  'CUID\t22',
  'COOKIE\t33',
  'DONE',
];

interface Conversation {
  readonly session: DovecotSession;
  /** What is said after the greeting. */
  said(): string[];
  readonly writes: readonly string[];
  readonly asked: readonly SaslRequest[];
  readonly faults: readonly SaslFault[];
  /** Why it was given up. */
  readonly closed: readonly string[];
  /** How often the flow of input was stopped, and is not running again. */
  held(): number;
  readonly pauses: readonly number[];
}

function converse({
  answer = bySecret,
  mechanisms = MECHANISMS,
  now = () => 0,
  hello = HELLO,
}: {
  answer?: SaslAnswer;
  mechanisms?: readonly Mechanism[];
  now?: () => number;
  hello?: string;
} = {}): Conversation {
  const writes: string[] = [];
  const asked: SaslRequest[] = [];
  const faults: SaslFault[] = [];
  const closed: string[] = [];
  const pauses: number[] = [];
  let held = 0;
  const session = createDovecotSession({
    answer(request) {
      asked.push(request);
      return answer(request);
    },
    mechanisms: () => mechanisms,
    write: (bytes) => writes.push(bytes),
    pause: () => pauses.push(++held),
    resume() {
      held--;
    },
    close: (why) => closed.push(why),
    onFault: (fault) => faults.push(fault),
    now,
    ids: { pid: 11, connection: 22, cookie: '33' },
  });
  session.feed(Buffer.from(hello));
  return {
    session,
    said() {
      const text = writes.join('');
      assert.ok(text.endsWith('\n'), 'whole lines');
      const lines = text.slice(0, -1).split('\n');
      return lines.slice(lines.indexOf('DONE') + 1);
    },
    writes,
    asked,
    faults,
    closed,
    held: () => held,
    pauses,
  };
}

const UNAVAILABLE: SaslOutcome = { outcome: 'unavailable', reason: 'provider_timeout' };
const REFUSED: SaslOutcome = { outcome: 'refused', reason: 'expired' };
const CHALLENGED: SaslOutcome = { ...REFUSED, challenge: '{"status":"invalid_token"}' };

/** What a login comes to is what its secret says. */
function bySecret({ message: { authcid, secret } }: SaslRequest): SaslOutcome {
  switch (secret) {
    case 'right':
      return { outcome: 'accepted', user: authcid };
    case 'down':
      return UNAVAILABLE;
    case 'challenged':
      return CHALLENGED;
    default:
      return REFUSED;
  }
}

/** What is said to these lines, after hello. */
function replies(...lines: readonly string[]): string[] {
  const { session, said } = converse();
  session.feed(Buffer.from(lines.map((line) => (line.endsWith('\n') ? line : `${line}\n`)).join('')));
  return said();
}

const right = base64(plain('alice', 'right'));

/** Answers that come when a test says so, by the name that was typed. */
function later(): { answer: SaslAnswer; conclude(authcid: string, outcome?: SaslOutcome): Promise<void> } {
  const open = new Map<string, (outcome: SaslOutcome) => void>();
  return {
    answer: ({ message: { authcid } }) => new Promise((resolve) => open.set(authcid, resolve)),
    async conclude(authcid, outcome = { outcome: 'accepted', user: authcid }) {
      const resolve = open.get(authcid);
      assert.ok(resolve, `${authcid} is being judged`);
      open.delete(authcid);
      resolve(outcome);
      await turn();
    },
  };
}

describe('the greeting', () => {
  it('is said at once, before the client says anything', () => {
    const { writes } = converse({ hello: '' });
    assert.deepEqual(writes, [`${GREETING.join('\n')}\n`]);
  });

  it('announces only what is offered, and nothing else is taken', () => {
    const { session, writes, faults } = converse({ mechanisms: ['PLAIN'] });
    assert.match(writes.join(''), /^VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nSPID/);
    session.feed(Buffer.from(auth(1, 'OAUTHBEARER', oauthBearer('right'))));
    assert.deepEqual(faults, ['mechanism']);
  });

  const hellos: [hello: string, taken: boolean][] = [
    ['VERSION\t1\t1\n', true],
    ['VERSION\t1\t0\n', true],
    ['VERSION\t1\t2\n', true],
    ['VERSION\t1\t99\n', true],
    ['VERSION\t1\n', true],
    ['VERSION\t2\t0\n', false],
    ['VERSION\t0\t1\n', false],
    ['VERSION\t10\t1\n', false],
    ['VERSION\t\n', false],
    ['VERSION\n', false],
    ['version\t1\t1\n', false],
    ['VERSION 1 1\n', false],
    ['CPID\t42\n', false],
    ['\n', false],
    ['\nVERSION\t1\t1\n', false],
    ['GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n', false],
    ['POST / HTTP/1.1\r\nContent-Length: 99\r\n\r\nVERSION\t1\t1\n', false],
    ['auth:alice:chat.example:secret\n', false],
    ['\0\x1eauth:alice:chat.example:secret\n', false],
  ];
  for (const [hello, taken] of hellos) {
    it(`of a client that says ${JSON.stringify(hello)} ${taken ? 'begins a conversation' : 'ends it without an answer'}`, () => {
      const { session, said, closed, asked } = converse({ hello });
      session.feed(Buffer.from(auth(1, 'PLAIN', plain('alice', 'right'))));
      assert.deepEqual(said(), taken ? ['OK\t1\tuser=alice'] : []);
      assert.deepEqual([closed.length, asked.length], taken ? [0, 1] : [1, 0]);
    });
  }

  it('is missed until the client has said which version it speaks, and then only what is half there', () => {
    let clock = 1000;
    const { session } = converse({ hello: '', now: () => clock });
    assert.equal(session.unfinishedSince(), 1000);
    clock = 2000;
    session.feed(Buffer.from('VERSION\t1'));
    assert.equal(session.unfinishedSince(), 2000);
    clock = 3000;
    session.feed(Buffer.from('\t1\nCPID'));
    assert.equal(session.unfinishedSince(), 3000);
    session.feed(Buffer.from('\t42\n'));
    assert.equal(session.unfinishedSince(), undefined);
  });
});

describe('a request', () => {
  const refused = 'FAIL\t1\treason=malformed';
  const table: [title: string, lines: string[], said: string[]][] = [
    [
      'with a good message is accepted',
      [`AUTH\t1\tPLAIN\tservice=xmpp\tresp=${right}`],
      ['OK\t1\tuser=alice'],
    ],
    [
      'has any parameters in any order',
      [`AUTH\t1\tPLAIN\tsecured\tlip=127.0.0.1\tnologin\tfuture=x\tresp=${right}\tservice=xmpp`],
      ['OK\t1\tuser=alice'],
    ],
    ['with the largest number', [`AUTH\t4294967295\tPLAIN\tresp=${right}`], ['OK\t4294967295\tuser=alice']],
    [
      'that is refused says why, once',
      [auth(1, 'PLAIN', plain('alice', 'wrong'))],
      ['FAIL\t1\treason=expired'],
    ],
    [
      'that nobody can judge says so by code and by flag',
      [auth(1, 'PLAIN', plain('alice', 'down'))],
      ['FAIL\t1\treason=provider_timeout\tcode=temp_fail\ttemp'],
    ],
    // What is empty comes back as it was written: see EMPTY in session.ts.
    ['without a message is asked for one', ['AUTH\t1\tPLAIN\tservice=xmpp'], ['CONT\t1\t']],
    ['with an empty message is asked for one', ['AUTH\t1\tPLAIN\tresp='], ['CONT\t1\t=']],
    ['with an empty message of XMPP is asked for one', ['AUTH\t1\tPLAIN\tresp=='], ['CONT\t1\t=']],
    [
      'is judged when its message comes',
      ['AUTH\t1\tPLAIN', `CONT\t1\t${right}`],
      ['CONT\t1\t', 'OK\t1\tuser=alice'],
    ],
    [
      'is malformed when the next message is empty, too',
      ['AUTH\t1\tPLAIN', 'CONT\t1\t', 'AUTH\t1\tPLAIN', 'CONT\t1', 'AUTH\t1\tPLAIN', 'CONT\t1\t='],
      ['CONT\t1\t', refused, 'CONT\t1\t', refused, 'CONT\t1\t', refused],
    ],
    ['to go on with nothing is malformed', [`CONT\t1\t${right}`], [refused]],
    [
      'to go on with what has been answered is malformed',
      [`AUTH\t1\tPLAIN\tresp=${right}`, `CONT\t1\t${right}`],
      ['OK\t1\tuser=alice', refused],
    ],
    [
      'with a message that is none is malformed',
      [
        auth(1, 'PLAIN', 'alice'),
        auth(1, 'OAUTHBEARER', plain('alice', 'right')),
        auth(1, 'PLAIN', Buffer.from('\0alice\0\xff', 'latin1')),
      ],
      [refused, refused, refused],
    ],
    ...[
      'AA',
      'AAA',
      'A===',
      'AA=A',
      '====',
      'AA_-',
      'AA AA',
      'AGEAYg= =',
      '\x01t',
      'AGE\rAYg=',
      `${right}A`,
      `${right}=`,
    ].map((text): [string, string[], string[]] => [
      `whose message is ${JSON.stringify(text)} is malformed: that is no base64`,
      [`AUTH\t1\tPLAIN\tresp=${text}`],
      [refused],
    ]),
    ...['LOGIN', 'plain', 'SCRAM-SHA-256', 'EXTERNAL', 'ANONYMOUS', '', 'constructor', '__proto__'].map(
      (mechanism): [string, string[], string[]] => [
        `of mechanism ${JSON.stringify(mechanism)} is told that there is none`,
        [`AUTH\t1\t${mechanism}\tresp=${right}`],
        ['FAIL\t1\treason=this mechanism is not offered\tcode=auth_mech_invalid'],
      ],
    ),
    [
      'of no mechanism is told so',
      ['AUTH\t1'],
      ['FAIL\t1\treason=this mechanism is not offered\tcode=auth_mech_invalid'],
    ],
    ['that is cancelled while it waits is not heard of', ['AUTH\t1\tPLAIN', 'CANCEL\t1'], ['CONT\t1\t']],
    ['to cancel what there is not has no answer', ['CANCEL\t1', 'CANCEL\t999'], []],
    [
      'to go on with what was cancelled is malformed',
      ['AUTH\t1\tPLAIN', 'CANCEL\t1', `CONT\t1\t${right}`],
      ['CONT\t1\t', refused],
    ],
    [
      'takes the place of one with its number that waits',
      ['AUTH\t1\tOAUTHBEARER', `AUTH\t1\tPLAIN`, `CONT\t1\t${right}`],
      ['CONT\t1\t', 'CONT\t1\t', 'OK\t1\tuser=alice'],
    ],
    [
      'takes that place also when it is answered at once, or is none',
      [
        'AUTH\t1\tPLAIN',
        `AUTH\t1\tPLAIN\tresp=${right}`,
        `CONT\t1\t${right}`,
        'AUTH\t2\tPLAIN',
        'AUTH\t2\tLOGIN',
        `CONT\t2\t${right}`,
      ],
      [
        'CONT\t1\t',
        'OK\t1\tuser=alice',
        refused,
        'CONT\t2\t',
        'FAIL\t2\treason=this mechanism is not offered\tcode=auth_mech_invalid',
        'FAIL\t2\treason=malformed',
      ],
    ],
    [
      'has a number as it is written',
      ['AUTH\t1\tPLAIN', `CONT\t01\t${right}`, `CONT\t1\t${right}`],
      ['CONT\t1\t', 'FAIL\t01\treason=malformed', 'OK\t1\tuser=alice'],
    ],
    [
      'of a later version is passed over',
      ['SHUTDOWN', 'FUTURE\tx\ty', 'CPID\t43', `AUTH\t1\tPLAIN\tresp=${right}`],
      ['OK\t1\tuser=alice'],
    ],
    [
      'that is too long is answered, and the next one, too',
      [`AUTH\t7\tPLAIN\tresp=${'A'.repeat(MAX_LINE)}`, `AUTH\t8\tPLAIN\tresp=${right}`],
      ['FAIL\t7\treason=malformed', 'OK\t8\tuser=alice'],
    ],
    [
      'that goes on at too great length is answered, and ended by that',
      ['AUTH\t7\tPLAIN', `CONT\t7\t${'A'.repeat(MAX_LINE)}`, `CONT\t7\t${right}`],
      ['CONT\t7\t', 'FAIL\t7\treason=malformed', 'FAIL\t7\treason=malformed'],
    ],
    [
      'that is too long and none that is answered has no answer',
      [
        `CPID\t${'4'.repeat(MAX_LINE)}`,
        `CANCEL\t7\t${'A'.repeat(MAX_LINE)}`,
        `FUTURE\t7\t${'A'.repeat(MAX_LINE)}`,
      ],
      [],
    ],
  ];
  for (const [title, lines, said] of table) {
    it(title, () => {
      assert.deepEqual(replies(...lines), said);
    });
  }

  const hopeless: [title: string, line: string][] = [
    ['without a number', 'AUTH'],
    ['with an empty number', `AUTH\t\tPLAIN\tresp=${right}`],
    ['with a word for a number', `AUTH\tx\tPLAIN\tresp=${right}`],
    ['with a negative number', `AUTH\t-1\tPLAIN\tresp=${right}`],
    ['with a number that no client has', `AUTH\t12345678901\tPLAIN\tresp=${right}`],
    ['to go on without a number', `CONT\tx\t${right}`],
    ['to cancel without a number', 'CANCEL'],
    ['whose number alone is too long', `AUTH\t${'1'.repeat(MAX_LINE)}\tPLAIN`],
  ];
  for (const [title, line] of hopeless) {
    it(`${title} ends the conversation: nothing could be answered`, () => {
      const { session, said, closed, asked } = converse();
      session.feed(Buffer.from(`AUTH\t1\tPLAIN\tresp=${right}\n${line}\nAUTH\t2\tPLAIN\tresp=${right}\n`));
      assert.deepEqual(said(), ['OK\t1\tuser=alice'], 'what was answered before is said');
      assert.deepEqual([closed.length, asked.length], [1, 1]);
      session.feed(Buffer.from(`AUTH\t3\tPLAIN\tresp=${right}\n`));
      assert.deepEqual([said().length, closed.length, asked.length], [1, 1, 1], 'and nothing after it');
    });
  }

  it('is nonsense 16 times, and then ends the conversation', () => {
    const { session, said, closed } = converse();
    session.feed(Buffer.from(`${'NOISE\t1\n'.repeat(16)}AUTH\t1\tPLAIN\tresp=${right}\n`));
    assert.deepEqual([said(), closed], [['OK\t1\tuser=alice'], []]);
    session.feed(Buffer.from('NOISE\n'));
    assert.deepEqual(closed, ['it says nothing of this protocol']);
  });

  it('says which service it is of, unescaped, and when it came', () => {
    let clock = 10;
    const { session, asked } = converse({ now: () => clock });
    const line = Buffer.from(`AUTH\t1\tPLAIN\tservice=a\x01tb\x01\x01c\tresp=${right}\n`);
    session.feed(line.subarray(0, 3));
    clock = 20;
    session.feed(line.subarray(3));
    assert.deepEqual(
      asked.map(({ service, arrivedAt }) => [service, arrivedAt]),
      [['a\tb\x01c', 10]],
    );
  });

  it('that goes on came when it went on, and is of the service that it was of', () => {
    let clock = 10;
    const { session, asked } = converse({ now: () => clock });
    session.feed(Buffer.from('AUTH\t1\tPLAIN\tservice=smtp\n'));
    clock = 5000;
    session.feed(Buffer.from(`CONT\t1\t${right}\n`));
    assert.deepEqual(
      asked.map(({ service, arrivedAt }) => [service, arrivedAt]),
      [['smtp', 5000]],
    );
  });
});

describe('an outcome', () => {
  const table: [title: string, outcome: SaslOutcome, said: string][] = [
    ['accepted', { outcome: 'accepted', user: 'robert' }, 'OK\t1\tuser=robert'],
    [
      'accepted with a name that would end the line',
      { outcome: 'accepted', user: 'a\tuser=b\nOK\t2\0\r\x01' },
      'OK\t1\tuser=a\x01tuser=b\x01nOK\x01t2\x010\x01r\x011',
    ],
    [
      'refused with a name and a reason that would end the line',
      { outcome: 'refused', user: 'a\tb', reason: 'c\nOK\t1' },
      'FAIL\t1\tuser=a\x01tb\treason=c\x01nOK\x01t1',
    ],
    ['refused without a word', { outcome: 'refused' }, 'FAIL\t1'],
    [
      'refused because it may not act as another',
      { outcome: 'refused', user: 'alice', reason: 'user_mismatch', code: 'authz_fail' },
      'FAIL\t1\tuser=alice\treason=user_mismatch\tcode=authz_fail\tauthz',
    ],
    [
      'unavailable',
      { outcome: 'unavailable', user: 'alice', reason: 'deadline' },
      'FAIL\t1\tuser=alice\treason=deadline\tcode=temp_fail\ttemp',
    ],
  ];
  for (const [title, outcome, said] of table) {
    for (const when of ['at once', 'later']) {
      it(`${title} ${when} is one line`, async () => {
        const { session, said: lines } = converse({
          answer: () => (when === 'later' ? Promise.resolve(outcome) : outcome),
        });
        session.feed(Buffer.from(auth(1, 'PLAIN', plain('alice', 'x'))));
        await session.idle();
        assert.deepEqual(lines(), [said]);
      });
    }
  }

  for (const when of ['at once', 'later']) {
    it(`with a challenge ${when} is told when the client has acknowledged that, whatever it says`, async () => {
      for (const acknowledgement of [
        'CONT\t1\tAQ==',
        'CONT\t1\t',
        'CONT\t1',
        'CONT\t1\t=',
        `CONT\t1\t${right}`,
      ]) {
        const { session, said, asked } = converse({
          answer: () => (when === 'later' ? Promise.resolve(CHALLENGED) : CHALLENGED),
        });
        session.feed(Buffer.from(auth(1, 'OAUTHBEARER', oauthBearer('t'))));
        await session.idle();
        const challenge = `CONT\t1\t${base64('{"status":"invalid_token"}')}`;
        assert.deepEqual(said(), [challenge]);
        session.feed(Buffer.from(`${acknowledgement}\n`));
        assert.deepEqual(said(), [challenge, 'FAIL\t1\treason=expired']);
        session.feed(Buffer.from('CONT\t1\tAQ==\n'));
        assert.equal(said().at(-1), 'FAIL\t1\treason=malformed', 'once');
        assert.equal(asked.length, 1, 'an acknowledgement is no login');
      }
    });
  }

  it('with a challenge is not told to a client that cancels', () => {
    const { session, said } = converse();
    session.feed(Buffer.from(`${auth(1, 'OAUTHBEARER', oauthBearer('challenged'))}CANCEL\t1\n`));
    session.feed(Buffer.from(auth(2, 'PLAIN', plain('alice', 'right'))));
    assert.deepEqual(said().slice(1), ['OK\t2\tuser=alice']);
  });
});

describe('many logins', () => {
  const names = Array.from({ length: 40 }, (_, id) => `user${id}`);

  it('are each answered by its number, whichever is decided first', async () => {
    const { answer, conclude } = later();
    const { session, said } = converse({ answer });
    session.feed(Buffer.from(names.map((name, id) => auth(id, 'PLAIN', plain(name, 'x'))).join('')));
    assert.deepEqual(said(), []);
    const order = names.toSorted((a, b) =>
      a.split('').reverse().join('').localeCompare(b.split('').reverse().join('')),
    );
    for (const name of order) await conclude(name);
    const expected = order.map((name) => `OK\t${names.indexOf(name)}\tuser=${name}`);
    assert.deepEqual(said(), expected);
  });

  it('that are decided at once do not wait for one that is not', async () => {
    const slow = later();
    const { session, said } = converse({
      answer: (request) => (request.message.authcid === 'slow' ? slow.answer(request) : bySecret(request)),
    });
    session.feed(
      Buffer.from(auth(1, 'PLAIN', plain('slow', 'x')) + auth(2, 'PLAIN', plain('fast', 'right'))),
    );
    assert.deepEqual(said(), ['OK\t2\tuser=fast']);
    await slow.conclude('slow');
    assert.deepEqual(said(), ['OK\t2\tuser=fast', 'OK\t1\tuser=slow']);
  });

  it('that are decided at once are answered in one write', () => {
    const { session, writes } = converse();
    session.feed(Buffer.from(names.map((name, id) => auth(id, 'PLAIN', plain(name, 'right'))).join('')));
    assert.equal(writes.length, 2);
  });

  for (const [command, line] of [
    ['begins', auth(1, 'PLAIN', plain('bob', 'x'))],
    ['begins without a message', 'AUTH\t1\tPLAIN\n'],
    ['goes on', `CONT\t1\t${right}\n`],
    ['begins at too great length', `AUTH\t1\tPLAIN\tresp=${'A'.repeat(MAX_LINE)}\n`],
  ] as const) {
    it(`end when one ${command} with the number of one that is being judged`, async () => {
      const { answer, conclude } = later();
      const { session, said, closed, asked } = converse({ answer });
      session.feed(
        Buffer.from(auth(1, 'PLAIN', plain('alice', 'x')) + auth(2, 'PLAIN', plain('carol', 'x'))),
      );
      session.feed(Buffer.from(line));
      await session.idle();
      await conclude('alice');
      await conclude('carol');
      assert.deepEqual([said(), closed, asked.length], [[], ['two requests have one number'], 2]);
    });
  }

  it('do not hear of one that was cancelled while it was judged, nor does one that has its number', async () => {
    const { answer, conclude } = later();
    const { session, said } = converse({ answer });
    session.feed(Buffer.from(`${auth(1, 'PLAIN', plain('alice', 'x'))}CANCEL\t1\n`));
    session.feed(Buffer.from(auth(1, 'PLAIN', plain('bob', 'x'))));
    await conclude('alice');
    assert.deepEqual(said(), []);
    await conclude('bob', REFUSED);
    assert.deepEqual(said(), ['FAIL\t1\treason=expired']);
  });

  it('are 256 at a time, and the next may come again later', async () => {
    const { answer, conclude } = later();
    const { session, said, faults } = converse({ answer });
    const ask = (id: number): void => session.feed(Buffer.from(auth(id, 'PLAIN', plain(`user${id}`, 'x'))));
    for (let id = 0; id < 257; id++) ask(id);
    assert.deepEqual(said(), ['FAIL\t256\treason=too many logins at a time\tcode=temp_fail\ttemp']);
    assert.deepEqual(faults, ['busy']);
    await conclude('user7');
    ask(300);
    await conclude('user300');
    assert.deepEqual(said().slice(1), ['OK\t7\tuser=user7', 'OK\t300\tuser=user300']);
  });

  it('are not more because they are cancelled: each goes on until it is decided', async () => {
    const { answer, conclude } = later();
    const { session, said, asked } = converse({ answer });
    for (let id = 0; id < 300; id++)
      session.feed(Buffer.from(`${auth(id, 'PLAIN', plain(`user${id}`, 'x'))}CANCEL\t${id}\n`));
    assert.equal(asked.length, 256);
    assert.equal(said().length, 300 - 256, 'the others were told to come later');
    await session.idle();
    await conclude('user0');
    session.feed(Buffer.from(auth(999, 'PLAIN', plain('late', 'x'))));
    await conclude('late');
    assert.equal(said().at(-1), 'OK\t999\tuser=late');
  });

  it('may wait for their messages, 256 of them; the oldest is forgotten without a word', () => {
    const { session, said } = converse();
    for (let id = 0; id < 257; id++) session.feed(Buffer.from(`AUTH\t${id}\tPLAIN\n`));
    assert.deepEqual(
      said(),
      Array.from({ length: 257 }, (_, id) => `CONT\t${id}\t`),
    );
    session.feed(Buffer.from(`CONT\t0\t${right}\nCONT\t1\t${right}\nCONT\t256\t${right}\n`));
    assert.deepEqual(said().slice(257), [
      'FAIL\t0\treason=malformed',
      'OK\t1\tuser=alice',
      'OK\t256\tuser=alice',
    ]);
  });

  it('that are refused with a challenge wait like those', () => {
    const { session, said } = converse();
    for (let id = 0; id < 257; id++)
      session.feed(Buffer.from(auth(id, 'OAUTHBEARER', oauthBearer('challenged'))));
    session.feed(Buffer.from('CONT\t0\tAQ==\nCONT\t1\tAQ==\n'));
    assert.deepEqual(said().slice(257), ['FAIL\t0\treason=malformed', 'FAIL\t1\treason=expired']);
  });
});

describe('a client that floods us', () => {
  const flood = (count: number): Buffer =>
    Buffer.from(
      Array.from({ length: count }, (_, id) => auth(id, 'PLAIN', plain(`user${id}`, 'right'))).join(''),
    );

  it('has 64 lines read, and then others have their turn', async () => {
    const { session, said, held, pauses } = converse({ hello: HELLO });
    session.feed(flood(300));
    const counts = [said().length];
    while (held() > 0) {
      await turn();
      counts.push(said().length);
    }
    assert.deepEqual(counts, [64, 128, 192, 256, 300]);
    assert.ok(Math.max(...pauses) <= 2, 'the flow of input is stopped meanwhile');
    assert.deepEqual(
      said().map((line) => line.split('\t')[1]),
      Array.from({ length: 300 }, (_, id) => String(id)),
    );
  });

  it('has no more read in one turn because it sends in many pieces', async () => {
    const { session, said, held } = converse();
    const bytes = flood(300);
    session.feed(bytes.subarray(0, 20_000));
    assert.equal(said().length, 64);
    session.feed(bytes.subarray(20_000));
    assert.equal(said().length, 64);
    while (held() > 0) await turn();
    assert.equal(said().length, 300);
  });

  it('is not idle before all its lines have been answered', async () => {
    const { session, said } = converse();
    session.feed(flood(300));
    await session.idle();
    assert.equal(said().length, 300);
  });

  it('and says nonsense is given up, and what is left is not read', async () => {
    const { session, said, closed, held, asked } = converse();
    session.feed(Buffer.concat([flood(70), Buffer.from('AUTH\tx\n'), flood(70)]));
    await session.idle();
    await turn();
    assert.deepEqual([said().length, closed.length, held(), asked.length], [70, 1, 0, 70]);
  });
});

describe('any conversation', () => {
  const outcomes = ['accepted', 'refused', 'challenged', 'unavailable'] as const;

  /** One line of a client: well-made or not, of few numbers, so that they meet. */
  interface Spoken {
    readonly command: 'AUTH' | 'CONT' | 'CANCEL' | 'other';
    readonly id: string;
    /** `serial` is told apart from all others, so that each answer can be traced to what it answers. */
    readonly text: (serial: number) => string;
  }

  const id = fc.nat(30).map(String);
  const mechanism = fc.constantFrom(...MECHANISMS);
  const message = fc.tuple(mechanism, fc.constantFrom(...outcomes), fc.constantFrom('now', 'later'));
  const sound = (of: [Mechanism, string, string], serial: number): string => {
    const secret = `${of[1]}-${of[2]}-${serial}`;
    return { PLAIN: plain('alice', secret), OAUTHBEARER: oauthBearer(secret), XOAUTH2: xoauth2('', secret) }[
      of[0]
    ];
  };
  const spoken = fc.oneof<fc.WeightedArbitrary<Spoken>[]>(
    {
      weight: 10,
      arbitrary: fc.record({ command: fc.constant('AUTH'), id, of: message }).map(({ of, ...rest }) => ({
        ...rest,
        text: (serial) => `AUTH\t${rest.id}\t${of[0]}\tservice=xmpp\tresp=${base64(sound(of, serial))}`,
      })),
    },
    {
      weight: 4,
      arbitrary: fc
        .tuple(id, mechanism, fc.constantFrom('', '\tresp=', '\tresp=='))
        .map(([id, name, resp]) => ({
          command: 'AUTH',
          id,
          text: () => `AUTH\t${id}\t${name}${resp}`,
        })),
    },
    {
      weight: 4,
      arbitrary: fc.tuple(id, message).map(([id, of]) => ({
        command: 'CONT',
        id,
        text: (serial) => `CONT\t${id}\t${base64(sound(of, serial))}`,
      })),
    },
    {
      weight: 3,
      arbitrary: fc
        .tuple(fc.constantFrom('AUTH' as const, 'CONT' as const), id, fc.string({ unit: 'binary' }))
        .map(([command, id, rest]) => ({
          command,
          id,
          text: () => `${command}\t${id}\t${rest.replaceAll('\n', '')}`,
        })),
    },
    {
      weight: 2,
      arbitrary: id.map((id) => ({ command: 'CANCEL', id, text: () => `CANCEL\t${id}` })),
    },
    {
      weight: 1,
      arbitrary: fc.constantFrom('CPID\t43', '', 'NOISE', 'auth\t1\tPLAIN').map((text) => ({
        command: 'other',
        id: '',
        text: () => text,
      })),
    },
  );

  it('has one answer for each question, and no yes that nobody gave', async () => {
    let finished = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.array(spoken, { maxLength: 100 }),
        fc.array(fc.nat()),
        fc.infiniteStream(fc.nat()),
        async (script, cuts, dice) => {
          const roll = (): number => dice.next().value as number;
          const open: { resolve: (outcome: SaslOutcome) => void; outcome: SaslOutcome }[] = [];
          const judged = new Map<number, (typeof outcomes)[number]>();
          const { session, said, closed } = converse({
            answer({ message: { secret } }) {
              const [kind, when, serial] = secret.split('-') as [(typeof outcomes)[number], string, string];
              assert.ok(!judged.has(Number(serial)), 'a login is judged once');
              judged.set(Number(serial), kind);
              const outcome = outcomeOf(kind, serial);
              return when === 'now' ? outcome : new Promise((resolve) => open.push({ resolve, outcome }));
            },
          });
          const resolveOne = (): void => {
            const [login] = open.splice(roll() % open.length, 1);
            login?.resolve(login.outcome);
          };
          const bytes = Buffer.from(script.map(({ text }, serial) => `${text(serial)}\n`).join(''));
          for (const chunk of split(bytes, cuts)) {
            session.feed(chunk);
            while (open.length > 0 && roll() % 3 === 0) resolveOne();
            if (roll() % 2 === 0) await turn();
          }
          do {
            while (open.length > 0) resolveOne();
            await turn();
          } while (open.length > 0);
          await session.idle();

          const answered = new Map<string, number>();
          const traced = new Set<string>();
          for (const line of said()) {
            const [word = '', id = '', ...parameters] = line.split('\t');
            answered.set(id, (answered.get(id) ?? 0) + 1);
            const text =
              word === 'CONT' ? Buffer.from(parameters[0] ?? '', 'base64').toString() : parameters.join();
            const serial = /#(\d+)/.exec(text)?.[1];
            if (serial === undefined) {
              assert.match(line, /^(?:FAIL\t\d+\treason=|CONT\t\d+\t=?$)/);
              continue;
            }
            assert.equal(script[Number(serial)]?.id, id, 'each by its number');
            const expected = {
              accepted: ['OK'],
              refused: ['FAIL'],
              challenged: ['CONT', 'FAIL'],
              unavailable: ['FAIL'],
            };
            const kind = judged.get(Number(serial));
            assert.ok(kind !== undefined && expected[kind].includes(word), line);
            assert.ok(!traced.has(`${word} ${serial}`), 'nothing is said twice');
            traced.add(`${word} ${serial}`);
            if (kind === 'challenged' && word === 'FAIL') assert.ok(traced.has(`CONT ${serial}`));
          }
          assert.ok(closed.length <= 1);
          if (closed.length === 0) finished++;

          const silent = [...judged.keys()].filter(
            (serial) => !['OK', 'FAIL', 'CONT'].some((word) => traced.has(`${word} ${serial}`)),
          );
          for (const id of new Set(script.map((each) => each.id))) {
            const asked = script.filter(
              (each) => each.id === id && ['AUTH', 'CONT'].includes(each.command),
            ).length;
            const cancelled = silent.filter((serial) => script[serial]?.id === id);
            const answers = answered.get(id) ?? 0;
            if (closed.length > 0) {
              assert.ok(answers <= asked, id);
              continue;
            }
            assert.equal(answers, asked - cancelled.length, `number ${id}`);
            for (const serial of cancelled)
              assert.ok(script.slice(serial).some((each) => each.command === 'CANCEL' && each.id === id));
          }
        },
      ),
      { numRuns: 600 },
    );
    assert.ok(finished > 100, `${finished} conversations went on to their end`);
  });

  function outcomeOf(kind: (typeof outcomes)[number], serial: string): SaslOutcome {
    switch (kind) {
      case 'accepted':
        return { outcome: 'accepted', user: `#${serial}` };
      case 'refused':
        return { outcome: 'refused', reason: `#${serial}` };
      case 'challenged':
        return { outcome: 'refused', reason: `#${serial}`, challenge: `#${serial}` };
      case 'unavailable':
        return { outcome: 'unavailable', reason: `#${serial}` };
    }
  }

  it('of any bytes whatever never throws, and logs nobody in', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 500 })), fc.boolean(), async (chunks, greets) => {
        const { session, said } = converse({ hello: greets ? HELLO : '' });
        for (const chunk of chunks) session.feed(chunk);
        await session.idle();
        assert.ok(!said().some((line) => line.startsWith('OK')));
      }),
      { numRuns: 500 },
    );
  });
});
