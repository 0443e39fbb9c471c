// Clears an LMDB file of what has lived its time, little by little: the file is everybody's, and so is the work.
import { type Database, endOf, type OwnName, pack, unpack } from './entry.ts';
import { STAYING } from './state.ts';

/** How long one turn of the event loop may be held; a turn ends after the first entry that is over it. */
const SLICE_MS = 2;
/** What is removed at once, in one transaction: its pages are copied, and others wait for its end. */
const SLICE_REMOVALS = 200;
/** Between two slices, so that a sweep takes a third of one processor at most. */
const PAUSE_MS = 4;
/** How many ends are kept to tell which are the soonest of all. */
const SAMPLES = 1000;
/** A sweep goes down to this part of the most entries there may be, not to be due again at once. */
const ROOM = 0.9;
/** After all names that begin so: they are ASCII. */
const END = '\x7f';
const KINDS_THAT_STAY = Object.values(STAYING);
const LEASE: OwnName = ' sweep';

export interface SweepOptions {
  readonly database: Database;
  readonly wallClock: () => number;
  /** Of those that end. */
  readonly maxEntries: number;
  /** One process does it for all: what it says when it begins keeps the others from it so long. */
  readonly every: number;
  readonly closing: AbortSignal;
}

/** Whether it was our turn. */
export async function sweep({
  database,
  wallClock,
  maxEntries,
  every,
  closing,
}: SweepOptions): Promise<boolean> {
  database.resetReadTxn();
  const lease = database.getEntry(LEASE);
  database.resetReadTxn();
  if (unpack(lease?.value, wallClock()) !== undefined) return false;
  const ours = pack(String(process.pid), every * 0.9, wallClock());
  if (!(await database.put(LEASE, ours, Math.random(), lease?.version ?? null))) return false;
  const ends = await pass(database, wallClock(), closing);
  if (ends.transient > maxEntries) {
    const excess = 1 - (maxEntries * ROOM) / ends.transient;
    const samples = ends.samples.sort((one, other) => one - other);
    const last = samples[Math.min(Math.floor(excess * samples.length), samples.length - 1)];
    if (last !== undefined) await pass(database, last, closing);
  }
  return true;
}

interface Ends {
  transient: number;
  readonly samples: number[];
}

/** Removes all that ends by `until`, and tells of the others when some of them end. */
async function pass(database: Database, until: number, closing: AbortSignal): Promise<Ends> {
  const ends: Ends = { transient: 0, samples: [] };
  for (let last: string | undefined = ''; last !== undefined && !closing.aborted; ) {
    const slice = cut(database, last, until, ends);
    last = slice.last;
    // Only as it was seen: what somebody has set again meanwhile stays.
    await Promise.all(slice.ended.map(({ name, version }) => database.remove(name, version)));
    await new Promise<void>((resolve) => {
      setTimeout(resolve, PAUSE_MS).unref();
    });
  }
  return ends;
}

interface Slice {
  readonly ended: { readonly name: string; readonly version: number }[];
  /** Where the next one begins, if there is one. */
  readonly last: string | undefined;
}

function cut(database: Database, after: string, until: number, ends: Ends): Slice {
  const stop = performance.now() + SLICE_MS;
  const ended: { name: string; version: number }[] = [];
  const range = after === '' ? {} : { start: after, exclusiveStart: true };
  try {
    database.resetReadTxn();
    for (const { key, value, version } of database.getRange({ ...range, versions: true })) {
      const kind = KINDS_THAT_STAY.find((each) => key.startsWith(each));
      if (kind !== undefined) return { ended, last: kind + END };
      const end = endOf(value);
      // NaN, of what we have not written, is not later than anything.
      if (!(end > until)) ended.push({ name: key, version });
      else if (end !== Number.POSITIVE_INFINITY) sample(ends, end);
      if (ended.length === SLICE_REMOVALS || performance.now() > stop) return { ended, last: key };
    }
    return { ended, last: undefined };
  } finally {
    database.resetReadTxn();
  }
}

/** Each end has the same chance to be among the samples. */
function sample(ends: Ends, end: number): void {
  ends.transient++;
  if (ends.samples.length < SAMPLES) ends.samples.push(end);
  else {
    const place = Math.floor(Math.random() * ends.transient);
    if (place < SAMPLES) ends.samples[place] = end;
  }
}
