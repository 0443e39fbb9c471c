// A shared store that fails in every way there is, and what logins see of it.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createMemoryState, type MemoryState } from '../src/state/memory.ts';
import { createSharedState } from '../src/state/shared.ts';
import type { State } from '../src/state/state.ts';
import { stateContract } from './support/state-contract.ts';

const now = (): number => performance.now();
const memory = (): MemoryState => createMemoryState({ now, maxEntries: 1000 });
const HOUR = 3_600_000;

/** A store in whose place the test says how it fails. */
function frail(kept: MemoryState) {
  let trouble: 'none' | 'throws' | 'rejects' | 'hangs' = 'none';
  let asked = 0;
  const fail = (): Promise<never> | undefined => {
    asked++;
    switch (trouble) {
      case 'none':
        return undefined;
      case 'throws':
        throw new Error('broken');
      case 'rejects':
        return Promise.reject(new Error('broken'));
      case 'hangs':
        return new Promise(() => {});
    }
  };
  const store: State = {
    key: kept.key,
    get: (name) => fail() ?? kept.get(name),
    set: (...rest) => fail() ?? Promise.resolve(kept.set(...rest)),
    putIfAbsent: (...rest) => fail() ?? Promise.resolve(kept.putIfAbsent(...rest)),
    increment: (...rest) => fail() ?? Promise.resolve(kept.increment(...rest)),
    delete: (name) => fail() ?? Promise.resolve(kept.delete(name)),
    list: (prefix) => fail() ?? kept.list(prefix),
    ping: () => fail() ?? undefined,
    close() {},
  };
  return {
    open: async () => {
      await store.ping();
      return store;
    },
    become(next: typeof trouble) {
      trouble = next;
    },
    asked: () => asked,
  };
}

describe('a shared state whose store is there', () => {
  stateContract(async () => ({
    state: createSharedState({ open: frail(memory()).open, memory: memory(), onChange() {} }),
    pass: sleep,
  }));
});

describe('a shared state whose store is away', () => {
  stateContract(async () => {
    const broken = frail(memory());
    broken.become('rejects');
    return { state: createSharedState({ open: broken.open, memory: memory(), onChange() {} }), pass: sleep };
  });

  for (const trouble of ['throws', 'rejects', 'hangs'] as const) {
    it(`goes on from memory when the store ${trouble}, says so once, and comes back`, async () => {
      const behind = memory();
      const store = frail(behind);
      const said: string[] = [];
      const state = createSharedState({
        open: store.open,
        memory: memory(),
        onChange: ({ up, why }) => said.push(`${up ? 'up' : 'down'}: ${why}`),
        random: () => 0,
      });
      await state.set('a', 'before', HOUR);
      assert.equal(await state.increment('n', 3, HOUR), 3);
      const { key } = state;
      store.become(trouble);
      const startedAt = now();
      assert.equal(await state.get('a'), 'before', 'what this process has written, it knows');
      assert.equal(await state.increment('n', 1, HOUR), 4);
      await state.set('b', 'while it was away', HOUR);
      assert.equal(await state.get('b'), 'while it was away');
      assert.ok(now() - startedAt < 700, 'two operations find out, the others do not wait');
      assert.equal(state.key, key, 'names stay what they are');
      const asked = store.asked();
      for (let n = 0; n < 100; n++) await state.get('a');
      assert.ok(store.asked() - asked < 3, 'it is left alone');
      store.become('none');
      await sleep(1300);
      behind.set('a', 'by another process', HOUR);
      assert.equal(await state.get('a'), 'by another process');
      const why = trouble === 'hangs' ? 'no answer within 250 ms' : 'broken';
      assert.deepEqual(said, ['up: the store is there', `down: ${why}`, 'up: the store is there']);
      await state.close();
    });
  }

  it('does not wait for a store that hangs at the start', async () => {
    const state = createSharedState({
      open: () => new Promise(() => {}),
      memory: memory(),
      onChange() {},
    });
    const startedAt = now();
    await state.set('a', 'b', HOUR);
    assert.equal(await state.get('a'), 'b');
    assert.ok(now() - startedAt < 1200);
    await state.close();
  });
});
