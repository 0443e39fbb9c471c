// What every operation of a store that is away must do, and until when it must be back.
import assert from 'node:assert/strict';
import { inspect } from 'node:util';
import type { State } from '../../../src/state/state.ts';
import { within } from './ejabberd.ts';

/** Milliseconds. */
export const longestAnswer = 300;
const longestReturn = 3000;
export const long = 60_000;
/** As secret as a password: what is kept is made of tokens. */
export const canaryName = 'Canary-name';
export const canaryValue = 'Canary-value';

function operations(state: State): (() => unknown)[] {
  return [
    () => state.get(canaryName),
    () => state.set(canaryName, canaryValue, long),
    () => state.putIfAbsent(canaryName, canaryValue, long),
    () => state.increment(`${canaryName}.count`, 1, long),
    () => state.delete(canaryName),
    () => state.list(canaryName),
    () => state.ping(),
  ];
}

/** All that there is to see of an error, and of what it was made of. */
export function assertTellsNoSecret(error: unknown): void {
  const seen = inspect(error, { showHidden: true, depth: 9 }) + JSON.stringify(error);
  assert.doesNotMatch(seen, /canary/i);
  assert.ok(error instanceof Error && error.message.startsWith('Redis at 127.0.0.1:'), seen);
}

/** Each by itself, and then all at once. How long the slowest took. */
export async function assertAllReject(state: State, expected = /./): Promise<number> {
  const all = operations(state);
  let slowest = 0;
  const rejects = async (operation: () => unknown) => {
    const begun = performance.now();
    await assert.rejects(
      async () => operation(),
      (error: Error) => {
        assertTellsNoSecret(error);
        assert.match(error.message, expected);
        return true;
      },
    );
    slowest = Math.max(slowest, performance.now() - begun);
  };
  for (const operation of all) await rejects(operation);
  await Promise.all(all.map(rejects));
  assert.ok(slowest < longestAnswer, `${slowest} ms`);
  return slowest;
}

/** How long until all operations work, again and again. */
export async function timeToReturn(state: State, limit = longestReturn): Promise<number> {
  const begun = performance.now();
  const works = async () => {
    try {
      for (const operation of operations(state)) await operation();
      return true;
    } catch (error) {
      assertTellsNoSecret(error);
      return false;
    }
  };
  assert.ok(await within(limit, works), `not there after ${limit} ms`);
  const took = performance.now() - begun;
  for (let n = 0; n < 20; n++) assert.ok(await works(), 'once there, it stays');
  return took;
}
