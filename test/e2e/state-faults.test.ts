// A shared store that goes away under people who log in: every login is answered in time and rightly, the log says so once,
// and it comes back by itself. Two processes that share it, and one that ends in the middle.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { atExit } from '../support/at-exit.ts';
import { type Bridge, root, startBridge, temporaryFolder } from '../support/bridge.ts';
import {
  type ProviderProcess,
  passwordOf,
  startProviderProcess,
  tokenFor,
} from '../support/provider-process.ts';
import { within } from './support/ejabberd.ts';
import { events, hostOf, keyFile, stranger } from './support/outage.ts';
import { startRedis } from './support/redis.ts';

const deadline = 2000;
/** From the end of input to the end of the process. */
const exitWithin = 500;
/** The longest pause between two tries to open a store after seconds of absence, and the try itself. */
const backWithin = 25_000;
const isRoot = process.geteuid?.() === 0;
const nobody = 65_534;

interface Store {
  readonly settings: Record<string, unknown>;
  /** What starts each process, such as a shell that limits it. */
  readonly through?: readonly string[];
  /** `processes`: who has it open. */
  begin(processes: readonly number[]): unknown;
  end(processes: readonly number[]): unknown;
  /** Milliseconds of the fault. */
  readonly lasts: number;
  /** Whether the processes notice; otherwise they go on with what they have. */
  readonly isNoticed: boolean;
  /** The fault is there before the processes are. */
  readonly first?: boolean;
  stop?(): unknown;
}

/** A private folder that this user can come to. */
function folderOf(uid: number): string {
  const base = mkdtempSync(join(tmpdir(), 'extauth-oauth-faults-'));
  atExit(() => rmSync(base, { recursive: true, force: true }));
  chownSync(base, uid, uid);
  return base;
}

const stores: Record<string, { readonly skip?: string | false; start(): Promise<Store> | Store }> = {
  'an LMDB whose folder is deleted': {
    start() {
      const folder = join(temporaryFolder(), 'state');
      // Who has it open keeps it; that somebody looks for it takes a minute. See the long run below.
      return {
        settings: { state: `lmdb:${folder}` },
        begin: () => rmSync(folder, { recursive: true }),
        end() {},
        lasts: 3000,
        isNoticed: false,
      };
    },
  },
  'an LMDB whose folder cannot be written when the processes start': {
    skip: !isRoot && 'needs root, to start processes as somebody whom modes keep out',
    start() {
      const folder = join(folderOf(nobody), 'state');
      mkdirSync(folder, { mode: 0o500 });
      chownSync(folder, nobody, nobody);
      return {
        settings: { state: `lmdb:${folder}` },
        through: ['setpriv', `--reuid=${nobody}`, `--regid=${nobody}`, '--clear-groups'],
        begin() {},
        end: () => chmodSync(folder, 0o700),
        lasts: 3000,
        isNoticed: true,
        first: true,
      };
    },
  },
  'an LMDB on a disk that is full': {
    start() {
      const folder = join(temporaryFolder(), 'state');
      // For the file to have no room the processes may not make it longer than it is after a few logins.
      return {
        settings: { state: `lmdb:${folder}` },
        begin(processes) {
          for (const pid of processes) limit(pid, String(64 * 1024));
        },
        end(processes) {
          for (const pid of processes) limit(pid, 'unlimited');
        },
        lasts: 6000,
        isNoticed: true,
      };
    },
  },
  'an LMDB whose lock is held by a process that stands still': {
    start() {
      const folder = join(temporaryFolder(), 'state');
      let holder: ReturnType<typeof spawn> | undefined;
      return {
        settings: { state: `lmdb:${folder}` },
        async begin() {
          holder = holdLock(join(folder, 'state.mdb'));
          await new Promise((resolve) => holder?.stdout?.once('data', resolve));
          holder.kill('SIGSTOP');
        },
        end: () => holder?.kill('SIGKILL'),
        lasts: 4000,
        isNoticed: true,
        stop: () => holder?.kill('SIGKILL'),
      };
    },
  },
  'a Redis that is killed': {
    async start() {
      const server = await startRedis();
      return {
        settings: { state: `redis://127.0.0.1:${server.port}`, state_key_file: keyFile() },
        begin: () => server.kill(),
        end: () => server.start(),
        lasts: 3000,
        isNoticed: true,
        stop: () => server.stop(),
      };
    },
  },
  'a Redis that stands still': {
    async start() {
      const server = await startRedis();
      return {
        settings: { state: `redis://127.0.0.1:${server.port}`, state_key_file: keyFile() },
        begin: () => server.signal('SIGSTOP'),
        end: () => server.signal('SIGCONT'),
        lasts: 10_000,
        isNoticed: true,
        stop: () => server.stop(),
      };
    },
  },
};

/** Bytes that a file may have for this process. */
function limit(pid: number, bytes: string): void {
  const { status, stderr } = spawnSync('prlimit', ['--pid', String(pid), `--fsize=${bytes}:`]);
  assert.equal(status, 0, String(stderr));
}

/** Takes the lock of those who write, and says so. */
function holdLock(file: string): ReturnType<typeof spawn> {
  const program = `
    const { open } = require('lmdb');
    const database = open({ path: ${JSON.stringify(file)}, noSubdir: true, encoding: 'string', useVersions: true, maxDbs: 1, overlappingSync: false });
    database.transactionSync(() => {
      require('fs').writeSync(1, 'held');
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
    });
  `;
  return spawn(process.execPath, ['-e', program], { cwd: root, stdio: ['ignore', 'pipe', 'inherit'] });
}

/** Under a name: it has to be looked up, by threads that may wait for a store. */
function byName(settings: Record<string, unknown>): Record<string, unknown> {
  return JSON.parse(JSON.stringify(settings).replaceAll('127.0.0.1', 'localhost')) as Record<string, unknown>;
}

interface Told {
  readonly up: boolean;
  readonly message: string;
}

function told(bridge: Bridge): Told[] {
  return events(bridge, 'state_store') as unknown as Told[];
}

let serial = 0;

/** Logins one after the other, until it is told to stop; the longest of them comes out. */
function keepAsking(bridge: Bridge): () => Promise<{ count: number; longest: number }> {
  let stopped = false;
  const work = (async () => {
    let [count, longest] = [0, 0];
    for (; !stopped; count++) {
      const { request, isRight } = stranger('fault', ++serial);
      const begun = performance.now();
      const answer = await bridge.ask(request, 10_000);
      longest = Math.max(longest, performance.now() - begun);
      assert.equal(answer, isRight ? 1 : 0, `${request}; log: ${bridge.log().slice(-2000)}`);
      await sleep(20);
    }
    return { count, longest };
  })();
  work.catch(() => {});
  return () => {
    stopped = true;
    return work;
  };
}

async function shares(one: Bridge, other: Bridge, provider: ProviderProcess): Promise<boolean> {
  const user = `shared${++serial}`;
  const request = `auth:${user}:example.org:token:${tokenFor(user)}`;
  assert.equal(await one.ask(request), 1);
  await sleep(50);
  const before = provider.seen.length;
  assert.equal(await other.ask(request), 1);
  await sleep(20);
  return provider.seen.length === before;
}

async function ends(bridge: Bridge): Promise<number> {
  const begun = performance.now();
  const { code, signal } = await bridge.stop(5000);
  const took = performance.now() - begun;
  assert.ok(code === 0 || signal === 'SIGKILL', `ended with ${code ?? signal}`);
  return took;
}

describe('logins go on with', { concurrency: 2 }, () => {
  for (const [name, { skip = false, start }] of Object.entries(stores)) {
    if (skip) console.error(`NOT TESTED: ${name}: ${skip}`);
    it(name, { skip }, async (t) => {
      const provider = await startProviderProcess();
      const store = await start();
      const launch = (): Bridge => {
        const base = folderOf(store.through === undefined ? 0 : nobody);
        const give = (file: string, text: string): string => {
          const path = join(base, file);
          writeFileSync(path, text, { mode: 0o600 });
          if (store.through !== undefined) chownSync(path, nobody, nobody);
          return path;
        };
        const config = {
          ...byName(hostOf(provider)),
          client_secret_file: give('secret', 'client-secret'),
          deadline: `${deadline}ms`,
          cache: { password_ttl: '1m' },
          ...store.settings,
        };
        return startBridge({
          config: give('config.json', JSON.stringify(config)),
          cwd: base,
          ...(store.through === undefined ? {} : { through: store.through }),
        });
      };
      const bridges = [launch(), launch(), launch()] as const;
      const [one, other, leaving] = bridges;
      const pids = (): number[] => bridges.map(({ child }) => child.pid as number);
      try {
        for (const bridge of bridges)
          assert.equal(await bridge.ask(`auth:a:example.org:${passwordOf('a')}`), 1);
        if (!store.first) {
          for (const bridge of bridges)
            assert.ok(await within(3000, () => told(bridge).length === 1), 'it is there');
          assert.ok(await shares(one, other, provider), 'shared before');
        }
        const stops = [keepAsking(one), keepAsking(other), keepAsking(leaving)] as const;
        await sleep(500);
        await store.begin(pids());
        await sleep(store.lasts / 2);
        const { longest: last } = await stops[2]();
        const left = await ends(leaving);
        await sleep(store.lasts / 2);
        for (const bridge of [one, other])
          assert.equal(told(bridge).at(-1)?.up, !store.isNoticed, `noticed: ${bridge.log().slice(-500)}`);
        await store.end(pids().slice(0, 2));
        const returned = Date.now();
        const isBack = await within(backWithin, () =>
          [one, other].every((each) => told(each).at(-1)?.up === true),
        );
        const back = Date.now() - returned;
        assert.ok(isBack, 'it comes back by itself');
        await sleep(500);
        const results = [await stops[0](), await stops[1]()];
        assert.ok(await shares(one, other, provider), 'shared again');
        assert.ok(await shares(other, one, provider), 'both ways');
        const longest = Math.max(last, ...results.map((each) => each.longest));
        const exits = [left, await ends(one), await ends(other)];
        t.diagnostic(
          `${results.map(({ count }) => count)} logins, the longest ${longest.toFixed(0)} ms; back after ${back} ms; ` +
            `ends within ${exits.map((ms) => ms.toFixed(0))} ms; ${JSON.stringify(told(one).map(({ up, message }) => [up, message]))}`,
        );
        assert.ok(longest < deadline, 'in time');
        assert.ok(Math.max(...exits) < exitWithin, `ended within ${exits} ms`);
        const expected = store.isNoticed ? (store.first ? [false, true] : [true, false, true]) : [true];
        for (const bridge of [one, other])
          assert.deepEqual(
            told(bridge).map(({ up }) => up),
            expected,
            'one line for each change',
          );
      } finally {
        for (const bridge of bridges) bridge.child.kill('SIGKILL');
        await provider.stop();
        await store.stop?.();
      }
    });
  }
});
