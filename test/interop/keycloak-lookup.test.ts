// Who exists, asked of a real Keycloak's admin API as the client that the program has there.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Bridge, startBridge, temporaryFolder } from '../support/bridge.ts';
import {
  findKeycloak,
  type Keycloak,
  type Realm,
  type SecretClient,
  startKeycloak,
} from './support/keycloak.ts';
import { clientSecrets } from './support/keycloak-realm.ts';

const host = 'chat.example';
const startTimeout = 150_000;

const home = findKeycloak();
const skip = home === undefined && 'no Keycloak can be had here: no Maven repository answers';
if (skip) console.error(`\n*** SKIPPED: test/interop/keycloak-lookup.test.ts: ${skip} ***\n`);

describe("a lookup at Keycloak's admin API", { skip }, () => {
  let keycloak: Keycloak;
  let realm: Realm;
  let admin: string;

  before(
    async () => {
      keycloak = await startKeycloak(home ?? '');
      realm = keycloak.realm;
      admin = realm.issuer.replace('/realms/', '/admin/realms/');
      // `xmpp` may look users up; `app` may not.
      await allow('xmpp', 'view-users');
      for (const username of ['Alice2', 'we_ird', 'jörg'])
        await realm.admin('POST', '/users', { username, enabled: true });
      // The first answers of a cold Keycloak may take longer than the bridge waits.
      await realm.admin('GET', '/users?username=warm&exact=true');
      await realm.serviceToken('xmpp');
    },
    { timeout: startTimeout },
  );
  after(() => keycloak?.stop(), { timeout: 20_000 });

  /** Gives the client's service account a role of `realm-management`. */
  async function allow(client: SecretClient, role: string): Promise<void> {
    const idOf = async (clientId: string): Promise<string> => {
      const [found] = (await realm.admin('GET', `/clients?clientId=${clientId}`)) as { id: string }[];
      return found?.id ?? '';
    };
    const management = await idOf('realm-management');
    const account = (await realm.admin('GET', `/clients/${await idOf(client)}/service-account-user`)) as {
      id: string;
    };
    const found = await realm.admin('GET', `/clients/${management}/roles/${role}`);
    await realm.admin('POST', `/users/${account.id}/role-mappings/clients/${management}`, [found]);
  }

  function open(context: TestContext, client: SecretClient, lookup: Record<string, unknown> = {}): Bridge {
    const client_secret_file = join(temporaryFolder(), 'secret');
    writeFileSync(client_secret_file, clientSecrets[client], { mode: 0o600 });
    const bridge = startBridge({
      config: {
        issuer: realm.issuer,
        client_id: client,
        client_secret_file,
        user_exists: 'lookup',
        user_lookup: { type: 'keycloak', url: admin, ...lookup },
        log: { level: 'debug' },
      },
    });
    context.after(async () => {
      const log = bridge.log();
      await bridge.stop();
      assert.ok(!log.includes(clientSecrets[client]), 'the secret in the log');
      assert.ok(!/eyJ[\w-]{20}/.test(log), 'a token in the log');
    });
    return bridge;
  }

  const table: [localpart: string, answer: 0 | 1, title?: string][] = [
    ['alice', 1],
    ['nobody', 0],
    ['dora', 1, 'who is disabled'],
    // Keycloak keeps names in lower case.
    ['alice2', 1, 'who was entered as Alice2'],
    ['ali', 0, 'a prefix'],
    ['lice', 0, 'the end of a name'],
    ['mail\\40corp.example', 1],
    ['mail', 0, 'the beginning of an e-mail address'],
    ['alice\\40corp.example', 0, 'an e-mail address that is not the name'],
    // Keycloak would find it. It is not asked.
    ['service-account-xmpp', 0, "our client's own account"],
    ['jörg', 1],
    ['*', 0],
    ['%', 0],
    ['_lice', 0],
    ['a*', 0],
    ['al%', 0],
    ['we_ird', 1],
    ['weird', 0],
    ['weXird', 0],
    ['\\22alice\\22', 0, 'in the quotes of an exact search'],
    ['alice\\26exact=false', 0],
    ['alice&exact=false', 0],
    ['alice%26exact%3Dfalse', 0],
    ['x\\22\\20or\\20userName\\20pr', 0],
    ['x\\27\\20or\\20\\271\\27=\\271', 0],
    ['..\\2f..', 0],
    ['..', 0],
    ['n'.repeat(1000), 0],
    ['ü'.repeat(500), 0],
    ['\u{1f600}', 0],
  ];

  it('finds who is there and nobody else, with one token', async (context) => {
    const bridge = open(context, 'xmpp');
    const wrong: string[] = [];
    for (const [localpart, answer, title = ''] of table) {
      const got = await bridge.ask(`isuser:${localpart}:${host}`);
      if (got !== answer) wrong.push(`${localpart} ${title}: ${got}`);
    }
    await sleep(150);
    assert.deepEqual(wrong, [], bridge.log());
    const asked = bridge.logLines().filter(({ event }) => event === 'exchange');
    assert.equal(asked.filter(({ url }) => String(url).endsWith('/token')).length, 1);
    assert.equal(asked.filter(({ url }) => url === `${admin}/users`).length, table.length - 1);
    assert.ok(
      asked.every(({ status }) => status === 200),
      JSON.stringify(asked),
    );
  });

  it('takes who is disabled for nobody where that is wanted, and who is enabled not', async (context) => {
    const bridge = open(context, 'xmpp', { active_only: true });
    assert.equal(await bridge.ask(`isuser:dora:${host}`), 0);
    assert.equal(await bridge.ask(`isuser:alice:${host}`), 1);
    assert.equal(await bridge.ask(`isuser:nobody:${host}`), 0);
  });

  it('says yes to everything, and why, for a client without the role', async (context) => {
    const bridge = open(context, 'app');
    assert.equal(await bridge.ask(`isuser:alice:${host}`), 1);
    assert.equal(await bridge.ask(`isuser:nobody:${host}`), 1);
    await sleep(150);
    assert.match(bridge.log(), /does not let us look users up \(403\).*view-users of realm-management/);
  });

  it('needs the role and no more: Keycloak writes it into the next token', async (context) => {
    const bridge = open(context, 'evil');
    assert.equal(await bridge.ask(`isuser:nobody:${host}`), 1);
    await allow('evil', 'view-users');
    const renewed = open(context, 'evil');
    assert.equal(await renewed.ask(`isuser:nobody:${host}`), 0);
  });

  it('gets a new token when that of a brief client has expired', async (context) => {
    await allow('xmpp-brief', 'view-users');
    const bridge = open(context, 'xmpp-brief');
    for (let n = 0; n < 3; n++) {
      assert.equal(await bridge.ask(`isuser:nobody${n}:${host}`), 0);
      await sleep(1200);
    }
    await sleep(150);
    const asked = bridge.logLines().filter(({ event }) => event === 'exchange');
    assert.equal(asked.filter(({ url }) => String(url).endsWith('/token')).length, 3);
  });
});
