// Writes that may have to wait for other processes: how many, how long, and in what turn.

/** 0.3 ms each on an SSD and thousands at once: more are a disk that does not keep up, or a lock that is never let go. */
const MAX_PENDING = 20_000;

export interface Writes {
  /** What comes of a write, unless it takes too long; then it may still be done later. */
  write<Value>(start: () => Promise<Value>): Promise<Value>;
  /** Does `work` after all others of that name, which need not compete with each other then. */
  inTurn<Value>(name: string, work: () => Promise<Value>): Promise<Value>;
  /** Counts among what is under way. */
  track(work: Promise<unknown>): void;
  /** When nothing is under way any more, given up or not. */
  settled(): Promise<void>;
}

/** `file` is for messages. */
export function createWrites({ file, writeWithin }: { file: string; writeWithin: number }): Writes {
  let pending = 0;
  let whenIdle: (() => void) | undefined;
  const last = new Map<string, Promise<unknown>>();
  const late = `state: a write to ${file} has waited for ${writeWithin} ms`;

  function track(work: Promise<unknown>): void {
    pending++;
    const settle = () => {
      if (--pending === 0) whenIdle?.();
    };
    work.then(settle, settle);
  }

  return {
    track,
    async write(start) {
      if (pending >= MAX_PENDING) throw new Error(`state: ${pending} writes wait for ${file}`);
      const done = start().catch(explain);
      track(done);
      return within(done, writeWithin, late);
    },
    inTurn(name, work) {
      const due = performance.now() + writeWithin;
      const timely = () => {
        if (performance.now() > due) throw new Error(late);
        return work();
      };
      const turn = (last.get(name) ?? Promise.resolve()).then(timely, timely);
      last.set(name, turn);
      const forget = () => {
        if (last.get(name) === turn) last.delete(name);
      };
      turn.then(forget, forget);
      return within(turn, writeWithin, late);
    },
    async settled() {
      if (pending > 0)
        await new Promise<void>((resolve) => {
          whenIdle = resolve;
        });
    },
  };
}

/** A commit of lmdb-js that fails says why in a promise of its own, which would end the process if nobody took it. */
export async function explain(error: unknown): Promise<never> {
  if (error instanceof Error && 'commitError' in error) await error.commitError;
  throw error;
}

/** `work`, or an error with `message` when it takes too long. */
export function within<Value>(work: Promise<Value>, milliseconds: number, message: string): Promise<Value> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(message)), milliseconds);
    const stop = () => clearTimeout(timer);
    work.then(resolve, reject);
    work.then(stop, stop);
  });
}
