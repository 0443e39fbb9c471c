// So many at a time, the others in the order in which they came, each no longer than it may.

export interface Queue {
  /** Whether there is room at once; who gets in must leave. */
  enter(): boolean;
  /** Resolves when there is room. Rejects when the signal aborts, or with what `refuse` says. */
  wait(name: string, signal: AbortSignal | undefined): Promise<void>;
  leave(): void;
  /** Those who wait under this name need not wait any longer. */
  refuse(name: string, reason: () => Error): void;
}

interface Waiting {
  readonly name: string;
  readonly enter: () => void;
  readonly giveUp: (reason: unknown) => void;
}

export function createQueue(size: number): Queue {
  const waiting = new Set<Waiting>();
  let inside = 0;

  return {
    enter() {
      if (inside >= size) return false;
      inside++;
      return true;
    },
    wait(name, signal) {
      return new Promise((resolve, reject) => {
        const onAbort = (): void => entry.giveUp(signal?.reason);
        const entry: Waiting = {
          name,
          enter() {
            settle();
            resolve();
          },
          giveUp(reason) {
            settle();
            reject(reason);
          },
        };
        function settle(): void {
          waiting.delete(entry);
          signal?.removeEventListener('abort', onAbort);
        }
        if (signal?.aborted) return reject(signal.reason);
        waiting.add(entry);
        signal?.addEventListener('abort', onAbort);
      });
    },
    leave() {
      const [next] = waiting;
      // Who leaves hands the place on.
      if (next === undefined) inside--;
      else next.enter();
    },
    refuse(name, reason) {
      for (const entry of [...waiting]) if (entry.name === name) entry.giveUp(reason());
    },
  };
}
