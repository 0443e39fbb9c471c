// What is taken back at a real provider is taken back here, in every process that shares the state, and no later than was
// configured.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Bridge, startBridge, temporaryFolder } from '../support/bridge.ts';
import { startProvider, type TestProvider } from '../support/provider.ts';
import { secretFile } from './support/outage.ts';

/** Milliseconds: `cache.token_ttl` and `cache.password_ttl`. */
const ttl = 2000;
/** For the login itself. */
const leeway = 150;

const users = {
  alice: 'alice-Wonder-4711',
  bob: 'bob-Builds-0815',
  carol: 'carol-Colon-1234',
  dave: 'dave-Dives-5678',
  erin: 'erin-Runs-9012',
};
let provider: TestProvider;

before(async () => {
  provider = await startProvider({ users });
});
after(() => provider.stop());

function start(folder: string, cache: Record<string, unknown>): Bridge {
  return startBridge({
    config: {
      issuer: provider.issuer,
      introspection_endpoint: provider.endpoints.introspection,
      client_id: provider.clientId,
      client_secret_file: secretFile(provider.clientSecret),
      resource_owner_password: true,
      scope: 'openid profile',
      token_prefix: 'token:',
      state: `lmdb:${folder}`,
      cache,
    },
  });
}

async function two<Value>(
  cache: Record<string, unknown>,
  work: (ask: (which: 0 | 1, user: string, secret: string) => Promise<number>) => Promise<Value>,
): Promise<Value> {
  const folder = join(temporaryFolder(), 'state');
  const bridges = [start(folder, cache), start(folder, cache)] as const;
  try {
    return await work((which, user, secret) => bridges[which].ask(`auth:${user}:example.org:${secret}`));
  } finally {
    const exits = await Promise.all(bridges.map((bridge) => bridge.stop()));
    assert.deepEqual(
      exits.map(({ code }) => code),
      [0, 0],
    );
  }
}

const asked = (): number => provider.requests.length;

describe('of two processes that share an LMDB', { concurrency: false }, () => {
  const cache = { token_ttl: `${ttl}ms`, password_ttl: `${ttl}ms` };

  it('both refuse a token within token_ttl of its revocation, and ask once for both before', async () => {
    await two(cache, async (ask) => {
      const token = await provider.token('alice');
      const secret = `token:${token}`;
      assert.equal(await ask(0, 'alice', secret), 1);
      assert.equal(await ask(1, 'alice', `token:${await provider.token('alice')}`), 1, 'awake');
      await sleep(50);
      const before = asked();
      assert.equal(await ask(1, 'alice', secret), 1, 'the other one knows');
      assert.equal(await ask(0, 'alice', secret), 1);
      assert.equal(asked(), before, 'without asking');
      await provider.revoke(token);
      const revoked = Date.now();
      while (Date.now() < revoked + ttl + leeway) {
        await sleep(50);
        const sent = Date.now();
        const [one, other] = [await ask(0, 'alice', secret), await ask(1, 'alice', secret)];
        if (sent >= revoked + ttl) assert.deepEqual([one, other], [0, 0], `${sent - revoked} ms later`);
      }
      assert.deepEqual([await ask(0, 'alice', secret), await ask(1, 'alice', secret)], [0, 0]);
    });
  });

  it('both refuse a token at its end, whatever token_ttl says', async () => {
    await two({ token_ttl: '60s', unavailable_grace: '10m' }, async (ask) => {
      const secret = `token:${await provider.token('bob', { ttl: 2 })}`;
      // The end is stated in whole seconds from now, rounded down.
      const end = Date.now() + 2000;
      assert.equal(await ask(0, 'bob', secret), 1);
      assert.equal(await ask(1, 'bob', secret), 1);
      while (Date.now() < end) await sleep(20);
      assert.deepEqual([await ask(0, 'bob', secret), await ask(1, 'bob', secret)], [0, 0]);
    });
  });

  it('a new password works at once, and the old one no longer than password_ttl', async () => {
    await two(cache, async (ask) => {
      const fresh = 'carol-Changed-42';
      assert.equal(await ask(0, 'carol', users.carol), 1);
      assert.equal(await ask(1, 'carol', users.carol), 1);
      (provider.users.carol as { password: string }).password = fresh;
      const changed = Date.now();
      assert.deepEqual([await ask(0, 'carol', fresh), await ask(1, 'carol', fresh)], [1, 1], 'at once');
      assert.equal(await ask(0, 'carol', users.carol), 1, 'still remembered');
      await sleep(changed + ttl - Date.now());
      assert.deepEqual([await ask(0, 'carol', users.carol), await ask(1, 'carol', users.carol)], [0, 0]);
      assert.deepEqual([await ask(0, 'carol', fresh), await ask(1, 'carol', fresh)], [1, 1]);
    });
  });

  it('without password_ttl every login with a password asks', async () => {
    await two({ token_ttl: `${ttl}ms` }, async (ask) => {
      const grants = () => provider.requests.filter(({ path }) => path === '/token').length;
      let before = grants();
      for (let n = 0; n < 3; n++) {
        assert.equal(await ask(0, 'dave', users.dave), 1);
        assert.equal(await ask(1, 'dave', users.dave), 1);
      }
      assert.equal(grants() - before, 6);
      (provider.users.dave as { password: string }).password = 'dave-Changed-42';
      before = grants();
      assert.deepEqual([await ask(0, 'dave', users.dave), await ask(1, 'dave', users.dave)], [0, 0]);
      assert.equal(grants() - before, 1, 'a refusal is known to both');
      assert.deepEqual(
        [await ask(0, 'dave', 'dave-Changed-42'), await ask(1, 'dave', 'dave-Changed-42')],
        [1, 1],
      );
    });
  });

  it('a user who is disabled is out, and in again within negative_ttl of being enabled', async () => {
    await two({ ...cache, negative_ttl: '1s' }, async (ask) => {
      const erin = provider.users.erin as { disabled?: boolean };
      erin.disabled = true;
      assert.deepEqual([await ask(0, 'erin', users.erin), await ask(1, 'erin', users.erin)], [0, 0]);
      erin.disabled = false;
      await sleep(1100);
      assert.deepEqual([await ask(0, 'erin', users.erin), await ask(1, 'erin', users.erin)], [1, 1]);
    });
  });
});
