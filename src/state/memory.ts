// State in this process alone: the default, and what takes over while a shared store is away.
import { LRUCache } from 'lru-cache';
import type { State } from './state.ts';

interface Entry {
  readonly value: string;
  /** On the clock of `now`. */
  readonly until: number;
}

export interface MemoryState extends State {
  get(name: string): string | undefined;
  set(name: string, value: string, lifetime: number): void;
  putIfAbsent(name: string, value: string, lifetime: number): string | undefined;
  increment(name: string, by: number, lifetime: number): number;
  delete(name: string): void;
  list(prefix: string): ReadonlyMap<string, string>;
  clear(): void;
}

export interface MemoryOptions {
  /** Milliseconds of a monotonic clock. */
  readonly now: () => number;
  /** What was used longest ago makes room. */
  readonly maxEntries: number;
  /** Random by default: nobody shares this state. */
  readonly key?: Buffer;
}

export function createMemoryState({ now, maxEntries, key: given }: MemoryOptions): MemoryState {
  let key = given;
  // Not by `max`: lru-cache would make room for all of them at once, which takes milliseconds.
  const entries = new LRUCache<string, Entry>({ maxSize: maxEntries, sizeCalculation: () => 1 });

  function find(name: string): Entry | undefined {
    const entry = entries.get(name);
    return entry === undefined || now() < entry.until ? entry : undefined;
  }

  return {
    get key() {
      // Not before it is needed: see createOwnDigest.
      key ??= process.getBuiltinModule('node:crypto').randomBytes(32);
      return key;
    },
    get isEmpty() {
      return entries.size === 0;
    },
    get: (name) => find(name)?.value,
    set(name, value, lifetime) {
      entries.set(name, { value, until: now() + lifetime });
    },
    putIfAbsent(name, value, lifetime) {
      const found = find(name);
      if (found === undefined) entries.set(name, { value, until: now() + lifetime });
      return found?.value;
    },
    increment(name, by, lifetime) {
      const found = find(name);
      const sum = Number(found?.value ?? 0) + by;
      entries.set(name, { value: String(sum), until: found?.until ?? now() + lifetime });
      return sum;
    },
    delete(name) {
      entries.delete(name);
    },
    list(prefix) {
      const at = now();
      const found = [...entries.entries()].filter(
        ([name, { until }]) => name.startsWith(prefix) && at < until,
      );
      return new Map(found.map(([name, { value }]) => [name, value]));
    },
    ping() {},
    clear: () => entries.clear(),
    close: () => entries.clear(),
  };
}
