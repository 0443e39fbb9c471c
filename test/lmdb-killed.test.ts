// The LMDB state of a machine on which processes are stopped or killed while they have it open.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { openLmdbState } from '../src/state/lmdb.ts';
import { bundled } from './support/bundle.ts';
import { crash } from './support/lmdb-crash.ts';
import { type Peer, startPeer as start } from './support/lmdb-peer.ts';

const root = mkdtempSync(join(tmpdir(), 'extauth-oauth-lmdb-'));
after(() => rmSync(root, { recursive: true, force: true }));
// Beforehand: esbuild holds the event loop, which a test watches while it starts a peer.
before(() => bundled(new URL('support/lmdb-peer.ts', import.meta.url).href));
let serial = 0;
const peers: Peer[] = [];
after(() => Promise.all(peers.map((peer) => peer.kill())));
const startPeer: typeof start = async (options) => {
  const peer = await start(options);
  peers.push(peer);
  return peer;
};
const newFolder = () => join(root, `${++serial}`);

describe('an LMDB state of which a process is stopped or killed', () => {
  it('is read at once, and its writes wait, while a stopped process has the lock', async () => {
    const folder = newFolder();
    const state = await openLmdbState({ folder, writeWithin: 300 });
    await state.set('a', 'b', Number.POSITIVE_INFINITY);
    const holder = await holdLock(folder);
    holder.kill('SIGSTOP');
    let longest = 0;
    let last = performance.now();
    const watch = setInterval(() => {
      longest = Math.max(longest, performance.now() - last);
      last = performance.now();
    }, 2);
    const writes = [
      state.set('waits', 'v', 60_000),
      state.putIfAbsent('waits too', 'v', 60_000),
      ...[1, 2, 3].map(() => state.increment('waits as well', 1, 60_000)),
      state.ping(),
    ].map((write) => assert.rejects(async () => write, /has waited for 300 ms/));
    assert.equal(state.get('a'), 'b');
    const other = await startPeer({ folder });
    assert.equal(await other.get('a'), 'b', 'who starts meanwhile reads');
    await Promise.all(writes);
    clearInterval(watch);
    assert.ok(longest < 50, `the event loop was held for ${longest} ms`);
    holder.kill('SIGKILL');
    await state.set('after', 'v', 60_000);
    assert.equal(state.get('waits'), 'v', 'what was given up was done later');
    await other.kill();
    await state.close();
  });

  it('is closed in time, and SIGKILL ends who exit() does not', async () => {
    const folder = newFolder();
    const peer = await startPeer({ folder, writeWithin: 200 });
    const holder = await holdLock(folder);
    holder.kill('SIGSTOP');
    await assert.rejects(async () => peer.set('a', 'b', 60_000), /has waited/);
    const start = performance.now();
    await assert.rejects(async () => peer.ask('close'), /still wait for another process/);
    assert.ok(performance.now() - start < 1000);
    await peer.kill();
    holder.kill('SIGKILL');
    await once(holder, 'exit');
    const state = await openLmdbState({ folder });
    await state.set('a', 'c', 60_000);
    assert.equal(state.get('a'), 'c');
    await state.close();
  });

  it('keeps what was written through 20 kills', async (t) => {
    t.diagnostic(JSON.stringify(await crash({ folder: newFolder(), kills: 20 })));
  });

  it('does not grow with the dead', async () => {
    const folder = newFolder();
    const state = await openLmdbState({ folder, sweepEvery: 100 });
    for (let n = 0; n < 10; n++) {
      const peers = await Promise.all([startPeer({ folder }), startPeer({ folder })]);
      const busy = peers.map(rewrite);
      await sleep(20);
      await Promise.all(peers.map((peer) => peer.kill()));
      await Promise.all(busy);
    }
    await Promise.all(Array.from({ length: 50 }, (_, n) => state.set(`k${n}`, 'x'.repeat(1000), 60_000)));
    const { size } = statSync(join(folder, 'state.mdb'));
    assert.ok(size < 4 * 2 ** 20, `${size}`);
    await state.close();
  });
});

/** Rewrites the same names until the peer is dead. */
async function rewrite(peer: Peer): Promise<void> {
  for (;;) {
    try {
      await Promise.all([
        ...Array.from({ length: 50 }, (_, n) => peer.set(`k${n}`, 'x'.repeat(1000), 60_000)),
        peer.list(''),
      ]);
    } catch {
      return;
    }
  }
}

/** A process that has the write lock, and is busy. */
async function holdLock(folder: string) {
  const code = `const db = require('lmdb').open({
      path: process.argv[1], noSubdir: true, overlappingSync: false, mapSize: 2 ** 30, useVersions: true, encoding: 'string',
    });
    db.transactionSync(() => { require('node:fs').writeSync(1, 'held'); for (;;); });`;
  const child = spawn(process.execPath, ['-e', code, join(folder, 'state.mdb')], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout, 'data');
  after(() => child.kill('SIGKILL'));
  return child;
}
