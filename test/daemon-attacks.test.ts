// What a hostile peer of `extauth-oauth serve` may try: each of these once did harm to others.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ByteQueue } from '../src/extauth/byte-queue.ts';

describe('a request that drips in byte by byte', () => {
  it('is taken off the queue as fast as one that came whole', () => {
    const queue = new ByteQueue();
    const byte = Buffer.from('a');
    for (let at = 0; at < 150_000; at++) queue.push(byte, at);
    queue.push(Buffer.from('\nb'), 150_000);
    const began = performance.now();
    queue.skip(100_000);
    assert.equal(queue.arrivedAt, 100_000);
    queue.skip(50_001);
    assert.equal(queue.arrivedAt, 150_000);
    assert.equal(queue.length, 1);
    assert.ok(performance.now() - began < 500, `${performance.now() - began} ms`);
  });
});
