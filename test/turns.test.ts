// The turns of one user's passwords, where a turn has taken longer than it may.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createTurns } from '../src/guard/turns.ts';
import { createMemoryState } from '../src/state/memory.ts';
import type { Deadline } from '../src/verdict.ts';

/** A process, on the clock and the state that all have in common. */
function processes() {
  let time = 0;
  const now = (): number => time;
  const state = createMemoryState({ now, maxEntries: 100 });
  const signal = (): Deadline =>
    Object.assign(new AbortController().signal, { deadlineAt: time + 1000 }) as Deadline;
  return {
    state,
    take: () => createTurns({ shared: { state, nameOf: (account) => account }, now }).take('alice', signal()),
    pass: (milliseconds: number): void => {
      time += milliseconds;
    },
  };
}

describe('turns', () => {
  it('end with whoever has them', async () => {
    const { state, take } = processes();
    const { done } = await take();
    assert.equal(state.list('turn:').size, 1);
    done();
    assert.equal(state.list('turn:').size, 0);
  });

  it('are not ended by who had the one before and is late', async () => {
    const { state, take, pass } = processes();
    const { done: late } = await take();
    pass(1001);
    const { done } = await take();
    late();
    assert.equal(state.list('turn:').size, 1, 'a third one would come in');
    done();
    assert.equal(state.list('turn:').size, 0);
  });
});
