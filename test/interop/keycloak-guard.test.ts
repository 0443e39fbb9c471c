// The guard against a real Keycloak that locks accounts: several processes, as an XMPP server has them, and one user.
import assert from 'node:assert/strict';
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it, type TestContext } from 'node:test';
import { temporaryFolder } from '../support/bridge.ts';
import { type Pool, startPool } from '../support/pool.ts';
import { findKeycloak, type Keycloak, type Realm, startKeycloak, within } from './support/keycloak.ts';
import { clientSecrets, passwords } from './support/keycloak-realm.ts';

const host = 'chat.example';
/** Keycloak's start, with the building of one that nobody has built yet. */
const startTimeout = 150_000;
/** Keycloak counts a failure, and writes an event down, a moment after its answer. */
const afterTheAnswer = 10_000;
const retries = 50;
const rounds = 10;

const home = findKeycloak();
const skip = home === undefined && 'no Keycloak can be had here: no Maven repository answers';
if (skip) console.error(`\n*** SKIPPED: test/interop/keycloak-guard.test.ts: ${skip} ***\n`);

// Without `state`, each process knows only what itself has been told: a wrong password is sent once by each of the pool,
// so that five or more processes lock the account with one old phone, and right passwords through several processes at
// the same moment meet in Keycloak, which refuses all of them but the first.
describe('a Keycloak that locks accounts, and processes that share an LMDB', { skip }, () => {
  let keycloak: Keycloak;
  let realm: Realm;

  before(
    async () => {
      keycloak = await startKeycloak(home ?? '');
      realm = keycloak.otherRealm;
      await realm.admin('PUT', '', { eventsEnabled: true });
      // The first login of a cold Keycloak may take longer than the bridge waits.
      await realm.tokens('bob', 'xmpp');
    },
    { timeout: startTimeout },
  );
  after(() => keycloak?.stop(), { timeout: 20_000 });

  async function open(context: TestContext, size: number): Promise<Pool> {
    const config = {
      issuer: realm.issuer,
      client_id: 'xmpp',
      client_secret_file: secretFile(clientSecrets.xmpp),
      resource_owner_password: true,
      state: `lmdb:${temporaryFolder()}`,
    };
    const pool = await startPool(
      host,
      Array.from({ length: size }, () => config),
    );
    context.after(() => pool.stop());
    return pool;
  }

  /** How many events of the kind there are of the user's name. */
  async function events(type: 'LOGIN' | 'LOGIN_ERROR', user: string): Promise<number> {
    const found = (await realm.admin('GET', `/events?type=${type}&max=1000`)) as Event[];
    return found.filter(({ details }) => details?.username === user).length;
  }

  // Within `negative_ttl`. After it the password is sent, and counted, once more, and then ever more seldom: Keycloak has no
  // memory of which one it was.
  it('see one wrong password however often it comes, and the right one works', async (context) => {
    const pool = await open(context, 4);
    const answers: number[] = [];
    for (let count = 0; count < retries; count++) answers.push(await pool.login('victim', 'Not-of-Victim-1'));
    assert.deepEqual(new Set(answers), new Set([0]));
    assert.equal(
      await pool.login('victim', passwords.victim),
      1,
      pool.bridges.map((each) => each.log()).join(''),
    );
    assert.ok(await within(afterTheAnswer, async () => (await events('LOGIN', 'victim')) > 0));
    assert.equal(await events('LOGIN_ERROR', 'victim'), 1);
  });

  it('count one failure for it', async (context) => {
    const pool = await open(context, 4);
    await Promise.all(Array.from({ length: retries }, () => pool.login('user0', 'Not-of-User0-1')));
    const counted = async (): Promise<boolean> => (await realm.failures('user0')).count > 0;
    assert.ok(await within(afterTheAnswer, counted));
    assert.deepEqual(await realm.failures('user0'), { locked: false, count: 1 });
  });

  it('let the same user in through eight processes at the same moment', async (context) => {
    const pool = await open(context, 8);
    for (let round = 0; round < rounds; round++)
      assert.deepEqual(
        await pool.loginThroughAll('alice', passwords.alice),
        pool.bridges.map(() => 1),
        `round ${round}: ${pool.bridges.map((each) => each.log()).join('')}`,
      );
    assert.deepEqual(await realm.failures('alice'), { locked: false, count: 0 });
  });
});

interface Event {
  readonly details?: { readonly username?: string };
}

/** A file that holds nothing else, and that nobody else may read. */
function secretFile(secret: string): string {
  const file = join(temporaryFolder(), 'secret');
  writeFileSync(file, secret);
  chmodSync(file, 0o600);
  return file;
}
