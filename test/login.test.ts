// What `login` prints, and what it knows about each reason.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { listenOptions } from '../src/config/listen.ts';
import { hostOptions, processOptions } from '../src/config/schema.ts';
import { readLooks } from '../src/config/terminal.ts';
import { FAILURES, optionsIn, REASONS, REFUSALS } from '../src/login/reasons.ts';
import { localpartOf, parseJid } from '../src/login/request.ts';
import { createSteps, type Mark } from '../src/login/steps.ts';

describe('the advice for each reason', () => {
  const known = new Set([
    'hosts',
    ...Object.keys(hostOptions),
    ...Object.keys(processOptions),
    ...Object.keys(hostOptions.http.wrapped.entries).map((name) => `http.${name}`),
    ...(['cache', 'limits', 'log'] as const).flatMap((group) =>
      Object.keys(processOptions[group].wrapped.entries).map((name) => `${group}.${name}`),
    ),
    ...Object.keys(listenOptions).map((name) => `listen.${name}`),
  ]);
  const backquoted = (advice: string): string[] =>
    [...advice.matchAll(/`([^`]+)`/g)].map(([, text = '']) => text);

  it('names options that exist, and commands of ours, and nothing else in backquotes', () => {
    for (const [reason, { advice }] of Object.entries(REASONS)) {
      for (const option of optionsIn(advice)) assert.ok(known.has(option), `${reason}: ${option}`);
      const commands = backquoted(advice).filter((text) => text.startsWith('extauth-oauth '));
      for (const command of commands)
        assert.match(command, /^extauth-oauth (?:check|users unpin JID)$/, reason);
      assert.equal(optionsIn(advice).length + commands.length, backquoted(advice).length, reason);
    }
  });

  it('is one short sentence with something to do or to look at', () => {
    const all = [...Object.values(REFUSALS), ...Object.values(FAILURES)];
    assert.ok(all.length > 35);
    for (const { advice, step } of all) {
      assert.ok(advice.length >= 30 && advice.length <= 230, advice);
      assert.doesNotMatch(advice, /\. |\.$|\n/, advice);
      assert.ok(step.length <= 16, step);
    }
    assert.equal(new Set(all.map(({ advice }) => advice)).size, all.length, 'no two are the same');
  });
});

describe('a step', () => {
  it('moves nothing on the terminal, whoever named it', () => {
    const printed: string[] = [];
    const { show } = createSteps({
      utf8: true,
      coloured: false,
      print: (line) => printed.push(line),
      now: () => 0,
    });
    show({ mark: 'bad', name: 'a\x1b]0;b\x07\n', result: '\x1b[2J\u009b' });
    assert.doesNotMatch(printed.join(''), /\p{Cc}/u);
  });

  const lines = (
    looks: { utf8: boolean; coloured: boolean },
    mark: Mark = 'good',
    result = 'a `b_c` d',
  ): string => {
    const printed: string[] = [];
    createSteps({ ...looks, print: (line) => printed.push(line), now: () => 0 }).show({
      mark,
      name: 'claims',
      result,
      took: 12.34,
    });
    return printed.join('\n');
  };
  const plain = { utf8: true, coloured: false };
  const table: [title: string, printed: string, expected: string][] = [
    [
      'has a mark, a time, a name and what it came to',
      lines(plain),
      '\u2714    12 ms  claims            a b_c d',
    ],
    ['may have failed', lines(plain, 'bad'), '\u2718    12 ms  claims            a b_c d'],
    [
      'is in ASCII where the locale is not UTF-8',
      lines({ ...plain, utf8: false }, 'bad'),
      'NO    12 ms  claims            a b_c d',
    ],
    [
      'is coloured, and its options bold, where colours are wanted',
      lines({ utf8: true, coloured: true }),
      '\x1b[32m\u2714\x1b[0m \x1b[2m   12 ms\x1b[0m  claims            a \x1b[1mb_c\x1b[0m d',
    ],
    [
      'stays on its line, and does nothing to the terminal, whatever a provider calls things',
      lines(plain, 'bad', 'x\r\n\x1b[2Jy\u202e'),
      '\u2718    12 ms  claims            x [2Jy\\u202e',
    ],
  ];
  for (const [title, printed, expected] of table) it(title, () => assert.equal(printed, expected));

  const looks: [isTerminal: boolean, env: Record<string, string>, utf8: boolean, coloured: boolean][] = [
    [true, { LANG: 'de_DE.UTF-8' }, true, true],
    [true, { LANG: 'C.utf8', LC_ALL: '' }, true, true],
    [true, { LANG: 'de_DE.UTF-8', LC_ALL: 'C' }, false, true],
    [true, { LANG: 'de_DE.UTF-8', LC_CTYPE: 'POSIX' }, false, true],
    [true, {}, false, true],
    [true, { NO_COLOR: '1' }, false, false],
    [true, { NO_COLOR: '' }, false, true],
    [true, { TERM: 'dumb' }, false, false],
    [false, { LANG: 'C.UTF-8', TERM: 'xterm' }, true, false],
  ];
  for (const [isTerminal, env, utf8, coloured] of looks) {
    it(`${isTerminal ? 'on a terminal' : 'in a file'} with ${JSON.stringify(env)}: UTF-8 ${utf8}, colours ${coloured}`, () =>
      assert.deepEqual(readLooks(isTerminal, env), { utf8, coloured }));
  }
});

describe('a JID', () => {
  it('is taken apart at its last @, as its host is the last part', () => {
    assert.deepEqual(parseJid('a@b@Chat.Example'), { typed: 'a@b', host: 'chat.example' });
    for (const none of ['alice', '@host', 'alice@', '']) assert.equal(parseJid(none), undefined, none);
  });
  it('has the localpart that a server would hand on', () => {
    assert.equal(localpartOf('ALICE', 'xep0106'), 'alice');
    assert.equal(localpartOf('a@b', 'xep0106'), 'a\\40b');
    assert.equal(localpartOf('', 'xep0106'), undefined);
  });
});
