// The way to the provider: how many requests at a time, and what an answer does to those that come after it.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createGate, type PauseChange } from '../src/guard/gate.ts';
import { createQueue } from '../src/guard/queue.ts';
import { ProviderError } from '../src/oauth/errors.ts';
import type { HttpClient, HttpRequest, HttpResponse } from '../src/oauth/http.ts';

const TOKEN = 'https://id.example/token';
const USERINFO = 'https://id.example/userinfo';

type Answer = Partial<HttpResponse> | Error | ((request: HttpRequest) => Promise<Partial<HttpResponse>>);

function bench({ concurrency = 32 } = {}) {
  const asked: HttpRequest[] = [];
  const changes: PauseChange[] = [];
  let answer: Answer = {};
  const http: HttpClient = {
    async send(request) {
      asked.push(request);
      if (answer instanceof Error) throw answer;
      const given = typeof answer === 'function' ? await answer(request) : answer;
      return { status: 200, hostname: 'id.example', headers: {}, text: '', ...given };
    },
    close() {},
  };
  const gate = createGate({
    concurrency,
    now: () => performance.now(),
    random: () => 0.5,
    onChange: (change) => changes.push(change),
  });
  const guarded = gate.guard(http);
  return {
    gate,
    asked,
    changes,
    answer(next: Answer) {
      answer = next;
    },
    async send(url = TOKEN, signal?: AbortSignal): Promise<string> {
      try {
        const { status } = await guarded.send({ method: 'POST', url, headers: {} }, signal);
        return String(status);
      } catch (error) {
        return error instanceof ProviderError ? error.reason : String(error);
      }
    },
    message: (url = TOKEN): Promise<string> =>
      guarded.send({ method: 'POST', url, headers: {} }).then(
        () => '',
        (error: Error) => error.message,
      ),
  };
}

describe('an endpoint that fails', () => {
  const failures: [title: string, answer: Answer, told: string][] = [
    ['502', { status: 502 }, '502'],
    ['503', { status: 503 }, '503'],
    ['429 without Retry-After', { status: 429 }, '429'],
    [
      'no connection',
      new ProviderError('provider_unreachable', 'refuses the connection'),
      'provider_unreachable',
    ],
    ['garbage', new ProviderError('provider_error', 'not in proper HTTP'), 'provider_error'],
  ];
  for (const [title, answer, told] of failures) {
    it(`with ${title} is not asked after five times, and others are`, async () => {
      const on = bench();
      on.answer(answer);
      for (let n = 0; n < 5; n++) assert.equal(await on.send(), told);
      assert.equal(await on.send(), 'provider_paused');
      assert.equal(on.asked.length, 5);
      assert.equal(await on.send(USERINFO), told, 'another endpoint is another matter');
      assert.deepEqual(
        on.gate.endpoints().map(({ endpoint, paused }) => `${endpoint} ${paused}`),
        [`${TOKEN} true`, `${USERINFO} false`],
      );
      on.gate.close();
    });
  }

  for (const status of [200, 302, 400, 401, 403, 404]) {
    it(`with ${status} has answered, and is asked on`, async () => {
      const on = bench();
      on.answer({ status });
      for (let n = 0; n < 20; n++) assert.equal(await on.send(), String(status));
    });
  }

  it('is named with what was wrong, in the log and to who is refused', async () => {
    const on = bench();
    on.answer(new ProviderError('provider_unreachable', 'id.example refuses the connection'));
    for (let n = 0; n < 5; n++) await on.send(`${TOKEN}?secret=canary`);
    const [change] = on.changes;
    assert.equal(change?.endpoint, TOKEN);
    assert.match(String(change?.why), /5 failures in a row: id\.example refuses the connection/);
    const message = await on.message(`${TOKEN}?secret=canary`);
    assert.match(message, /id\.example\/token is not asked for .*refuses the connection/);
    assert.doesNotMatch(message + change?.why, /canary/);
    on.gate.close();
  });

  it('that asks for time gets it, with 429 and with 503, in seconds and as a date', async () => {
    for (const [status, value] of [
      [429, '1'],
      [503, '1'],
      [429, 'date'],
    ] as const) {
      const on = bench();
      const date = new Date(Date.now() + 2100).toUTCString();
      on.answer({ status, headers: { 'retry-after': value === 'date' ? date : value } });
      assert.equal(await on.send(), String(status));
      on.answer({});
      assert.equal(await on.send(), 'provider_paused');
      assert.equal(on.asked.length, 1);
      await sleep(value === '1' ? 1050 : 2150);
      assert.equal(await on.send(), '200');
      assert.equal(on.changes.length, 2);
    }
  });

  for (const value of ['0', '-5', 'soon', '', '99999999999999999999', ['1', '2'] as unknown as string]) {
    it(`and says Retry-After: ${value} is asked on`, async () => {
      const on = bench();
      on.answer({ status: 429, headers: { 'retry-after': value } });
      assert.equal(await on.send(), '429');
      on.answer({});
      assert.equal(await on.send(), '200');
    });
  }

  it('counts what we gave up after a second, and not what we gave up at once', async () => {
    const on = bench();
    on.answer(() => new Promise((_, reject) => setTimeout(() => reject(new Error('aborted')), 5)));
    for (let n = 0; n < 10; n++) await on.send(TOKEN, AbortSignal.abort(new Error('no time')));
    assert.equal(on.changes.length, 0);
    on.answer(async () => {
      await sleep(1050);
      throw new Error('aborted');
    });
    await Promise.all(Array.from({ length: 5 }, () => on.send(TOKEN, AbortSignal.timeout(1010))));
    assert.equal(on.changes.length, 1);
    on.gate.close();
  });

  it('is one thing by this way and another by that: proxies and certificates are of one virtual host', async () => {
    const gate = createGate({ concurrency: 32, now: () => performance.now() });
    const [works, fails] = [
      async () => ({ status: 200, hostname: 'id.example', headers: {}, text: '' }),
      async () => {
        throw new ProviderError('provider_unreachable', 'the TLS certificate is not accepted');
      },
    ].map((send, n) => gate.guard({ send, close() {} }, `ca ${n}`));
    const request = { method: 'POST', url: TOKEN, headers: {} } as const;
    for (let n = 0; n < 10; n++) await assert.rejects(async () => fails?.send(request));
    assert.equal((await works?.send(request))?.status, 200);
  });

  it('with a quick 500, which may be about what was asked, keeps nobody else out', async () => {
    const on = bench();
    on.answer({ status: 500 });
    for (let n = 0; n < 20; n++) assert.equal(await on.send(), '500');
    on.answer({});
    assert.equal(await on.send(), '200');
    assert.deepEqual(on.changes, []);
    on.gate.close();
  });

  it('with a 500 that takes its time is not asked after five times', async () => {
    const on = bench();
    on.answer(async () => {
      await sleep(1020);
      return { status: 500 };
    });
    await Promise.all(Array.from({ length: 5 }, () => on.send()));
    assert.equal(await on.send(), 'provider_paused');
    on.gate.close();
  });

  it('and then has a 500 for somebody is not back, and works again with the next answer', async () => {
    const on = bench();
    on.answer({ status: 503 });
    for (let n = 0; n < 5; n++) await on.send();
    await sleep(1200);
    on.answer({ status: 500 });
    assert.equal(await on.send(), '500');
    assert.equal(on.changes.length, 1);
    on.answer({});
    assert.equal(await on.send(), '200');
    assert.deepEqual(
      on.changes.map(({ paused }) => paused),
      [true, false],
    );
    on.gate.close();
  });

  it('keeps nobody waiting in the queue', async () => {
    const on = bench({ concurrency: 5 });
    on.answer(async () => {
      await sleep(50);
      return { status: 502 };
    });
    const startedAt = performance.now();
    const answers = await Promise.all(Array.from({ length: 100 }, () => on.send()));
    // Those whose turn comes while the five are failing.
    assert.ok(answers.filter((each) => each === '502').length < 10);
    assert.ok(answers.filter((each) => each === 'provider_paused').length > 90);
    assert.ok(performance.now() - startedAt < 200);
    on.gate.close();
  });
});

describe('limits.provider_concurrency', () => {
  it('holds for all endpoints of one provider together', async () => {
    const on = bench({ concurrency: 3 });
    let inside = 0;
    let most = 0;
    on.answer(async () => {
      most = Math.max(most, ++inside);
      await sleep(5);
      inside--;
      return {};
    });
    const answers = await Promise.all(
      Array.from({ length: 30 }, (_, n) => on.send(n % 2 ? TOKEN : USERINFO)),
    );
    assert.ok(answers.every((each) => each === '200'));
    assert.equal(most, 3);
    inside = 0;
    most = 0;
    await Promise.all(Array.from({ length: 30 }, () => on.send()));
    assert.equal(most, 3, 'and no place was lost');
  });

  it('lets go who has run out of time, and never sends for them', async () => {
    const on = bench({ concurrency: 1 });
    on.answer(async () => {
      await sleep(100);
      return {};
    });
    const first = on.send();
    assert.match(await on.send(TOKEN, AbortSignal.timeout(20)), /Timeout/);
    assert.equal(await on.send(TOKEN, AbortSignal.abort(new Error('no time'))), 'Error: no time');
    assert.equal(await first, '200');
    assert.equal(await on.send(), '200');
    assert.equal(on.asked.length, 2);
  });
});

describe('a queue', () => {
  it('is first in, first out, whoever gives up in between', async () => {
    const queue = createQueue(1);
    assert.ok(queue.enter());
    assert.ok(!queue.enter());
    const order: number[] = [];
    const givesUp = new AbortController();
    const all = [1, 2, 3, 4].map(async (n) => {
      await queue.wait('x', n === 2 ? givesUp.signal : undefined);
      order.push(n);
      queue.leave();
    });
    all[1]?.catch(() => order.push(-2));
    givesUp.abort(new Error('gone'));
    queue.leave();
    await Promise.allSettled(all);
    assert.deepEqual(
      order.filter((n) => n > 0),
      [1, 3, 4],
    );
    assert.ok(queue.enter(), 'there is room again');
  });
});
