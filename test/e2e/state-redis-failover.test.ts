// Several Redis, of which one goes away: the store finds the one that is there.
import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { State } from '../../src/state/state.ts';
import { within } from './support/ejabberd.ts';
import { type RedisServer, startCluster, startSentinels } from './support/redis.ts';
import { assertAllReject, assertTellsNoSecret, longestAnswer, timeToReturn } from './support/state-faults.ts';

const ending: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ending.splice(0).reverse()) await end();
});

async function open(group: { open(): Promise<State> }): Promise<State> {
  const state = await group.open();
  ending.push(() => state.close());
  return state;
}

describe('Several Redis', () => {
  it('have another master after a failover, and Sentinels tell which', async (t) => {
    const group = await startSentinels();
    ending.push(group.stop);
    const state = await open(group);
    await state.set('kept', 'value', Number.POSITIVE_INFINITY);
    const replicated = async () => (await group.replica.cli('get', 'extauth-oauth:kept')) === 'value';
    assert.ok(await within(2000, replicated));
    await group.master.kill();
    await assertAllReject(state);
    t.diagnostic(`another master after ${Math.round(await timeToReturn(state, 15_000))} ms`);
    assert.equal(await state.get('kept'), 'value');
    await group.master.start();
    await sleep(1500);
    await timeToReturn(state);
    assert.equal(await state.get('kept'), 'value', 'the old master has become a replica');
  });

  it('have another master when the old one stands still', async (t) => {
    const group = await startSentinels();
    ending.push(group.stop);
    const state = await open(group);
    group.master.signal('SIGSTOP');
    await assertAllReject(state);
    t.diagnostic(`another master after ${Math.round(await timeToReturn(state, 15_000))} ms`);
    group.master.signal('SIGCONT');
    await sleep(1000);
    await timeToReturn(state);
  });

  it('make a cluster, which is back when a node that was killed is', async (t) => {
    const cluster = await startCluster();
    ending.push(cluster.stop);
    const state = await open(cluster);
    const [node] = cluster.nodes as [RedisServer];
    await node.kill();
    for (let n = 0; n < 30; n++) {
      const begun = performance.now();
      await Promise.resolve(state.get(`n${n}`)).catch(assertTellsNoSecret);
      assert.ok(performance.now() - begun < longestAnswer);
    }
    await node.start();
    t.diagnostic(`back after ${Math.round(await timeToReturn(state, 10_000))} ms`);
  });

  it('make a cluster, which is back when all were away', async (t) => {
    const cluster = await startCluster();
    ending.push(cluster.stop);
    const state = await open(cluster);
    for (const node of cluster.nodes) await node.kill();
    await assertAllReject(state);
    await sleep(3000);
    await assertAllReject(state);
    await Promise.all(cluster.nodes.map((node) => node.start()));
    t.diagnostic(`back after ${Math.round(await timeToReturn(state, 10_000))} ms`);
  });
});
