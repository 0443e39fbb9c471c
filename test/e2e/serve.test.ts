// The same road with one daemon in the place of a bridge per worker: ejabberd starts socat or nc, which only carry bytes.
import assert from 'node:assert/strict';
import { chmodSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Bridge, root, startBridge, temporaryFolder } from '../support/bridge.ts';
import { type Daemon, type DaemonConfig, startDaemon } from '../support/daemon.ts';
import { startProvider, type TestProvider } from '../support/provider.ts';
import { alive, commandLine, type Ejabberd, startEjabberd, within } from './support/ejabberd.ts';
import { attempt } from './support/xmpp.ts';

const hostA = 'a.example';
const hostB = 'b.example';
const pool = 64;
/** How long the daemon stays away after a crash: long against a restart by systemd, short against ejabberd's 30 s. */
const absence = 5000;
/** Between two logins of one client. */
const pause = 150;
/** MiB, for 64 workers and the daemon. */
const memoryBudget = 250;

/** What examples/ejabberd.yml recommends, word for word. */
const recipes = { socat: recipe('socat'), nc: recipe('nc') };
/** Both give up after about 20 s on a daemon that is not there, and only then see that ejabberd has ended. */
const orphansGone = 28_000;

const socket = join(temporaryFolder(), 'extauth.sock');
const users = {
  alice: { password: 'alice-Wonder-4711' },
  bob: { password: 'bob-Builds-0815' },
};
const aliceAtB = 'alice-Elsewhere-1234';

let providerA: TestProvider;
let providerB: TestProvider;
let daemon: Daemon;
let ejabberd: Ejabberd;
let config: DaemonConfig;
/** Tokens that live as long as these tests. */
let tokens: { alice: string; bob: string; aliceAtB: string };

before(async () => {
  providerA = await startProvider({ users });
  providerB = await startProvider({ users: { alice: aliceAtB } });
  config = {
    hosts: { [hostA]: hostSettings(providerA), [hostB]: hostSettings(providerB) },
    listen: [{ path: socket, protocol: 'extauth', mode: '0660' }],
  };
  tokens = {
    alice: `token:${await providerA.token('alice')}`,
    bob: `token:${await providerA.token('bob')}`,
    aliceAtB: `token:${await providerB.token('alice')}`,
  };
  daemon = await startDaemon({ config });
  ejabberd = await startEjabberd({ hosts: [hostA, hostB], program: command(recipes.socat), pool });
});

after(async () => {
  await ejabberd?.stop();
  await daemon?.stop();
  await providerA?.stop();
  await providerB?.stop();
});

function recipe(program: string): string {
  const example = readFileSync(join(root, 'examples/ejabberd.yml'), 'utf8');
  const lines = [...example.matchAll(/^# extauth_program: "(.*)"$/gm)].map(([, line = '']) => line);
  const [found, ...more] = lines.filter((line) => line.includes(`exec ${program} `));
  assert.ok(found !== undefined && more.length === 0, `examples/ejabberd.yml has one recipe for ${program}`);
  return found.replaceAll('/run/extauth-oauth/extauth.sock', 'SOCKET');
}

function hostSettings({ issuer, clientId, clientSecret }: TestProvider): Record<string, unknown> {
  const file = join(temporaryFolder(), 'secret');
  writeFileSync(file, clientSecret);
  chmodSync(file, 0o600);
  return {
    issuer,
    client_id: clientId,
    client_secret_file: file,
    resource_owner_password: true,
    scope: 'openid profile',
    credential: 'auto',
    token_prefix: 'token:',
  };
}

function command(recipe: string): string {
  return recipe.replaceAll('SOCKET', socket);
}

function logInAt(domain: string, username: string, password: string, server = ejabberd): Promise<string> {
  // A login may wait for a daemon that is away as long as ejabberd does.
  return attempt({ port: server.port, domain, username, password, timeout: 35_000 });
}

test('users log in with password and token', async () => {
  assert.equal(await logInAt(hostA, 'alice', users.alice.password), 'ok');
  assert.equal(await logInAt(hostA, 'alice', tokens.alice), 'ok');
  assert.equal(await logInAt(hostA, 'bob', tokens.bob), 'ok');
});

test("wrong passwords, unknown users and others' tokens are refused", async () => {
  assert.equal(await logInAt(hostA, 'alice', users.bob.password), 'not-authorized');
  assert.equal(await logInAt(hostA, 'nobody', users.alice.password), 'not-authorized');
  assert.equal(await logInAt(hostA, 'alice', tokens.bob), 'not-authorized');
});

test('two virtual hosts share the socket, and each asks its own provider', async () => {
  assert.equal(await logInAt(hostB, 'alice', aliceAtB), 'ok');
  assert.equal(await logInAt(hostB, 'alice', tokens.aliceAtB), 'ok');
  assert.equal(await logInAt(hostB, 'alice', users.alice.password), 'not-authorized');
  assert.equal(await logInAt(hostB, 'alice', tokens.alice), 'not-authorized');
  assert.equal(await logInAt(hostA, 'alice', aliceAtB), 'not-authorized');
});

test('of 200 logins at once exactly the wrong ones are refused', async () => {
  const wrong = (index: number) => index % 10 === 9;
  const results = await Promise.all(
    Array.from({ length: 200 }, (_, index) => {
      const [user, other] = index % 2 === 0 ? (['alice', 'bob'] as const) : (['bob', 'alice'] as const);
      return logInAt(hostA, user, users[wrong(index) ? other : user].password);
    }),
  );
  assert.deepEqual(
    results,
    Array.from({ length: 200 }, (_, index) => (wrong(index) ? 'not-authorized' : 'ok')),
  );
});

test(`${pool} workers and the daemon take less than ${memoryBudget} MiB`, async (t) => {
  const workers = ejabberd.workers();
  assert.equal(workers.length, 2 * pool);
  const [carriers, served] = [memory(workers.slice(0, pool)), memory([daemon.pid])];
  t.diagnostic(`${pool} socat and the daemon: ${carriers} + ${served} = ${carriers + served} MiB (PSS)`);
  t.diagnostic(`${pool} bridges: ${await memoryOfBridges()} MiB (PSS)`);
  assert.ok(carriers + served < memoryBudget, `${carriers} + ${served} MiB`);
});

test('a login during which SIGTERM arrives is still answered', async (t) => {
  providerA.setLatency(300);
  t.after(() => providerA.setLatency(0));
  const asked = providerA.requests.length;
  const [right, wrong] = [
    logInAt(hostA, 'alice', users.alice.password),
    logInAt(hostA, 'alice', users.bob.password),
  ];
  assert.ok(await within(5000, () => providerA.requests.length >= asked + 2), 'the provider was asked');
  const { code, signal } = await daemon.stop();
  assert.deepEqual({ code, signal }, { code: 0, signal: null });
  assert.equal(await right, 'ok');
  assert.equal(await wrong, 'not-authorized');
  daemon = await startDaemon({ config });
  assert.equal(await logInAt(hostA, 'alice', users.alice.password), 'ok');
});

test('a daemon that was killed and comes back is used again, and nobody gets in meanwhile', async (t) => {
  await surviveCrash(ejabberd, t);
});

test('ejabberdctl stop leaves no socat behind', async () => {
  await stopAndExpectNobody(ejabberd, 3000);
});

test('nc in the place of socat: the same', async (t) => {
  const server = await startEjabberd({ hosts: [hostA, hostB], program: command(recipes.nc), pool });
  t.after(() => server.stop());
  assert.equal(await logInAt(hostA, 'alice', users.alice.password, server), 'ok');
  assert.equal(await logInAt(hostA, 'alice', tokens.bob, server), 'not-authorized');
  assert.equal(await logInAt(hostB, 'alice', tokens.aliceAtB, server), 'ok');
  t.diagnostic(`${pool} nc: ${memory(server.workers().slice(0, pool))} MiB (PSS)`);
  await surviveCrash(server, t);
  await stopAndExpectNobody(server, 3000);
});

test('ejabberdctl stop while the daemon is away leaves no worker behind for long', async (t) => {
  const servers = await Promise.all(
    Object.values(recipes).map((recipe) =>
      startEjabberd({ hosts: [hostA], program: command(recipe), pool: 8 }),
    ),
  );
  t.after(() => Promise.all(servers.map((server) => server.stop())));
  await daemon.kill();
  // Until those that were connected have ended, and those after them wait for the daemon.
  await sleep(3000);
  await Promise.all(servers.map((server) => stopAndExpectNobody(server, orphansGone)));
  daemon = await startDaemon({ config });
});

/**
 * Kills the daemon while right and wrong logins go on, starts it again after a while, and expects that the right ones
 * work again, that no wrong one ever did, and that ejabberd has all its workers.
 */
async function surviveCrash(server: Ejabberd, t: { diagnostic(message: string): void }): Promise<void> {
  const seen: Seen[] = [];
  let going = true;
  const clients = (
    [
      [true, hostA, 'alice', users.alice.password],
      [true, hostA, 'bob', tokens.bob],
      [true, hostB, 'alice', tokens.aliceAtB],
      [false, hostA, 'alice', users.bob.password],
      [false, hostA, 'alice', tokens.bob],
      [false, hostB, 'alice', tokens.alice],
    ] as const
  ).map(async ([right, domain, user, password]) => {
    while (going) {
      const start = performance.now();
      const result = await logInAt(domain, user, password, server);
      seen.push({ right, start, end: performance.now(), result });
      await sleep(pause);
    }
  });
  await sleep(1000);
  const killed = performance.now();
  await daemon.kill();
  await sleep(absence);
  daemon = await startDaemon({ config });
  const back = performance.now();
  const recovered = await within(15_000, async () => {
    const results = await Promise.all([
      logInAt(hostA, 'alice', users.alice.password, server),
      logInAt(hostB, 'alice', tokens.aliceAtB, server),
    ]);
    return results.every((result) => result === 'ok');
  });
  const usedAgain = performance.now();
  await sleep(1500);
  going = false;
  await Promise.all(clients);

  const wrong = seen.filter(({ right }) => !right);
  const right = seen.filter(({ right }) => right);
  const refused = right.filter(({ result }) => result !== 'ok');
  t.diagnostic(
    `away for ${seconds(back - killed)}, used again ${seconds(usedAgain - back)} later; ` +
      `${refused.length} of ${right.length} right logins were refused, the slowest took ` +
      `${seconds(Math.max(...right.map(({ start, end }) => end - start)))}; ${wrong.length} wrong ones`,
  );
  assert.ok(recovered, `external auth is not alive; log:\n${server.log().slice(-4000)}`);
  assert.deepEqual(
    wrong.filter(({ result }) => result === 'ok'),
    [],
    'a wrong login was accepted',
  );
  assert.ok(wrong.length > clients.length, `only ${wrong.length} wrong logins`);
  assert.deepEqual(
    right.filter(({ start, result }) => start > usedAgain && result !== 'ok'),
    [],
    'every login after that works',
  );
  assert.ok(await within(5000, () => server.workers().length === 2 * pool), 'the pools are full again');
  assert.ok(!server.log().includes('reached_max_restart_intensity'), 'no supervisor has given up');
}

interface Seen {
  readonly right: boolean;
  readonly start: number;
  readonly end: number;
  readonly result: string;
}

async function stopAndExpectNobody(server: Ejabberd, patience: number): Promise<void> {
  const workers = server.workers();
  assert.ok(workers.length > 0);
  await server.stop();
  const left = () => [...workers.filter(alive), ...processesAt(socket)];
  assert.ok(await within(patience, () => left().length === 0), `still there: ${left()}`);
}

/** The processes that have the socket's path among their arguments. */
function processesAt(path: string): number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => pid > 0 && alive(pid) && commandLine(pid).includes(path));
}

async function memoryOfBridges(): Promise<number> {
  const { listen: _, ...stdio } = config;
  const bridges: Bridge[] = [];
  try {
    for (let index = 0; index < pool; index += 1) {
      const bridge = startBridge({ config: stdio });
      bridges.push(bridge);
      assert.equal(await bridge.ask(`auth:alice:${hostA}:${users.alice.password}`), 1);
    }
    return memory(bridges.map(({ child }) => child.pid ?? 0));
  } finally {
    await Promise.all(bridges.map((bridge) => bridge.stop()));
  }
}

/** MiB; what processes share is counted once (PSS, proc_pid_smaps_rollup(5)). */
function memory(pids: readonly number[]): number {
  const kilobytes = pids.map((pid) =>
    Number(/^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1]),
  );
  return Math.round(kilobytes.reduce((sum, each) => sum + each, 0) / 1024);
}

function seconds(milliseconds: number): string {
  return `${(milliseconds / 1000).toFixed(1)} s`;
}
