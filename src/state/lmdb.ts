// State of all workers of one machine: an LMDB file that each of them maps into its memory. Reads are of that memory and
// wait for nobody; writes are done, many at a time, on a thread of libuv's pool that may have to wait for other processes.
//
// lmdb-js can also run our code inside a write transaction. That is not used: the lock would then be held for as long as
// an event loop takes, or for ever when its process is stopped. A conditional write (put, if the version is still this)
// needs no code under the lock.
//
// It is held at 2.9.4: from 3.0 to 3.5.6 a write that fails (on a full disk) writes its message over the end of a buffer
// of 100 bytes (mdb.c, last_error), which ends the process.
import { chmodSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { type Database, type OwnName, pack, repack, unpack } from './entry.ts';
import { claimFolder, friendly, identity, removeOrphanedLock } from './folder.ts';
import { keyBeside } from './key-file.ts';
import { fits, type State } from './state.ts';
import { sweep } from './sweep.ts';
import { createWrites, explain, within } from './writes.ts';

export interface LmdbOptions {
  readonly folder: string;
  /** Milliseconds since 1970, as all processes have them: ends are written down in it. */
  readonly wallClock?: () => number;
  /** Of those that end: the soonest to end make room. With 250 bytes of value each, a million take 480 MB of disk. */
  readonly maxEntries?: number;
  /** Milliseconds between two looks for what has ended, for dead readers, and at whether the file is still there. */
  readonly sweepEvery?: number;
  /** Milliseconds a write may wait for its turn; it may still be done after it was given up. */
  readonly writeWithin?: number;
}

/**
 * `get` and `list` are at once. `close` rejects when writes still wait for the lock after 100 ms, as they do for as long as
 * a process that has it is stopped: then neither the end of the event loop nor process.exit() ends this process, which
 * both wait for libuv's threads, and SIGKILL does. Nothing is lost by that but those writes.
 */
export interface LmdbState extends State {
  get(name: string): string | undefined;
  list(prefix: string): ReadonlyMap<string, string>;
}

/** Address space, not memory or disk: the file grows as it is used, and lmdb-js maps more if this were not enough. */
const MAP_BYTES = 2 ** 30;
/** A process has one, or two; the table is made by who opens first and has 64 bytes for each. */
const MAX_READERS = 2048;
/** Every attempt that fails is one of another process that has succeeded. */
const MAX_ATTEMPTS = 1000;
/** What close() waits for writes that wait for others. */
const CLOSE_WITHIN_MS = 100;
/** Of a ping: more pages than a file has free by chance when the disk is full. */
const PINGS: readonly OwnName[] = Array.from({ length: 16 }, (_, n) => ` ping${n}` as const);
const PING_TEXT = ' '.repeat(1400);

export async function openLmdbState({
  folder,
  wallClock = Date.now,
  maxEntries = 1_000_000,
  sweepEvery = 60_000,
  writeWithin = 5_000,
}: LmdbOptions): Promise<LmdbState> {
  claimFolder(folder);
  const key = keyBeside(folder);
  const file = join(folder, 'state.mdb');
  const database = await openDatabase(folder, file);
  const opened = identity(file);
  const closing = new AbortController();
  /** Why nothing can be done any more. */
  let over: Error | undefined;
  const writes = createWrites({ file, writeWithin });

  function checkFile(): void {
    if (over !== undefined) throw over;
    if (identity(file) === opened) return;
    over = new Error(`state: ${file} was deleted or replaced while it was open`);
    throw over;
  }

  /** The snapshot is let go at once: kept till the next turn, it would be old, or keep pages from being used again. */
  function read<Value>(look: () => Value): Value {
    if (over !== undefined) throw over;
    try {
      return look();
    } finally {
      database.resetReadTxn();
    }
  }

  async function write(start: () => Promise<boolean>): Promise<boolean> {
    if (over !== undefined) throw over;
    return writes.write(start);
  }

  /** Writes what `next` makes of what is there, however often somebody else is faster. */
  async function change(name: string, next: (text: string | undefined) => string | undefined): Promise<void> {
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      const entry = read(() => database.getEntry(name));
      const text = next(entry?.value);
      if (text === undefined) return;
      if (await write(() => database.put(name, text, Math.random(), entry?.version ?? null))) return;
    }
    throw new Error(`state: others have changed an entry of ${file} ${MAX_ATTEMPTS} times`);
  }

  const look = (name: string): string | undefined => read(() => unpack(database.get(name), wallClock()));

  let sweeping = false;
  function tick(): void {
    schedule();
    try {
      checkFile();
      database.readerCheck();
    } catch {
      // Whoever uses the state next is told.
    }
    if (sweeping || over !== undefined) return;
    sweeping = true;
    const swept = sweep({ database, wallClock, maxEntries, every: sweepEvery, closing: closing.signal });
    const ended = () => {
      sweeping = false;
    };
    // What cannot be removed now is there at the next.
    writes.track(swept.catch(explain).then(ended, ended));
  }
  let timer: NodeJS.Timeout;
  function schedule(): void {
    // Some sooner and some later, for not all of those that were started together to be there at once.
    timer = setTimeout(tick, sweepEvery * (0.75 + Math.random() / 2)).unref();
  }
  schedule();

  return {
    key,
    get: look,
    peek: look,
    async set(name, value, lifetime) {
      if (!fits(value)) throw new Error('state: the value is too long');
      await write(() => database.put(name, pack(value, lifetime, wallClock()), Math.random()));
    },
    putIfAbsent: (name, value, lifetime) =>
      writes.inTurn(name, async () => {
        let found: string | undefined;
        await change(name, (text) => {
          found = unpack(text, wallClock());
          return found === undefined ? pack(value, lifetime, wallClock()) : undefined;
        });
        return found;
      }),
    increment: (name, by, lifetime) =>
      writes.inTurn(name, async () => {
        let sum = 0;
        await change(name, (text) => {
          const found = unpack(text, wallClock());
          sum = Number(found ?? 0) + by;
          return text === undefined || found === undefined
            ? pack(String(sum), lifetime, wallClock())
            : repack(text, String(sum));
        });
        return sum;
      }),
    async delete(name) {
      await write(() => database.remove(name));
    },
    list: (prefix) =>
      read(() => {
        const found = new Map<string, string>();
        const now = wallClock();
        for (const { key: name, value: text } of database.getRange(prefix === '' ? {} : { start: prefix })) {
          if (!name.startsWith(prefix)) {
            // Our own come first of all.
            if (name > prefix) break;
            continue;
          }
          const value = name.startsWith(' ') ? undefined : unpack(text, now);
          if (value !== undefined) found.set(name, value);
        }
        return found;
      }),
    async ping() {
      checkFile();
      const text = pack(PING_TEXT, 0, wallClock());
      await Promise.all(PINGS.map((name) => write(() => database.put(name, text, Math.random()))));
      checkFile();
    },
    async close() {
      if (closing.signal.aborted) return;
      clearTimeout(timer);
      closing.abort();
      // Not sooner: the thread of a write would come back to a file that is not mapped any more.
      const idle = writes.settled().then(() => database.close());
      over ??= new Error('state: it was closed');
      await within(idle, CLOSE_WITHIN_MS, `state: writes to ${file} still wait for another process`);
    },
  };
}

async function openDatabase(folder: string, file: string): Promise<Database> {
  const { openAsClass } = await import('lmdb').catch((error) => {
    throw new Error('state: the package lmdb, which is optional, cannot be loaded: npm install lmdb', {
      cause: error,
    });
  });
  try {
    removeOrphanedLock(file);
    const Store = openAsClass({
      path: file,
      noSubdir: true,
      mapSize: MAP_BYTES,
      maxReaders: MAX_READERS,
      maxDbs: 1,
      // On, what is committed is not on the disk yet, and the process does not end while another holds the lock of those
      // who write it there. Off, it is LMDB's own way: a commit is on the disk before others see it.
      overlappingSync: false,
      eventTurnBatching: false,
      ...{ permissionsMode: 0o600 },
    }) as unknown as new (
      name: null,
      options: object,
    ) => Database;
    // lmdb-js opens even the main database in a write transaction, here and now: that would wait for whoever has the lock.
    const Unlocked = class extends (Store as unknown as new (
      name: null,
      options: object,
    ) => Database & { transactionSync(work: () => void): void }) {
      override transactionSync(work: () => void): void {
        this.resetReadTxn();
        this.ensureReadTxn();
        work();
      }
    };
    const database = new Unlocked(null, {
      encoding: 'string',
      useVersions: true,
      create: false,
      // Without it, close() closes nothing.
      isRoot: true,
    });
    for (const each of [file, `${file}-lock`])
      if ((statSync(each).mode & 0o077) !== 0) chmodSync(each, 0o600);
    return database;
  } catch (error) {
    throw friendly(folder, error);
  }
}
