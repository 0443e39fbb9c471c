// What the store of several machines does while its server is away, slow, full or the wrong one: whoever asks hears so at
// once, nobody gets another's answer, no message tells a secret, and it comes back by itself.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { afterEach, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { State } from '../../src/state/state.ts';
import { freePorts } from './support/ejabberd.ts';
import { canary, openRedis, type RedisServer, startRedis } from './support/redis.ts';
import {
  assertAllReject,
  assertTellsNoSecret,
  canaryName,
  canaryValue,
  long,
  longestAnswer,
  timeToReturn,
} from './support/state-faults.ts';

const ending: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ending.splice(0).reverse()) await end();
});

async function start(settings: readonly string[] = []): Promise<{ server: RedisServer; address: string }> {
  const server = await startRedis({
    settings: [`requirepass ${canary}`, ...settings],
    login: ['-a', canary],
  });
  ending.push(server.stop);
  return { server, address: `redis://:${canary}@127.0.0.1:${server.port}` };
}

async function open(address: string): Promise<State> {
  const state = await openRedis(address);
  ending.push(() => state.close());
  return state;
}

describe('A Redis that is away', () => {
  it('is told at once when it is killed, and comes back by itself', async (t) => {
    const { server, address } = await start();
    const state = await open(address);
    await timeToReturn(state);
    await server.kill();
    for (let n = 0; n < 3; n++) {
      t.diagnostic(
        `slowest rejection: ${Math.round(await assertAllReject(state, /ECONNREFUSED|not connected/))} ms`,
      );
      await sleep(1500);
    }
    await assertAllReject(state, /ECONNREFUSED/);
    await server.start();
    t.diagnostic(`back after ${Math.round(await timeToReturn(state))} ms`);
  });

  it('is told at once while it is killed in the middle of many requests', async () => {
    const { server, address } = await start();
    const state = await open(address);
    const begun = performance.now();
    const results = Array.from({ length: 2000 }, async (_, n) => state.set(`n${n}`, 'x'.repeat(1000), long));
    const killed = server.kill();
    for (const result of await Promise.allSettled(results))
      if (result.status === 'rejected') assertTellsNoSecret(result.reason);
    await killed;
    assert.ok(performance.now() - begun < 1000);
    await assertAllReject(state);
  });

  for (const seconds of [1, 10]) {
    it(`is told at once while it stands still for ${seconds} s, and gives nobody another's answer`, async (t) => {
      const { server, address } = await start();
      const state = await open(address);
      for (let n = 0; n < 50; n++) await state.set(`n${n}`, `v${n}`, long);
      server.signal('SIGSTOP');
      const stopped = performance.now();
      let slowest = 0;
      for (let n = 0; performance.now() - stopped < seconds * 1000; n++) {
        const begun = performance.now();
        await assert.rejects(async () => state.get(`n${n % 50}`), /^Error: Redis at 127/);
        slowest = Math.max(slowest, performance.now() - begun);
        await sleep(20);
      }
      const all = await assertAllReject(state);
      t.diagnostic(`slowest rejection: ${Math.round(Math.max(all, slowest))} ms`);
      assert.ok(slowest < longestAnswer, `${slowest} ms`);
      server.signal('SIGCONT');
      // What was asked meanwhile is answered now, amid the answers to these.
      const begun = performance.now();
      let [right, late] = [0, 0];
      while (performance.now() - begun < 1000) {
        const answers = Array.from({ length: 50 }, async (_, n) => [n, await state.get(`n${n}`)] as const);
        for (const answer of await Promise.allSettled(answers)) {
          if (answer.status === 'rejected') late++;
          else assert.equal(answer.value[1], `v${answer.value[0]}`);
          if (answer.status === 'fulfilled') right++;
        }
        await sleep(1);
      }
      t.diagnostic(`in the second after: ${right} right answers, ${late} rejections`);
      t.diagnostic(`back at most ${Math.round(await timeToReturn(state, 2000)) + 1000} ms after`);
    });
  }

  it('takes no memory while it stands still', async (t) => {
    // Without a password the kernel of a server that stands still is enough for a connection.
    const { server } = await start(['requirepass ""']);
    const state = await open(`redis://127.0.0.1:${server.port}`);
    server.signal('SIGSTOP');
    const value = 'x'.repeat(60_000);
    const before = process.memoryUsage.rss();
    for (let n = 0; n < 4000; n++) {
      void Promise.resolve(state.set(`n${n}`, value, long)).catch(() => {});
      await sleep(1);
    }
    const grown = Math.round((process.memoryUsage.rss() - before) / 2 ** 20);
    t.diagnostic(`${grown} MiB for 240 MB in 5 s`);
    assert.ok(grown < 160, `${grown} MiB`);
  });
});

describe('A Redis that is not what it should be', () => {
  it('is not opened when it is not there, or refuses the password, and no message has it', async () => {
    const { server } = await start([`user known on >${canary} ~other:* -@all +set +get`]);
    const [port] = await freePorts(1);
    const cases: [string, RegExp][] = [
      [`redis://:${canary}@127.0.0.1:${port}`, /ECONNREFUSED/],
      [`redis://:${canary}@127.0.0.1:${port}?cluster=true`, /not connected|ECONNREFUSED/],
      [`redis://:${canary}@127.0.0.1:${port}?sentinel=m`, /no Sentinel|ECONNREFUSED/],
      [`redis://:${canary}-wrong@127.0.0.1:${server.port}`, /password is wrong.*WRONGPASS/],
      [`redis://${canary}:${canary}@127.0.0.1:${server.port}`, /password is wrong.*WRONGPASS/],
      [`redis://:${canary}-wrong@127.0.0.1:${server.port}?cluster=true`, /WRONGPASS/],
      [`redis://127.0.0.1:${server.port}`, /wants a password/],
      [`redis://known:${canary}@127.0.0.1:${server.port}`, /extauth-oauth:\*.*NOPERM/],
      [`redis://known:${canary}@127.0.0.1:${server.port}/1`, /NOPERM/],
      [`redis://:${canary}@127.0.0.1:${server.port}/99`, /ERR/],
      [`redis://:${canary}@127.0.0.1:${server.port}?cluster=true`, /ERR/],
      [`redis://:${canary}@127.0.0.1:${server.port}?sentinel=m`, /no Sentinel|WRONGPASS|NOAUTH|ERR/],
    ];
    for (const [address, expected] of cases) {
      await assert.rejects(openRedis(address), (error: Error) => {
        assertTellsNoSecret(error);
        assert.match(error.message, expected, address);
        return true;
      });
    }
  });

  it('is not there when it is a replica, which only reads, and is again when it is a master', async () => {
    const { server, address } = await start([`masterauth ${canary}`]);
    const { server: master } = await start();
    const state = await open(address);
    await server.cli('replicaof', '127.0.0.1', String(master.port));
    await assert.rejects(async () => state.ping(), /read-only replica \(READONLY\)/);
    await assert.rejects(openRedis(address), /READONLY|MASTERDOWN|LOADING/);
    await server.cli('replicaof', 'no', 'one');
    await timeToReturn(state);
  });

  it('still reads when its memory is full', async () => {
    const { server, address } = await start(['maxmemory-policy noeviction']);
    const state = await open(address);
    await state.set('kept', 'value', long);
    await server.cli('config', 'set', 'maxmemory', '1');
    await assert.rejects(
      async () => state.set(canaryName, canaryValue, long),
      (error: Error) => {
        assertTellsNoSecret(error);
        assert.match(error.message, /memory is full \(OOM\)/);
        return true;
      },
    );
    await assert.rejects(async () => state.increment(canaryName, 1, long), /OOM/);
    assert.equal(await state.get('kept'), 'value');
    await server.cli('config', 'set', 'maxmemory', '0');
    await timeToReturn(state);
  });

  it('does not keep a process that has closed it, nor one that could not open it', async () => {
    const { server, address } = await start();
    const code = `
      import { parseStateAddress } from './src/state/address.ts';
      import { openRedisState } from './src/state/redis.ts';
      const open = () => openRedisState({ address: parseStateAddress(process.argv[1]), key: Buffer.alloc(32) });
      const state = await open();
      console.log('open');
      await new Promise((resolve) => process.stdin.once('data', resolve));
      process.stdin.destroy();
      state.close();
      await open().then(() => process.exit(3), () => console.log('not open'));`;
    const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', code, address], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    ending.push(() => child.kill('SIGKILL'));
    const ended = new Promise((resolve) => child.once('exit', resolve));
    const says = () => new Promise((resolve) => child.stdout.once('data', (data) => resolve(String(data))));
    assert.equal(await says(), 'open\n');
    server.signal('SIGSTOP');
    child.stdin.write('close\n');
    assert.equal(await says(), 'not open\n');
    const begun = performance.now();
    assert.equal(await ended, 0);
    assert.ok(performance.now() - begun < 1000, `${performance.now() - begun} ms`);
  });
});
