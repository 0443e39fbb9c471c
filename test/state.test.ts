// The same contract for every store. The ones that need a server of their own are in test/e2e.
import { describe } from 'node:test';
import { createMemoryState } from '../src/state/memory.ts';
import { stateContract } from './support/state-contract.ts';

describe('State in memory', () => {
  stateContract(async () => {
    let clock = 0;
    const state = createMemoryState({ now: () => clock, maxEntries: 1000 });
    return {
      state,
      async pass(milliseconds) {
        clock += milliseconds;
      },
    };
  });
});
