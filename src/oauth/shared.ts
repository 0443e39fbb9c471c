// One request for all who need its answer, each waiting no longer than it may, and none for what has just failed.

/** The shared request goes on for the others when one who waits for it has run out of time. */
export function untilAborted<Value>(promise: Promise<Value>, signal: AbortSignal): Promise<Value> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason);
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort);
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}

/** A failure that came so quickly is no reason to wait: the next try costs nobody anything. */
const QUICK = 250;
const LONGEST_PAUSE = 30_000;

/** What has made us wait in vain is not tried again at once, and the more often it fails, the later. */
export interface Failures {
  /** The last failure, as long as it is too early for another try. */
  recent(): unknown;
  /** `startedAt`: when the try began that failed. */
  failed(error: unknown, startedAt: number): void;
  succeeded(): void;
}

/** `now` in milliseconds of a monotonic clock. */
export function createFailures(now: () => number): Failures {
  let last: unknown;
  let inARow = 0;
  let until = Number.NEGATIVE_INFINITY;
  return {
    recent: () => (now() < until ? last : undefined),
    failed(error, startedAt) {
      const took = now() - startedAt;
      if (took < QUICK) return;
      last = error;
      until = now() + Math.min(LONGEST_PAUSE, took * 2 ** inARow++);
    },
    succeeded() {
      inARow = 0;
      until = Number.NEGATIVE_INFINITY;
    },
  };
}
