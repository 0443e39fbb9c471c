// What is remembered ends: with lifetimes of a second, whoever comes every 2.5 s is asked about every time.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { startBridge, temporaryFolder } from './support/bridge.ts';
import { startProvider } from './support/provider.ts';

const LIFETIME = '1s';
const BETWEEN = 2500;
const LOGINS = 5;
const users = { alice: 'alice-password', bob: 'bob-password', carol: 'carol-password' };

/** How often the provider has been asked by each of five logins, of which the same came twice each time. */
async function askedBy(
  state: string,
  user: string,
  secretOf: 'password' | 'token' | 'wrong',
): Promise<number[]> {
  const provider = await startProvider({ users });
  const secret = {
    password: async () => `${user}-password`,
    token: () => provider.token(user),
    wrong: async () => 'of-nobody',
  }[secretOf];
  const { token, userinfo } = provider.endpoints;
  const bridge = startBridge({
    config: {
      token_endpoint: token,
      validation_endpoint: userinfo,
      validation: 'userinfo',
      scope: 'openid profile',
      client_id: provider.clientId,
      client_secret: provider.clientSecret,
      resource_owner_password: true,
      credential: secretOf === 'token' ? 'token' : 'auto',
      revoke_after_login: false,
      state,
      cache: { password_ttl: LIFETIME, token_ttl: LIFETIME, negative_ttl: LIFETIME },
    },
  });
  const request = `auth:${user}:chat.example:${await secret()}`;
  const asked: number[] = [];
  for (let n = 0; n < LOGINS; n++) {
    if (n > 0) await sleep(BETWEEN);
    const before = provider.requests.length;
    for (let twice = 0; twice < 2; twice++)
      assert.equal(await bridge.ask(request), secretOf === 'wrong' ? 0 : 1, bridge.log());
    asked.push(provider.requests.length - before);
  }
  await bridge.stop();
  await provider.stop();
  return asked;
}

describe('a verdict whose second has passed', { concurrency: true }, () => {
  for (const store of ['memory', 'lmdb'] as const) {
    const state = (): string => (store === 'memory' ? store : `lmdb:${temporaryFolder()}`);

    it(`is asked for again: a password (${store})`, async () => {
      const asked = await askedBy(state(), 'alice', 'password');
      assert.deepEqual(asked, Array(LOGINS).fill(2));
    });
    it(`is asked for again: a token (${store})`, async () => {
      const asked = await askedBy(state(), 'bob', 'token');
      assert.deepEqual(asked, Array(LOGINS).fill(1));
    });
    it(`is asked for again: a refusal (${store})`, async () => {
      const asked = await askedBy(state(), 'carol', 'wrong');
      assert.deepEqual(asked, Array(LOGINS).fill(1));
    });
  }
});
