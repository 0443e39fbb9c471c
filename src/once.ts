// Something that is made when it is first wanted, and only once, unless that failed.

export interface Once<Value> {
  (): Promise<Value>;
  /** Without starting it. */
  started(): Promise<Value> | undefined;
}

export function once<Value>(start: () => Promise<Value>): Once<Value> {
  let started: Promise<Value> | undefined;
  return Object.assign(
    () => {
      // What could not be loaded now (no descriptor is free) is tried again by the next.
      started ??= start().catch((error: unknown) => {
        started = undefined;
        throw error;
      });
      return started;
    },
    { started: () => started },
  );
}
