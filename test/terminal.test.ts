import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Reply } from '../src/extauth/codec.ts';
import { createTerminalSession } from '../src/extauth/terminal.ts';

interface Step {
  read?: string;
  wait?: number;
  /** The provider's answer to the request being judged. */
  verdict?: Reply;
}

/** Plays reads, waits and verdicts to a session on a terminal, and returns what was written. */
async function play(steps: Step[], { fresh = false, readerTimeout = 4700 } = {}): Promise<string> {
  const started = performance.now();
  let written = '';
  const open: ((reply: Reply) => void)[] = [];
  const session = createTerminalSession({
    answer: (command) =>
      command?.secret === 'slow'
        ? new Promise((resolve) => open.push(resolve))
        : command?.secret === 'right'
          ? 'yes'
          : 'no',
    write: (bytes) => {
      written += bytes.toString();
    },
    now: () => performance.now() - started,
    fresh,
    readerTimeout,
  });
  for (const { read, wait = 5, verdict } of steps) {
    if (read !== undefined) session.feed(Buffer.from(read));
    if (verdict !== undefined) open.shift()?.(verdict);
    await sleep(wait);
  }
  return written;
}

const right = 'auth:alice:h:right\n';
const wrong = 'auth:alice:h:wrong\n';
const slow = 'auth:alice:h:slow\n';
const setpass = 'setpass:bob:h:x\n';

describe('on a terminal', () => {
  for (const key of ['\x03', '\x04']) {
    it(`${JSON.stringify(key)} alone ends the conversation`, () => {
      let interrupted = 0;
      const session = createTerminalSession({
        answer: () => 'no',
        write: () => {},
        now: () => 0,
        fresh: false,
        onInterrupt: () => interrupted++,
      });
      session.feed(Buffer.from(key));
      assert.equal(interrupted, 1);
    });
  }

  const table: [
    title: string,
    steps: Step[],
    options: { fresh?: boolean; readerTimeout?: number },
    written: string,
  ][] = [
    ['one line is answered', [{ read: right }, { read: wrong }], {}, '1\n0\n'],
    [
      'a line in pieces is one line',
      [{ read: 'auth:alice' }, { read: ':h:ri' }, { read: 'ght\n' }],
      {},
      '1\n',
    ],
    ['a line may end in CR LF', [{ read: 'auth:alice:h:right\r\n' }], {}, '1\n'],
    ['two lines in one read are answered with nothing', [{ read: right + wrong }], {}, ''],
    ['and the next line is answered again', [{ read: right + wrong }, { read: right }], {}, '1\n'],
    [
      'one and a half lines in one read are answered with nothing, the rest is dropped',
      [{ read: `${right}auth:al` }, { read: 'ice:h:right\n' }, { read: wrong }],
      {},
      '0\n',
    ],
    ['setpass is answered no', [{ read: setpass, wait: 80 }], {}, '0\n'],
    [
      'setpass with a line injected behind it is answered with nothing',
      [{ read: setpass + right, wait: 80 }],
      {},
      '',
    ],
    [
      'setpass with a line injected in a second read is answered with nothing',
      [
        { read: setpass, wait: 10 },
        { read: right, wait: 80 },
      ],
      {},
      '',
    ],
    [
      'nonsense with a line behind it in a second read is answered with nothing',
      [
        { read: 'x\n', wait: 10 },
        { read: right, wait: 80 },
      ],
      {},
      '',
    ],
    [
      'a line while another is being judged: nothing for either',
      [{ read: slow }, { read: right }, { verdict: 'yes' }],
      {},
      '',
    ],
    [
      'after which the next line is answered again',
      [{ read: slow }, { read: right }, { verdict: 'yes' }, { read: wrong }],
      {},
      '0\n',
    ],
    ['a slow answer in time is written', [{ read: slow, wait: 50 }, { verdict: 'yes' }], {}, '1\n'],
    [
      'an answer after the reader has given up is not',
      [{ read: slow, wait: 450 }, { verdict: 'yes' }, { read: wrong }],
      { readerTimeout: 400 },
      '0\n',
    ],
    [
      'that is fresh, the first line is swallowed',
      [{ read: right, wait: 40 }, { read: wrong }],
      { fresh: true },
      '0\n',
    ],
    [
      'that is fresh, all that is there at first is swallowed',
      [{ read: right + right, wait: 0 }, { read: right, wait: 40 }, { read: wrong }],
      { fresh: true },
      '0\n',
    ],
    [
      'that is fresh, the rest of a swallowed line is, too',
      [{ read: 'auth:alice:', wait: 40 }, { read: 'h:right\n' }, { read: wrong }],
      { fresh: true },
      '0\n',
    ],
    [
      'what was dropped in the middle of a line does not hide the next one',
      [
        { read: 'auth:alice:h:a rather long password' },
        { read: `x\n${right}` },
        { read: 'isuser:b:h\n' },
        { read: wrong },
      ],
      {},
      '0\n0\n',
    ],
    [
      '^C in the middle of a line is part of it',
      [{ read: 'auth:alice:h:' }, { read: '\x03' }, { read: '\n' }],
      {},
      '0\n',
    ],
    ['an empty line is answered no', [{ read: '\n', wait: 80 }], {}, '0\n'],
    [
      'control characters are part of the line',
      [{ read: 'auth:alice:h:\x03\x04\x11\x13\x15\x1a\x7f\n' }],
      {},
      '0\n',
    ],
  ];
  for (const [title, steps, options, written] of table) {
    it(title, async () => assert.equal(await play(steps, options), written));
  }
});
