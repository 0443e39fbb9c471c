// The store of several machines against real servers: one server with a user, a master that Sentinels know, a cluster, and
// TLS. What it does while they are away is in state-redis-faults.test.ts.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { temporaryFolder } from '../support/bridge.ts';
import { stateContract } from '../support/state-contract.ts';
import { freePorts } from './support/ejabberd.ts';
import {
  canary,
  openRedis,
  type RedisServer,
  startCluster,
  startRedis,
  startSentinels,
} from './support/redis.ts';

const run = promisify(execFile);

describe('State in one Redis, with a user who may do no more than it needs', () => {
  stateContract(async () => {
    const server = await startRedis({
      settings: [
        'user default off',
        `user admin on >${canary} ~* &* +@all`,
        `user extauth on >${canary}-2 ~extauth-oauth:* resetchannels -@all +set +get +del +incrby +multi +exec +scan +select`,
      ],
      login: ['--user', 'admin', '--pass', canary],
    });
    const address = `redis://extauth:${canary}-2@127.0.0.1:${server.port}/3`;
    const [state, other] = [await openRedis(address), await openRedis(address)];
    return { state, other, pass: sleep, end: server.stop };
  });
});

describe('State in a Redis with a password for all', () => {
  stateContract(async () => {
    const server = await startRedis({ settings: [`requirepass ${canary}`], login: ['-a', canary] });
    const address = `redis://:${canary}@localhost:${server.port}`;
    const [state, other] = [await openRedis(address), await openRedis(address)];
    return { state, other, pass: sleep, end: server.stop };
  });
});

describe('State in a Redis that Sentinels know', () => {
  stateContract(async () => {
    const group = await startSentinels();
    const [state, other] = [await group.open('/1'), await group.open('/1')];
    return { state, other, pass: sleep, end: group.stop };
  });
});

describe('State in a cluster', () => {
  stateContract(async () => {
    const cluster = await startCluster();
    const [state, other] = [await cluster.open(), await cluster.open()];
    return { state, other, pass: sleep, end: cluster.stop };
  });

  it('follows a slot that moves, and one that is moving', async () => {
    const cluster = await startCluster();
    const state = await cluster.open();
    try {
      const [name, sameSlot] = ['{moving}', '{moving}:count'];
      await state.set(name, 'before', 60_000);
      const slot = await (cluster.nodes[0] as RedisServer).cli('cluster', 'keyslot', `extauth-oauth:${name}`);
      const nodes = await Promise.all(
        cluster.nodes.map(async (server) => ({
          server,
          id: await server.cli('cluster', 'myid'),
          isOwner: (await server.cli('cluster', 'countkeysinslot', slot)) === '1',
        })),
      );
      const [owner, heir] = [nodes.find((each) => each.isOwner), nodes.find((each) => !each.isOwner)];
      assert.ok(owner && heir);
      await heir.server.cli('cluster', 'setslot', slot, 'importing', owner.id);
      await owner.server.cli('cluster', 'setslot', slot, 'migrating', heir.id);
      await owner.server.cli(
        ...['migrate', '127.0.0.1', String(heir.server.port), `extauth-oauth:${name}`, '0', '1000'],
      );
      assert.equal(await state.get(name), 'before', 'ASK');
      assert.equal(await state.putIfAbsent(name, 'after', 60_000), 'before', 'ASK');
      assert.equal(await state.increment(sameSlot, 1, 60_000), 1, 'ASK, for a transaction');
      for (const { server } of [heir, owner]) await server.cli('cluster', 'setslot', slot, 'node', heir.id);
      assert.equal(await state.get(name), 'before', 'MOVED');
      assert.equal(await state.increment(sameSlot, 1, 60_000), 2);
      await state.set(name, 'after', 60_000);
      assert.equal(await state.get(name), 'after');
    } finally {
      await state.close();
      await cluster.stop();
    }
  });
});

describe('State over TLS', () => {
  const folder = temporaryFolder();
  const caFile = join(folder, 'cert.pem');

  async function startTls() {
    await run('openssl', [
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'],
      ...['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'],
      ...['-keyout', join(folder, 'key.pem'), '-out', caFile],
    ]);
    const [port = 0] = await freePorts(1);
    const server = await startRedis({
      port,
      tls: ['--tls', '--cacert', caFile, '--sni', 'localhost'],
      settings: [
        `tls-cert-file ${caFile}`,
        `tls-key-file ${join(folder, 'key.pem')}`,
        'tls-auth-clients no',
        `requirepass ${canary}`,
      ],
      login: ['-a', canary],
    });
    return { port, server, ca: readFileSync(caFile, 'utf8') };
  }

  stateContract(async () => {
    const { port, server, ca } = await startTls();
    const address = `rediss://:${canary}@localhost:${port}?ca_file=${caFile}`;
    const [state, other] = [await openRedis(address, { ca }), await openRedis(address, { ca })];
    return { state, other, pass: sleep, end: server.stop };
  });

  it('trusts no certificate of its own accord, nor one for another name, and speaks nothing but TLS', async () => {
    const { port, server, ca } = await startTls();
    try {
      await assert.rejects(openRedis(`rediss://:${canary}@localhost:${port}`), /SELF_SIGNED/);
      await assert.rejects(openRedis(`rediss://:${canary}@127.0.0.1:${port}`, { ca }), /ALTNAME_INVALID/);
      await assert.rejects(openRedis(`redis://:${canary}@localhost:${port}`), /not connected|ECONNRESET/);
    } finally {
      await server.stop();
    }
  });
});
