// The LMDB state as the workers of one machine have it: real files, real processes, and what happens when they are killed.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { openLmdbState } from '../src/state/lmdb.ts';
import { startPeer } from './support/lmdb-peer.ts';
import { stateContract } from './support/state-contract.ts';

const root = mkdtempSync(join(tmpdir(), 'extauth-oauth-lmdb-'));
after(() => rmSync(root, { recursive: true, force: true }));
let serial = 0;
const newFolder = () => join(root, `${++serial}`);

describe('State in LMDB', () => {
  stateContract(async () => {
    const folder = newFolder();
    return {
      state: await openLmdbState({ folder }),
      other: await startPeer({ folder }),
      pass: async (milliseconds) => void (await sleep(milliseconds)),
    };
  });
});

describe('the files of an LMDB state', () => {
  it('are for their owner alone', async () => {
    const folder = newFolder();
    const state = await openLmdbState({ folder });
    const mode = (name: string) => (statSync(join(folder, name)).mode & 0o777).toString(8);
    assert.equal(mode('.'), '700');
    for (const name of ['state.mdb', 'state.mdb-lock', 'key']) assert.equal(mode(name), '600', name);
    await state.close();
  });
});
