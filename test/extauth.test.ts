import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { ByteQueue } from '../src/extauth/byte-queue.ts';
import { createLines, detect, frames, type Reply } from '../src/extauth/codec.ts';
import { type Command, parseCommand } from '../src/extauth/command.ts';
import { type Answer, createSession } from '../src/extauth/session.ts';
import { frame } from './support/bridge.ts';
import { split } from './support/chunks.ts';

const alice = { user: 'alice', host: 'example.org' };

describe('a request', () => {
  const table: [request: string | Buffer, command: Command | undefined][] = [
    ['auth:alice:example.org:secret', { op: 'auth', ...alice, secret: 'secret' }],
    ['auth:alice:example.org:a:b::c:', { op: 'auth', ...alice, secret: 'a:b::c:' }],
    ['auth:alice:EXAMPLE.org: p w ', { op: 'auth', ...alice, secret: ' p w ' }],
    ['auth:alice:example.org:line\r\nbreak', { op: 'auth', ...alice, secret: 'line\r\nbreak' }],
    [
      'auth:alice\\40corp.example:example.org:x',
      { op: 'auth', user: 'alice\\40corp.example', host: 'example.org', secret: 'x' },
    ],
    [
      'auth:jörg:example.org:pässwörd ✓',
      { op: 'auth', user: 'jörg', host: 'example.org', secret: 'pässwörd ✓' },
    ],
    ['auth:alice:[::1]:secret', { op: 'auth', user: 'alice', host: '[::1]', secret: 'secret' }],
    ['auth:alice:[2001:DB8::1]:a:b', { op: 'auth', user: 'alice', host: '[2001:db8::1]', secret: 'a:b' }],
    ['isuser:alice:example.org', { op: 'isuser', ...alice }],
    ['isuser:alice:[::1]', { op: 'isuser', user: 'alice', host: '[::1]' }],
    ['setpass:alice:example.org:new', { op: 'setpass', ...alice, secret: 'new' }],
    ['tryregister:alice:example.org:new', { op: 'tryregister', ...alice, secret: 'new' }],
    ['removeuser:alice:example.org', { op: 'removeuser', ...alice }],
    ['removeuser3:alice:example.org:old', { op: 'removeuser3', ...alice, secret: 'old' }],
    ['certauth:alice:example.org:pem', { op: 'certauth', ...alice, secret: 'pem' }],
    ['', undefined],
    [':', undefined],
    ['auth', undefined],
    ['auth:', undefined],
    ['auth:alice', undefined],
    ['auth:alice:example.org', undefined],
    ['auth:alice:example.org:', undefined],
    ['auth::example.org:secret', undefined],
    ['auth:alice::secret', undefined],
    ['auth:alice:[::1', undefined],
    ['auth:alice:[::1]x:secret', undefined],
    ['isuser:alice', undefined],
    ['isuser:alice:', undefined],
    ['AUTH:alice:example.org:secret', undefined],
    ['constructor:alice:example.org:secret', undefined],
    ['auth:alice:example.org:sec\0ret', undefined],
    ['isuser:bob:example.org\nauth:alice:example.org:x', undefined],
    ['auth:bob\n:example.org:x', undefined],
    [Buffer.from('auth:alice:example.org:\xff\xfe', 'latin1'), undefined],
    [Buffer.from('auth:al\xc0\x80ice:example.org:secret', 'latin1'), undefined],
  ];
  for (const [request, command] of table) {
    const shown = JSON.stringify(request.toString('latin1'));
    it(`${shown} is ${command === undefined ? 'no request' : `${command.op} of ${command.user} at ${command.host}`}`, () => {
      assert.deepEqual(parseCommand(Buffer.from(request as string)), command);
    });
  }
});

describe('the first bytes', () => {
  const table: [bytes: string, format: 'frames' | 'lines' | undefined][] = [
    ['', undefined],
    ['a', undefined],
    ['auth', undefined],
    ['removeuser', undefined],
    ['auth:', 'lines'],
    ['isuser:alice:example.org\n', 'lines'],
    ['removeuser3:', 'lines'],
    ['\0\x1bauth:', 'frames'],
    // A first frame of 24,949 bytes begins with "au", one of 26,995 with "is".
    ['auauth:alice', 'frames'],
    ['isauth:alice', 'frames'],
    ['\n', 'frames'],
    ['hello', 'frames'],
  ];
  for (const [bytes, format] of table) {
    it(`${JSON.stringify(bytes)} speak ${format ?? 'neither yet'}`, () => {
      const queue = new ByteQueue();
      queue.push(Buffer.from(bytes, 'latin1'), 0);
      assert.equal(detect(queue)?.format, format);
    });
  }
});

/** Feeds `chunks` to a session whose answers come at once or later, and returns what was asked and what was written. */
async function converse(
  chunks: readonly Uint8Array[],
  { later = false, protocol = 'auto' as 'auto' | 'ejabberd' | 'generic' } = {},
): Promise<{ asked: (string | undefined)[]; written: Buffer }> {
  const asked: (string | undefined)[] = [];
  const written: Buffer[] = [];
  let open = 0;
  const answer: Answer = (command) => {
    assert.equal(open, 0, 'one request at a time');
    asked.push(command && `${command.op}:${command.user}:${command.host}:${command.secret ?? ''}`);
    const reply: Reply = command?.secret === 'right' ? 'yes' : command?.op === 'setpass' ? 'error' : 'no';
    if (!later) return reply;
    open++;
    return new Promise((resolve) =>
      setImmediate(() => {
        open--;
        resolve(reply);
      }),
    );
  };
  const session = createSession({
    answer,
    protocol,
    write: (bytes) => written.push(Buffer.from(bytes)),
    pause() {},
    resume() {},
    close() {},
    now: () => 0,
  });
  for (const chunk of chunks) session.feed(chunk);
  await session.idle();
  return { asked, written: Buffer.concat(written) };
}

describe('a conversation', () => {
  const requests = [
    'auth:a:h:right',
    'auth:b:h:wrong',
    '',
    'nonsense',
    'setpass:a:h:x',
    'auth:c:h:right',
    'auth:d:h',
  ];
  const inFrames = Buffer.concat(requests.map((request) => frame(request)));
  const answersInFrames = '00020001 00020000 00020000 00020000 00020002 00020001 00020000'.replaceAll(
    ' ',
    '',
  );
  const inLines = Buffer.from(
    requests.map((request, index) => `${request}${index % 2 ? '\r\n' : '\n'}`).join(''),
  );

  for (const later of [false, true]) {
    const when = later ? 'later' : 'at once';
    it(`in frames is answered in order, whatever the chunks, when answers come ${when}`, async () => {
      await fc.assert(
        fc.asyncProperty(fc.array(fc.nat()), async (cuts) => {
          const { written } = await converse(split(inFrames, cuts), { later });
          assert.equal(written.toString('hex'), answersInFrames);
        }),
      );
    });
    it(`in lines is answered in order, whatever the chunks, when answers come ${when}`, async () => {
      await fc.assert(
        fc.asyncProperty(fc.array(fc.nat()), async (cuts) => {
          const { written } = await converse(split(inLines, cuts), { later });
          assert.equal(written.toString(), '1\n0\n0\n0\n0\n1\n0\n');
        }),
      );
    });
  }

  it('of arbitrary frames has one answer for each, byte by byte too', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.uint8Array({ maxLength: 300 })),
        fc.boolean(),
        async (bodies, dripping) => {
          const bytes = Buffer.concat(bodies.map((body) => frame(Buffer.from(body))));
          const chunks = dripping ? [...bytes].map((byte) => Uint8Array.of(byte)) : [bytes];
          const { asked, written } = await converse(chunks, { protocol: 'ejabberd' });
          assert.equal(asked.length, bodies.length);
          assert.equal(written.length, 4 * bodies.length);
        },
      ),
    );
  });

  it('of arbitrary lines has one answer for each', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 300 })), async (bodies) => {
        const lines = bodies.map((body) => Buffer.from([...body.filter((byte) => byte !== 10), 10]));
        const { asked, written } = await converse([Buffer.concat(lines)], { protocol: 'generic' });
        assert.equal(asked.length, bodies.length);
        assert.equal(written.length, 2 * bodies.length);
      }),
    );
  });

  it('of arbitrary bytes never throws', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 500 })), async (chunks) => {
        await converse(chunks);
      }),
      { numRuns: 1000 },
    );
  });

  it('takes a frame of 65,535 bytes, its length being unsigned', async () => {
    const secret = 'x'.repeat(65_535 - 'auth:a:h:'.length);
    const { asked } = await converse(split(frame(`auth:a:h:${secret}`), [1, 2, 3, 40_000]));
    assert.deepEqual(asked, [`auth:a:h:${secret}`]);
  });

  it('drops a line beyond all bounds while it comes, and answers it once', async () => {
    const chunks = [
      'isuser:a:h\nauth:a:h:',
      ...Array.from({ length: 50 }, () => 'x'.repeat(65_536)),
      '\nauth:a:h:right\n',
    ];
    const { asked, written } = await converse(chunks.map((chunk) => Buffer.from(chunk)));
    assert.deepEqual(asked, ['isuser:a:h:', undefined, 'auth:a:h:right']);
    assert.equal(written.toString(), '0\n0\n1\n');
  });

  it('is given up when a request has waited longer than its server does', async () => {
    let clock = 0;
    let closed = false;
    let written = 0;
    const session = createSession({
      answer: () => new Promise((resolve) => setImmediate(() => resolve('no'))),
      protocol: 'auto',
      write: () => written++,
      pause() {},
      resume() {},
      close: () => {
        closed = true;
      },
      now: () => clock,
    });
    session.feed(frame('auth:a:h:x').subarray(0, 5));
    clock = 60_000;
    session.feed(frame('auth:a:h:x').subarray(5));
    await session.idle();
    assert.deepEqual([written, closed], [1, false], 'slow to come is not slow to be answered');
    session.feed(frame('auth:a:h:x'));
    clock = 100_000;
    await session.idle();
    assert.deepEqual([written, closed], [1, true]);
  });

  it('that is half a frame has no answer yet', async () => {
    const { written } = await converse([frame('auth:a:h:right').subarray(0, 8)]);
    assert.equal(written.length, 0);
  });
});

describe('the arrival of a request', () => {
  it('is that of its first byte, also when it came together with the end of another', () => {
    const queue = new ByteQueue();
    const both = Buffer.concat([frame('auth:a:h:1'), frame('auth:b:h:2')]);
    queue.push(both.subarray(0, 5), 100);
    queue.push(both.subarray(5, 15), 200);
    queue.push(both.subarray(15), 300);
    assert.equal(queue.arrivedAt, 100);
    assert.ok(frames.next(queue));
    assert.equal(queue.arrivedAt, 200);
    assert.ok(frames.next(queue));
    assert.equal(queue.length, 0);
  });
});

describe('lines', () => {
  it('may end in CR LF, and only that CR is taken off', () => {
    const queue = new ByteQueue();
    const lines = createLines();
    queue.push(Buffer.from('auth:a:h:x\r\r\n'), 0);
    assert.equal(lines.next(queue)?.toString(), 'auth:a:h:x\r');
  });
});
