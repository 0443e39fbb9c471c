// When an endpoint is left alone, for how long, and what brings it back. The clock is the test's.
import assert from 'node:assert/strict';
import { describe, it, mock } from 'node:test';
import { type Breaker, createBreaker, type Ended } from '../src/guard/breaker.ts';

interface Bench {
  readonly breaker: Breaker;
  readonly changes: { paused: boolean; why: string; since: number }[];
  /** Probes so far, and an answer for the last. */
  readonly probes: { answer: () => void; fail: () => void }[];
  /** One request, and how it ends; `paused` when it may not be sent. */
  send(ended: Ended): 'sent' | 'paused';
  /** Lets time pass, timers included. */
  pass(milliseconds: number): Promise<void>;
}

function bench({ random = 0.5 } = {}): Bench {
  let clock = 0;
  const changes: Bench['changes'] = [];
  const probes: Bench['probes'] = [];
  const breaker = createBreaker({
    now: () => clock,
    random: () => random,
    probe: () =>
      new Promise<void>((resolve, reject) => {
        probes.push({ answer: () => resolve(), fail: () => reject(new Error('away')) });
      }),
    onChange: (change) => changes.push(change),
  });
  return {
    breaker,
    changes,
    probes,
    send(ended) {
      const admitted = breaker.admit();
      if (typeof admitted !== 'function') return 'paused';
      admitted(ended);
      return 'sent';
    },
    async pass(milliseconds) {
      // In steps, so that each timer sees its own time.
      for (let left = milliseconds; left > 0; left -= 10) {
        clock += Math.min(10, left);
        mock.timers.tick(Math.min(10, left));
        await Promise.resolve();
        await Promise.resolve();
      }
    },
  };
}

function withTimers(title: string, test: () => Promise<void>): void {
  it(title, async () => {
    mock.timers.enable({ apis: ['setTimeout'] });
    try {
      await test();
    } finally {
      mock.timers.reset();
    }
  });
}

function fail(on: Bench, times: number, how: Ended = 'failed'): void {
  for (let n = 0; n < times; n++) assert.equal(on.send(how), 'sent');
}

describe('an endpoint', () => {
  it('is asked until it has failed five times in a row', () => {
    const on = bench();
    fail(on, 4);
    on.send('good');
    fail(on, 4);
    on.send('none');
    assert.deepEqual(on.changes, [], 'a good answer makes up for four bad ones');
    fail(on, 1);
    assert.equal(on.send('good'), 'paused');
    assert.deepEqual(on.changes, [{ paused: true, why: '5 failures in a row', since: 0 }]);
  });

  withTimers(
    'that fails quickly is tried by one login after a second, and back after one good answer',
    async () => {
      const on = bench();
      fail(on, 5);
      await on.pass(990);
      assert.equal(on.send('good'), 'paused');
      await on.pass(20);
      const trial = on.breaker.admit();
      assert.equal(typeof trial, 'function');
      assert.equal(on.send('good'), 'paused', 'one at a time');
      (trial as (ended: Ended) => void)('good');
      fail(on, 4);
      assert.equal(on.send('good'), 'sent', 'the count begins anew');
      assert.equal(on.probes.length, 0, 'nobody else was needed');
      assert.deepEqual(
        on.changes.map(({ paused, since }) => [paused, since]),
        [
          [true, 0],
          [false, 1010],
        ],
      );
    },
  );

  withTimers('that fails its trial is left alone again, and another login may try later', async () => {
    const on = bench();
    fail(on, 5);
    for (let round = 0; round < 10; round++) {
      await on.pass(1100);
      assert.equal(on.send('failed'), 'sent');
      assert.equal(on.send('good'), 'paused');
    }
    assert.equal(on.changes.length, 1, 'said once');
  });

  withTimers('that did not answer is found back by a probe, for which no login waits', async () => {
    const on = bench();
    fail(on, 5, 'slow');
    await on.pass(900);
    assert.equal(on.probes.length, 0);
    await on.pass(200);
    assert.equal(on.probes.length, 1);
    assert.equal(on.send('good'), 'paused');
    await on.pass(5000);
    assert.equal(on.probes.length, 3, 'no more than three at a time');
    assert.equal(on.send('good'), 'paused', 'as long as none is answered');
    on.probes[1]?.answer();
    await on.pass(10);
    assert.equal(on.send('good'), 'sent');
    assert.equal(on.changes.at(-1)?.paused, false);
    await on.pass(60_000);
    assert.equal(on.probes.length, 3, 'and then there are no more');
  });

  withTimers('is looked at within two seconds after a minute, and every 30 s after hours', async () => {
    const on = bench();
    fail(on, 5, 'slow');
    const times: number[] = [];
    let seen = 0;
    for (let at = 0; at < 65_000; at += 10) {
      await on.pass(10);
      while (on.probes.length > seen) {
        on.probes[seen++]?.fail();
        times.push(at);
      }
    }
    const gaps = times.map((at, n) => at - (times[n - 1] ?? 0));
    assert.ok(Math.max(...gaps) < 1900, `${gaps}`);
    assert.ok(Math.min(...gaps) >= 990, `${gaps}`);
    assert.ok(times.length < 60);
    await on.pass(3_600_000);
    while (on.probes.length > seen) on.probes[seen++]?.fail();
    const before = on.probes.length;
    for (let n = 0; n < 10; n++) {
      await on.pass(30_000);
      while (on.probes.length > seen) on.probes[seen++]?.fail();
    }
    assert.ok(
      on.probes.length - before >= 8 && on.probes.length - before <= 12,
      `${on.probes.length - before}`,
    );
  });

  withTimers('whose probe is answered and whose trial is waited for in vain is tried ever less', async () => {
    const on = bench();
    fail(on, 5, 'slow');
    let trials = 0;
    let seen = 0;
    for (let at = 0; at < 120_000; at += 100) {
      await on.pass(100);
      while (on.probes.length > seen) on.probes[seen++]?.answer();
      await on.pass(1);
      if (on.send('slow') === 'sent') trials++;
    }
    assert.ok(trials >= 5 && trials <= 10, `${trials} logins have waited in two minutes`);
  });

  withTimers('that asks to be left alone is, and not for longer than two minutes', async () => {
    const on = bench();
    on.breaker.pause(5000);
    assert.equal(on.send('good'), 'paused');
    await on.pass(4990);
    assert.equal(on.send('good'), 'paused');
    await on.pass(20);
    assert.equal(on.send('good'), 'sent');
    on.breaker.pause(86_400_000);
    await on.pass(119_000);
    assert.equal(on.send('good'), 'paused');
    await on.pass(1100);
    assert.equal(on.send('good'), 'sent');
    assert.deepEqual(
      on.changes.map(({ paused }) => paused),
      [true, false, true, false],
    );
  });

  withTimers(
    'that asks to be left alone is, whatever comes of the requests that were under way',
    async () => {
      const on = bench();
      const [good, asks] = [on.breaker.admit(), on.breaker.admit()] as ((ended: Ended) => void)[];
      on.breaker.pause(60_000);
      good?.('good');
      assert.equal(on.send('good'), 'paused');
      on.breaker.pause(1000);
      asks?.('none');
      await on.pass(59_900);
      assert.equal(on.send('good'), 'paused');
      await on.pass(200);
      assert.equal(on.send('good'), 'sent');
      assert.ok(!on.breaker.isPaused());
    },
  );

  withTimers('is not looked at any more when nobody needs it', async () => {
    const on = bench();
    const underWay = Array.from({ length: 5 }, () => on.breaker.admit() as (ended: Ended) => void);
    on.breaker.close();
    for (const told of underWay) told('slow');
    await on.pass(60_000);
    assert.equal(on.probes.length, 0);
  });

  withTimers('is back when a request that was under way is answered after all', async () => {
    const on = bench();
    const straggler = on.breaker.admit() as (ended: Ended) => void;
    fail(on, 5, 'slow');
    assert.ok(on.breaker.isPaused());
    straggler('good');
    assert.equal(on.send('good'), 'sent');
    await on.pass(10_000);
    assert.equal(on.probes.length, 0);
  });

  withTimers('whose trial came to nothing may be tried by the next', async () => {
    const on = bench();
    fail(on, 5);
    await on.pass(1100);
    assert.equal(on.send('none'), 'sent');
    assert.equal(on.send('good'), 'sent');
    assert.equal(on.breaker.isPaused(), false);
  });

  it('is not tried by all workers of a pool at the same moment', () => {
    const waits = [0, 0.25, 0.5, 0.75, 1].map((random) => {
      const on = bench({ random });
      fail(on, 5);
      const admitted = on.breaker.admit();
      return typeof admitted === 'function' ? 0 : admitted.pausedFor;
    });
    assert.deepEqual(waits, [900, 950, 1000, 1050, 1100]);
  });
});
