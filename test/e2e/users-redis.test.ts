// Whose a localpart is, and what is left of a user, with a real Redis that several processes share.
import { randomBytes } from 'node:crypto';
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { temporaryFolder } from '../support/bridge.ts';
import { forgetContract } from '../support/forgetting.ts';
import { firstLogins, pinContract } from '../support/pins.ts';
import { lastingWorld } from '../support/worlds.ts';
import { openRedis, type RedisServer, startRedis } from './support/redis.ts';

let redis: RedisServer;
let state: object;

before(async () => {
  redis = await startRedis();
  const keyFile = join(temporaryFolder(), 'state.key');
  writeFileSync(keyFile, randomBytes(32).toString('base64'));
  chmodSync(keyFile, 0o600);
  state = { state: `redis://127.0.0.1:${redis.port}`, state_key_file: keyFile };
});
after(() => redis?.stop());

describe('a localpart with a state in Redis', () => {
  pinContract(async () => lastingWorld(state));

  it('is one of two who come first at the same time, each to a process of its own', async () => {
    await firstLogins(state);
  });
});

describe('a user with a state in Redis', () => {
  forgetContract(async () => {
    await redis.cli('flushall');
    return { state, open: () => openRedis(`redis://127.0.0.1:${redis.port}`) };
  });
});
