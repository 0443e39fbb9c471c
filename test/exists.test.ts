// How long what a directory said is believed, and what is said when it says nothing: with a clock that the test turns.
import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { ProviderError } from '../src/oauth/errors.ts';
import { createExists, type Exists } from '../src/users/exists.ts';

const HOST = 'chat.example';
const MINUTE = 60_000;
/** What is remembered is said within so many milliseconds (and a few for a busy machine). */
const atOnce = 50;
const slack = 60;

type Says = boolean | 'fails' | 'stalls' | 'late';

describe('whether a user exists', () => {
  let time: number;
  let says: Says;
  let asked: string[];
  let known: Set<string>;
  let warnings: string[];
  let flying: number;
  let mostFlying: number;
  let exists: Exists;

  beforeEach(() => {
    time = 1_000_000;
    says = true;
    asked = [];
    known = new Set();
    warnings = [];
    flying = 0;
    mostFlying = 0;
    exists = createExists({
      async lookup(localpart) {
        asked.push(localpart);
        mostFlying = Math.max(mostFlying, ++flying);
        const answer = says;
        try {
          await sleep(answer === 'late' ? 120 : 1);
          if (answer === 'stalls') await new Promise(() => {});
          if (answer === 'fails') throw new ProviderError('provider_error', 'the answer makes no sense');
          return answer !== false;
        } finally {
          flying--;
        }
      },
      isKnown: (_, localpart) => known.has(localpart),
      warn: (message) => void warnings.push(message),
      now: () => time,
      room: { taken: 0, size: 16 },
    });
  });

  const ask = async (localpart = 'alice', patience = 200): Promise<boolean> =>
    exists.ask(localpart, HOST, time + patience);
  /** The answer, and the real milliseconds that it took. */
  async function timed(localpart = 'alice', patience = 1000): Promise<[boolean, number]> {
    const started = performance.now();
    return [await ask(localpart, patience), performance.now() - started];
  }

  it('is asked once: found holds for ten minutes, asked again in the second half of them', async () => {
    assert.equal(await ask(), true);
    for (const passed of [0, 1, 4.9]) {
      time = 1_000_000 + passed * MINUTE;
      assert.equal(exists.ask('alice', HOST, time), true, 'at once');
    }
    assert.deepEqual(asked, ['alice']);
    time = 1_000_000 + 9.9 * MINUTE;
    says = false;
    assert.equal(exists.ask('alice', HOST, time), true, 'what is remembered, while it is asked again');
    assert.deepEqual(asked, ['alice', 'alice']);
    await sleep(10);
    assert.equal(exists.ask('alice', HOST, time), false, 'what came of it');
  });

  it('is asked again after ten minutes, and the new answer is waited for a moment', async () => {
    await ask();
    says = false;
    time += 10 * MINUTE;
    assert.equal(await ask(), false);
  });

  it('is asked again after one minute when nobody was found', async () => {
    says = false;
    assert.equal(await ask(), false);
    time += 0.49 * MINUTE;
    assert.equal(exists.ask('alice', HOST, time), false);
    assert.equal(asked.length, 1);
    says = true;
    time += 0.5 * MINUTE;
    assert.equal(exists.ask('alice', HOST, time), false);
    await sleep(10);
    assert.equal(exists.ask('alice', HOST, time), true, 'asked in the background');
    says = false;
    exists.forget('alice', HOST);
    assert.equal(await ask(), false);
    says = true;
    time += MINUTE;
    assert.equal(await ask(), true);
  });

  it('is one question, however many ask at the same time', async () => {
    const answers = await Promise.all(Array.from({ length: 50 }, () => ask()));
    assert.deepEqual(new Set(answers), new Set([true]));
    time += 9 * MINUTE;
    for (let n = 0; n < 50; n++) exists.ask('alice', HOST, time);
    assert.deepEqual(asked, ['alice', 'alice']);
  });

  it('is asked of so many at a time and no more', async () => {
    says = 'late';
    const answers = await Promise.all(Array.from({ length: 100 }, (_, n) => ask(`u${n}`)));
    assert.deepEqual(new Set(answers), new Set([true]));
    assert.deepEqual([asked.length, mostFlying], [16, 16]);
  });

  it('is asked of so many at a time at all hosts together, which leaves a way for logins', async () => {
    const room = { taken: 0, size: 2 };
    const asked: string[] = [];
    const hosts = [1, 2].map(() =>
      createExists({
        lookup(localpart) {
          asked.push(localpart);
          return sleep(20, false);
        },
        isKnown: () => true,
        warn() {},
        now: () => performance.now(),
        room,
      }),
    );
    const askAll = () =>
      Promise.all(['a', 'b', 'c'].map((name, n) => hosts[n % 2]?.ask(name, HOST, performance.now() + 1000)));
    await askAll();
    assert.deepEqual(asked, ['a', 'b']);
    await sleep(50);
    await hosts[1]?.ask('d', HOST, performance.now() + 1000);
    assert.deepEqual([asked, room.taken], [['a', 'b', 'd'], 0]);
  });

  it('is no for a name that is longer than any (RFC 7622 section 3.3), and nobody is asked', async () => {
    assert.equal(await ask('é'.repeat(512)), false);
    assert.equal(await ask('x'.repeat(1023)), true);
    assert.equal(asked.length, 1);
  });

  it('is not waited for because the store of who has logged in is slow', async () => {
    const slow = createExists({
      lookup: () => new Promise<boolean>(() => {}),
      isKnown: () => sleep(240, true),
      warn() {},
      now: () => performance.now(),
      room: { taken: 0, size: 16 },
    });
    const started = performance.now();
    assert.equal(await slow.ask('alice', HOST, started + 8000), true);
    assert.ok(performance.now() - started < atOnce + slack);
  });

  it('is not the same at another host', async () => {
    await ask();
    says = false;
    assert.equal(await exists.ask('alice', 'other.example', time + 100), false);
  });

  const outages: [title: string, trouble: Says][] = [
    ['fails', 'fails'],
    ['stalls', 'stalls'],
  ];
  for (const [title, trouble] of outages) {
    it(`is what was known before, at once, when the directory ${title}: for hours`, async () => {
      await ask('alice');
      says = false;
      await ask('bob');
      says = trouble;
      for (const hours of [0.2, 5, 24]) {
        time = 1_000_000 + hours * 60 * MINUTE;
        for (const [name, expected] of [
          ['alice', true],
          ['bob', false],
        ] as const) {
          const [answer, took] = await timed(name);
          assert.equal(answer, expected, `${name} after ${hours} h`);
          assert.ok(took < atOnce + slack, `${took} ms`);
        }
      }
    });

    it(`is yes, at once, for who has logged in, when the directory ${title}`, async () => {
      says = false;
      await ask('bob');
      says = trouble;
      known = new Set(['alice', 'bob']);
      time += MINUTE;
      for (const name of ['alice', 'bob']) {
        const [answer, took] = await timed(name);
        assert.equal(answer, true, `${name}, whom another process may have seen since`);
        assert.ok(took < atOnce + slack, `${took} ms`);
      }
    });

    it(`is yes for strangers, before the deadline, when the directory ${title}`, async () => {
      says = trouble;
      const [answer, took] = await timed('stranger', 150);
      assert.equal(answer, true);
      assert.ok(took < 150 + slack, `${took} ms`);
      says = false;
      await sleep(10);
      if (trouble === 'fails') assert.equal(await ask('stranger'), false, 'that was not remembered');
    });
  }

  it('is no for who has logged in and is not in the directory any more', async () => {
    known.add('alice');
    says = false;
    assert.equal(await ask(), false);
  });

  it('comes at once for who has logged in, and late from the directory for the next time', async () => {
    known.add('alice');
    says = 'late';
    const [answer, took] = await timed();
    assert.deepEqual([answer, took < atOnce + slack], [true, true]);
    await sleep(150);
    assert.equal(exists.ask('alice', HOST, time), true);
    assert.equal(asked.length, 1);
  });

  it('is waited for in vain once in ten seconds', async () => {
    says = 'stalls';
    const turning = setInterval(() => {
      time += 10;
    }, 10);
    try {
      assert.ok((await timed('a', 600))[1] >= 500);
      assert.ok((await timed('b', 600))[1] < atOnce + slack);
      assert.ok((await timed('c', 600))[1] < atOnce + slack);
      says = false;
      assert.equal(await ask('d'), false, 'an answer in good time counts');
      says = 'stalls';
      time += 10_000;
      assert.ok((await timed('e', 600))[1] >= 500);
    } finally {
      clearInterval(turning);
    }
  });

  it('is yes without a question for who has just logged in, also when a no is under way', async () => {
    exists.seen('alice', HOST);
    assert.equal(exists.ask('alice', HOST, time), true);
    assert.equal(asked.length, 0);
    says = false;
    const late = ask('bob');
    exists.seen('bob', HOST);
    await late;
    assert.equal(exists.ask('bob', HOST, time), true);
    exists.forget('alice', HOST);
    assert.equal(await ask('alice'), false);
    time += 10 * MINUTE;
    assert.equal(await ask('bob'), false);
  });

  it('is forgotten, also when an answer is under way', async () => {
    await ask();
    time += 9 * MINUTE;
    exists.ask('alice', HOST, time);
    exists.forget('alice', HOST);
    await sleep(10);
    says = false;
    assert.equal(await ask(), false);
  });

  it('tells the operator what waiting does not mend, and no more', async () => {
    says = 'fails';
    await ask();
    assert.deepEqual(warnings, ['user_lookup: the answer makes no sense']);
  });

  it('is answered from memory for ten thousand users', async () => {
    for (let n = 0; n < 12_000; n++) exists.seen(`u${n}`, HOST);
    assert.equal(exists.ask('u11999', HOST, time), true);
    assert.equal(exists.ask('u2001', HOST, time), true);
    assert.equal(asked.length, 0);
    await exists.ask('u0', HOST, time + 100);
    assert.deepEqual(asked, ['u0']);
  });
});
