// The store of several machines against real servers: one server, Sentinel, a cluster, TLS; and what it does while they
// are away.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { describe } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseStateAddress, type RedisAddress } from '../../src/state/address.ts';
import { openRedisState, type RedisStateOptions } from '../../src/state/redis.ts';
import type { State } from '../../src/state/state.ts';
import { stateContract } from '../support/state-contract.ts';
import { startRedis } from './support/redis.ts';

const key = randomBytes(32);
/** May be in no message. */
const canary = 'Canary-4711';

const open = (text: string, more: Partial<RedisStateOptions> = {}): Promise<State> =>
  openRedisState({ address: redisAddress(text), key, ...more });

function redisAddress(text: string): RedisAddress {
  const address = parseStateAddress(text);
  assert.ok('store' in address && address.store === 'redis', JSON.stringify(address));
  return address;
}

describe('State in one Redis, with a user', () => {
  stateContract(async () => {
    const server = await startRedis({
      settings: [
        'user default off',
        `user admin on >${canary} ~* &* +@all`,
        // All that the README tells people to allow.
        `user extauth on >${canary}-2 ~extauth-oauth:* resetchannels -@all +set +get +del +incrby +multi +exec +scan +select`,
      ],
      login: ['--user', 'admin', '--pass', canary],
    });
    const address = `redis://extauth:${canary}-2@127.0.0.1:${server.port}/3`;
    const [state, other] = [await open(address), await open(address)];
    return { state, other, pass: sleep, end: server.stop };
  });
});
