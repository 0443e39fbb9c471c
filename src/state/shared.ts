// A shared store that may be away: then memory takes over, with what this process has seen, and back again. No login waits
// long for a store, and none fails because of one.
import type { MemoryState } from './memory.ts';
import type { Soon, State } from './state.ts';

export interface SharedState extends State {
  /** Settles when it is known whether the store is there, and with it which key all names are made with. */
  readonly started: Promise<void>;
}

export interface SharedOptions {
  /** A store that is there; rejects where there is none. The one before has been closed. */
  readonly open: () => Promise<State>;
  readonly memory: MemoryState;
  /** `why`: what the store, or its library, says. Called with each change, not with each failure. */
  readonly onChange: (change: { readonly up: boolean; readonly why: string }) => void;
  /** From 0 to 1. */
  readonly random?: () => number;
}

/** Milliseconds for one operation, and for opening at the start, where a whole pool of workers does that at once. */
const PATIENCE = 250;
const AT_START = 1000;
/** For a list, which looks at everything there is; each of its steps has a deadline of its own. */
const LISTING = 30_000;
/** So many in a row, and the store is left alone. */
const STRIKES = 2;
/** Milliseconds until the next try. */
const FIRST_RETRY = 500;
const LAST_RETRY = 30_000;
/** Milliseconds after which a store that was away is one that is there. */
const STABLE = 10_000;

export function createSharedState({
  open,
  memory,
  onChange,
  random = Math.random,
}: SharedOptions): SharedState {
  let store: State | undefined;
  let key: Buffer | undefined;
  let isUp: boolean | undefined;
  let retries = 0;
  let strikes = 0;
  let openedAt = Number.POSITIVE_INFINITY;
  let failures = 0;
  let timer: NodeJS.Timeout | undefined;
  let closed = false;
  let closing: Soon<void>;
  /** A store could not be closed: something in it still waits. */
  let isStuck = false;
  const atStart = inTime(tryToOpen(), AT_START).catch(() => {});

  async function tryToOpen(): Promise<void> {
    try {
      await closing;
      const opened = await open();
      if (closed) return await opened.close();
      // To be opened it need not be able to keep anything: who then fails with the next login would come and go for ever.
      try {
        await inTime(Promise.resolve(opened.ping()), AT_START);
      } catch (error) {
        closeLater(opened);
        throw error;
      }
      if (closed) return await opened.close();
      store = opened;
      // It has just written: what waited for the same lock does not wait any more.
      isStuck = false;
      ({ key } = opened);
      openedAt = performance.now();
      strikes = 0;
      say(true, 'the store is there');
    } catch (error) {
      again(error);
    }
  }

  function again(error: unknown): void {
    if (closed) return;
    say(false, error instanceof Error ? error.message : 'no reason given');
    // One that comes and goes (a disk that is full, or nearly) is looked at ever more seldom, too.
    if (performance.now() - openedAt > STABLE) retries = 0;
    openedAt = Number.POSITIVE_INFINITY;
    const wait = Math.min(LAST_RETRY, FIRST_RETRY * 2 ** retries++) * (1 + random() / 5);
    timer = setTimeout(() => void tryToOpen(), wait);
    timer.unref();
  }

  function say(up: boolean, why: string): void {
    if (isUp === up) return;
    isUp = up;
    onChange({ up, why });
  }

  /** One failure in a row may be a moment in which the disk or this machine had other things to do. */
  function failed(which: State, error: unknown): void {
    failures++;
    if (store !== which || ++strikes < STRIKES) return;
    store = undefined;
    closeLater(which);
    again(error);
  }

  /** The next one waits for it. */
  function closeLater(which: State): void {
    closing = (async () => which.close())().catch(() => {
      isStuck = true;
    });
  }

  /** `work` on the store, and what the memory is to know of it; where there is no store, on the memory. */
  function on<Value>(
    work: (state: State) => Soon<Value>,
    mirror: (value: Value) => void,
    patience = PATIENCE,
  ): Soon<Value> {
    const current = store;
    if (current === undefined) {
      const isStarting = isUp === undefined && !closed;
      return isStarting
        ? atStart.then(() => (store === undefined ? work(memory) : on(work, mirror, patience)))
        : work(memory);
    }
    try {
      const value = work(current);
      if (!(value instanceof Promise)) {
        strikes = 0;
        mirror(value);
        return value;
      }
      return inTime(value, patience).then(
        (late) => {
          strikes = 0;
          mirror(late);
          return late;
        },
        (error: unknown) => {
          failed(current, error);
          return work(memory);
        },
      );
    } catch (error) {
      failed(current, error);
      return work(memory);
    }
  }

  function peek(name: string): string | undefined {
    const current = store;
    try {
      return current?.peek?.(name);
    } catch (error) {
      if (current !== undefined) failed(current, error);
      return undefined;
    }
  }

  return {
    started: atStart,
    get key() {
      return key ?? memory.key;
    },
    get isAway() {
      return store === undefined;
    },
    get failures() {
      return failures;
    },
    get: (name) =>
      on(
        (state) => state.get(name),
        () => {},
      ),
    get peek() {
      return store?.peek === undefined ? undefined : peek;
    },
    set: (name, value, lifetime) =>
      on(
        (state) => state.set(name, value, lifetime),
        () => memory.set(name, value, lifetime),
      ),
    putIfAbsent: (name, value, lifetime) =>
      on(
        (state) => state.putIfAbsent(name, value, lifetime),
        (there) => memory.set(name, there ?? value, lifetime),
      ),
    increment: (name, by, lifetime) =>
      on(
        (state) => state.increment(name, by, lifetime),
        (sum) => memory.set(name, String(sum), lifetime),
      ),
    delete: (name) =>
      on(
        (state) => state.delete(name),
        () => memory.delete(name),
      ),
    list: (prefix) =>
      on(
        (state) => state.list(prefix),
        () => {},
        LISTING,
      ),
    unlearn() {
      if (store !== undefined) memory.clear();
    },
    ping: () =>
      on(
        (state) => state.ping(),
        () => {},
      ),
    async close() {
      closed = true;
      clearTimeout(timer);
      const current = store;
      store = undefined;
      await Promise.all([current?.close(), closing]);
      if (isStuck) throw new Error('state: not everything could be closed');
    },
  };
}

/** The same, but not later than that. A process that was held up itself looks once more before it blames the store. */
async function inTime<Value>(work: Promise<Value>, patience = PATIENCE): Promise<Value> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      const give = (): void => reject(new Error(`no answer within ${patience} ms`));
      setImmediate(() => setImmediate(give));
    }, patience);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
