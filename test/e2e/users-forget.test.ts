// What is left of a user who has been forgotten: nothing, in LMDB and in the memory of any process.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { forgetVerdicts, tellForgotten, watchForgotten } from '../../src/guard/forgotten.ts';
import { createVerdicts, type Login } from '../../src/guard/verdicts.ts';
import { openLmdbState } from '../../src/state/lmdb.ts';
import { createMemoryState } from '../../src/state/memory.ts';
import { createSharedState } from '../../src/state/shared.ts';
import { Secret } from '../../src/verdict.ts';
import { temporaryFolder } from '../support/bridge.ts';
import { forgetContract } from '../support/forgetting.ts';

const HOST = 'chat.example';

// Each waits for the other processes to look.
describe('a user with a state in LMDB', { concurrency: true }, () => {
  forgetContract(async () => {
    const folder = join(temporaryFolder(), 'state');
    return { state: { state: `lmdb:${folder}` }, open: () => openLmdbState({ folder }) };
  });
});

const newMemory = () => createMemoryState({ now: () => performance.now(), maxEntries: 1000 });

describe('what is remembered of a user', () => {
  it('is found where a token alone said who it was', async () => {
    const state = newMemory();
    const verdicts = createVerdicts({
      ttl: { token: 60_000, password: 0, refused: 60_000 },
      grace: 0,
      maxEntries: 10,
      shared: state,
      wallClock: Date.now,
      random: () => 0,
    });
    const login = (secret: string, host = HOST): Login => ({
      credentials: { localpart: undefined, authcid: '', host, secret: new Secret(secret), isBearer: true },
      settings: () => 's',
    });
    const accepted = { outcome: 'accepted', method: 'introspection' } as const;
    verdicts.keep(login('of-alice'), { ...accepted, localpart: 'alice' });
    verdicts.keep(login('of-alice', 'other.example'), { ...accepted, localpart: 'alice' });
    verdicts.keep(login('of-bob'), { ...accepted, localpart: 'bob' });
    verdicts.keep(login('of-nobody'), {
      outcome: 'refused',
      reason: 'token_inactive',
      method: 'introspection',
    });
    assert.equal(state.list('v:').size, 4);
    assert.equal(await forgetVerdicts(state, { host: HOST, localpart: 'alice' }), 1);
    assert.equal(state.list('v:').size, 3);
    verdicts.forget();
    assert.equal(await verdicts.findShared(login('of-alice')), undefined);
    assert.equal((await verdicts.findShared(login('of-bob')))?.outcome, 'accepted');
    assert.equal((await verdicts.findShared(login('of-alice', 'other.example')))?.outcome, 'accepted');
  });

  it('is let go of by every process that is told, once, and not for what it says itself while the store is away', async () => {
    const behind = newMemory();
    let isBroken = false;
    const shared = createSharedState({
      open: async () => {
        if (isBroken) throw new Error('broken');
        return {
          ...behind,
          get: (name) => {
            if (isBroken) throw new Error('broken');
            return behind.get(name);
          },
        };
      },
      memory: newMemory(),
      onChange() {},
    });
    await shared.started;
    let heard = 0;
    const stop = watchForgotten({ state: shared, every: 5, onForgotten: () => heard++ });
    const pause = () => new Promise((resolve) => setTimeout(resolve, 60));
    await pause();
    assert.equal(heard, 0);
    await tellForgotten(behind);
    await pause();
    assert.equal(heard, 1);
    await tellForgotten(behind);
    await pause();
    assert.equal(heard, 2);
    isBroken = true;
    await pause();
    assert.equal(shared.isAway, true);
    await tellForgotten(shared);
    await pause();
    assert.equal(heard, 2);
    stop();
    await shared.close();
  });
});
