// The LMDB state as the workers of one machine have it: real files and real processes. What becomes of it when some of
// them are stopped or killed: test/lmdb-killed.test.ts.
import assert from 'node:assert/strict';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { keyBeside } from '../src/state/key-file.ts';
import { openLmdbState } from '../src/state/lmdb.ts';
import { type Peer, startPeer as start } from './support/lmdb-peer.ts';
import { stateContract } from './support/state-contract.ts';

const root = mkdtempSync(join(tmpdir(), 'extauth-oauth-lmdb-'));
after(() => rmSync(root, { recursive: true, force: true }));
let serial = 0;
const isRoot = process.getuid?.() === 0;
const peers: Peer[] = [];
after(() => Promise.all(peers.map((peer) => peer.kill())));
const startPeer: typeof start = async (options) => {
  const peer = await start(options);
  peers.push(peer);
  return peer;
};
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

  it('are made open to nobody else when they were', async () => {
    const folder = newFolder();
    await (await openLmdbState({ folder })).close();
    chmodSync(join(folder, 'state.mdb'), 0o644);
    await (await openLmdbState({ folder })).close();
    assert.equal(statSync(join(folder, 'state.mdb')).mode & 0o777, 0o600);
  });

  it('are not in a folder that others can write to, or that is of another user', async () => {
    for (const [mode, uid] of [
      [0o770, 0],
      [0o707, 0],
      [0o700, 12_345],
    ] as const) {
      const folder = newFolder();
      mkdirSync(folder);
      chmodSync(folder, mode);
      if (uid !== 0) {
        if (!isRoot) continue;
        const { chownSync } = await import('node:fs');
        chownSync(folder, uid, uid);
      }
      const expected =
        uid === 0
          ? /state: others can write to .*: chmod 0700/
          : /belongs to another user: run this as user 12345/;
      await assert.rejects(openLmdbState({ folder }), expected);
      assert.deepEqual(readdirSync(folder), []);
    }
  });

  it('are not below what is a file', async () => {
    const file = newFolder();
    writeFileSync(file, '');
    await assert.rejects(openLmdbState({ folder: join(file, 'state') }), /state: .* cannot be used: ENOTDIR/);
  });

  it('say what to do where they cannot be written', {
    skip: !isRoot && 'only root can be another user',
  }, async () => {
    const folder = newFolder();
    mkdirSync(folder);
    chmodSync(root, 0o755);
    const refused = /cannot be written by this user: install -d -o \S+ -m 0700/;
    await assert.rejects(startPeer({ folder: join(folder, 'new'), uid: 65_534 }), refused);
    chmodSync(folder, 0o555);
    await assert.rejects(startPeer({ folder, uid: 65_534 }), refused);
  });

  it('were deleted or replaced: ping says so, and who opens again has new ones', async () => {
    const folder = newFolder();
    const before = await openLmdbState({ folder });
    await before.set('a', 'old', Number.POSITIVE_INFINITY);
    await before.ping();
    rmSync(folder, { recursive: true });
    await assert.rejects(async () => before.ping(), /deleted or replaced/);
    assert.throws(() => before.get('a'), /deleted or replaced/);
    await assert.rejects(async () => before.set('a', 'b', 1000), /deleted or replaced/);
    const state = await openLmdbState({ folder });
    await before.close();
    assert.equal(state.get('a'), undefined);
    await state.set('a', 'new', Number.POSITIVE_INFINITY);
    await state.ping();
    const peer = await startPeer({ folder });
    assert.equal(await peer.get('a'), 'new');
    await peer.close();
    await state.close();
  });

  it('were deleted: the next look says so when nobody pings', async () => {
    const folder = newFolder();
    const state = await openLmdbState({ folder, sweepEvery: 50 });
    rmSync(folder, { recursive: true });
    await until(() => {
      try {
        return state.get('a') !== undefined;
      } catch (error) {
        return /deleted or replaced/.test(String(error));
      }
    });
    await state.close();
  });
});

describe('the key beside an LMDB state', () => {
  it('is one, however many processes start at the same time', async () => {
    const folder = newFolder();
    const peers = await Promise.all(Array.from({ length: 8 }, () => startPeer({ folder })));
    assert.equal(new Set(peers.map(({ key }) => key.toString('hex'))).size, 1);
    assert.deepEqual(readdirSync(folder).sort(), ['key', 'state.mdb', 'state.mdb-lock']);
    assert.match(readFileSync(join(folder, 'key'), 'latin1'), /^[\w-]{43}\n$/);
    await Promise.all(peers.map((peer) => peer.close()));
  });

  it('is refused when others can read it, when it is short, or not a file', () => {
    const folder = newFolder();
    mkdirSync(folder, { mode: 0o700 });
    const file = join(folder, 'key');
    writeFileSync(file, 'x'.repeat(31), { mode: 0o600 });
    assert.throws(() => keyBeside(folder), /fewer than 32 bytes/);
    writeFileSync(file, 'x'.repeat(32));
    assert.equal(keyBeside(folder).length, 32);
    for (const mode of [0o644, 0o640, 0o620]) {
      chmodSync(file, mode);
      assert.throws(() => keyBeside(folder), /others can read or write the key in .*: chmod 0600/);
    }
  });

  it('may have a newline at its end, and no more', () => {
    const keys = ['x'.repeat(32), `${'x'.repeat(32)}\n`, `${'x'.repeat(32)}\n\n`].map((content) => {
      const folder = newFolder();
      mkdirSync(folder, { mode: 0o700 });
      writeFileSync(join(folder, 'key'), content, { mode: 0o600 });
      return keyBeside(folder).toString('hex');
    });
    assert.equal(keys[0], keys[1]);
    assert.notEqual(keys[0], keys[2]);
  });

  it('must not be short, nor be anything but a file', () => {
    const folder = newFolder();
    mkdirSync(folder, { mode: 0o700 });
    writeFileSync(join(folder, 'key'), `${'x'.repeat(31)}\n`, { mode: 0o600 });
    assert.throws(() => keyBeside(folder), /fewer than 32 bytes/);
    rmSync(join(folder, 'key'));
    mkdirSync(join(folder, 'key'));
    assert.throws(() => keyBeside(folder), /is not a file/);
  });
});

describe('an LMDB state that is full', () => {
  it('rejects writes, is read, and goes on when there is room again', async () => {
    const folder = newFolder();
    // 512 bytes a block in sh, so this is 1 MiB.
    const limit = ['sh', '-c', 'ulimit -f 2048; exec "$@"', 'sh'];
    const peer = await startPeer({ folder, prefix: limit, writeWithin: 2000 });
    await peer.set('a', 'b', Number.POSITIVE_INFINITY);
    let failed: unknown;
    for (let n = 0; failed === undefined && n < 2000; n++)
      await Promise.resolve(peer.set(`fill${n}`, 'x'.repeat(1400), 60_000)).catch((error) => {
        failed = error;
      });
    assert.match(String(failed), /Input\/output error|File too large/);
    assert.equal(await peer.get('a'), 'b');
    await assert.rejects(async () => peer.ping());
    const unlimited = await openLmdbState({ folder });
    await unlimited.set('more', 'x'.repeat(1400), 60_000);
    assert.equal((await peer.get('more'))?.length, 1400);
    for (const name of unlimited.list('fill').keys()) await unlimited.delete(name);
    await peer.set('small', 'fits', 60_000);
    assert.equal(await peer.get('small'), 'fits');
    await peer.ping();
    await unlimited.close();
    await peer.close();
  });

  it('forgets what has ended, and the soonest to end when there is too much', async () => {
    const folder = newFolder();
    let clock = 1_700_000_000_000;
    const state = await openLmdbState({ folder, maxEntries: 1000, sweepEvery: 40, wallClock: () => clock });
    await state.set('stays', 'v', Number.POSITIVE_INFINITY);
    await Promise.all(Array.from({ length: 900 }, (_, n) => state.set(`e${n}`, 'v', 1000)));
    clock += 5000;
    const entries = () => countEntries(folder);
    await until(async () => (await entries()) < 10);
    await Promise.all(Array.from({ length: 3000 }, (_, n) => state.set(`n${n}`, 'v', 1000 + n)));
    await until(async () => {
      clock += 40;
      return (await entries()) <= 1000;
    });
    assert.equal(state.get('stays'), 'v');
    assert.equal(state.get('n2999'), 'v');
    assert.equal(state.get('n0'), undefined);
    await state.close();
  });

  it('makes no room at the cost of what ends for what stays', async () => {
    const folder = newFolder();
    const peer = await openLmdbState({ folder, maxEntries: 100, sweepEvery: 40 });
    await Promise.all(
      Array.from({ length: 300 }, (_, n) =>
        peer.set(`${n < 150 ? 'user' : 'pin'}:${n}`, 'v', Number.POSITIVE_INFINITY),
      ),
    );
    await Promise.all(Array.from({ length: 50 }, (_, n) => peer.set(`v:${n}`, 'v', 60_000)));
    await Promise.all(Array.from({ length: 50 }, (_, n) => peer.set(`ended:${n}`, 'v', 1)));
    await Promise.all(Array.from({ length: 50 }, (_, n) => peer.set(`zz-ended:${n}`, 'v', 1)));
    // What has ended is gone, and what does is never in the way: the names that stay are more than there may be.
    await until(async () => (await countEntries(folder)) < 400);
    assert.equal(peer.list('v:').size, 50);
    assert.equal(peer.list('user:').size, 150);
    assert.equal(peer.list('pin:').size, 150);
    await peer.close();
  });
});

/** All there are in the file, ended or not. */
async function countEntries(folder: string): Promise<number> {
  const { allDbs } = (await import('lmdb')) as unknown as {
    allDbs: Map<string, { path: string; getStats(): { entryCount: number } }>;
  };
  const database = [...allDbs.values()].find(({ path }) => path === join(folder, 'state.mdb'));
  return database?.getStats().entryCount ?? Number.NaN;
}

async function until(condition: () => unknown): Promise<void> {
  for (const end = Date.now() + 10_000; !(await condition()); await sleep(10))
    assert.ok(Date.now() < end, 'it has not come about');
}
