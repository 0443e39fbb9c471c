// What workers, and machines, know together: small texts by name, each with a lifetime. The stores behind it are memory,
// LMDB for the workers of one machine, Redis or Valkey for several machines.

/** At once where nothing has to be waited for. */
export type Soon<Value> = Value | Promise<Value>;

/**
 * Lifetimes are milliseconds from now; `Infinity` for what stays. Names are ASCII of at most 400 characters without spaces,
 * values text that `fits`. Every operation may throw or reject with whatever the store's library says: only
 * `shared.ts` uses a store that can fail.
 */
export interface State {
  /** The HMAC key that all who share the state have in common: no name in it says what it was made of. */
  readonly key: Buffer;
  /** Certainly: who looks for nothing needs no name for it. */
  readonly isEmpty?: boolean;
  /** The store that is behind it does not answer now: what is not found may be there all the same. */
  readonly isAway?: boolean;
  /** How often it did not answer so far. */
  readonly failures?: number;
  get(name: string): Soon<string | undefined>;
  /** The same, of a store that can be read without waiting. There is none elsewhere. */
  readonly peek?: ((name: string) => string | undefined) | undefined;
  set(name: string, value: string, lifetime: number): Soon<void>;
  /** What was there already, or `undefined` when it is ours that is there now. */
  putIfAbsent(name: string, value: string, lifetime: number): Soon<string | undefined>;
  /** Adds to a number that begins with 0, and lives as long as was said when it began. What comes out. */
  increment(name: string, by: number, lifetime: number): Soon<number>;
  delete(name: string): Soon<void>;
  /** Lets go of what this process has in memory of what lies in a store that is there. */
  readonly unlearn?: () => void;
  /** All whose names begin with `prefix`, in no order. For people, not for logins: it may look at everything there is. */
  list(prefix: string): Soon<ReadonlyMap<string, string>>;
  /** Whether the store is there; throws or rejects where it is not. */
  ping(): Soon<void>;
  /** What was written before is kept, as far as the store keeps anything. Rejects when that takes too long. */
  close(): Soon<void>;
}

/** What names begin with of which there may be millions, and all of which stay: who tidies up need not look at them. */
export const STAYING = { record: 'user:', pin: 'pin:' } as const;

/**
 * With its name it is in one page of an LMDB, beside another (me_nodemax is 2,038 bytes). What is longer has pages of its own,
 * with which lmdb-js 3.5.6 has lost what others had written when a process was killed.
 */
const MAX_VALUE = 1500;

/** Whether a value can be kept in any store. */
export function fits(value: string): boolean {
  return Buffer.byteLength(value) <= MAX_VALUE;
}
