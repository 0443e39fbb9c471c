// One password of an account is tried at a time: providers that count failures (Keycloak) refuse even the right one while
// another login of the same account is under way, and two wrong ones at once would both be within the budget.
import { setTimeout as sleep } from 'node:timers/promises';
import type { Soon, State } from '../state/state.ts';
import type { Deadline } from '../verdict.ts';

export interface Turns {
  /**
   * Resolves when it is our turn. Rejects when the signal aborts. Nobody is waited for longer than half of the time there
   * is: a worker may have died in the middle, and a late answer is none.
   */
  take(account: string, signal: Deadline): Promise<Turn>;
}

export interface Turn {
  /** False where we have waited long enough: others may be trying theirs at the same time. */
  readonly isOurs: boolean;
  done(): void;
}

export interface TurnsOptions {
  /** What other processes take their turns by, and what an account is called there. */
  readonly shared: { readonly state: State; readonly nameOf: (account: string) => string } | undefined;
  /** Milliseconds of a monotonic clock, that of deadlines. */
  readonly now: () => number;
}

/** How often it is looked whether another process is done: a tenth of what a provider takes to check a password. */
const LOOK_EVERY = 15;

export function createTurns({ shared, now }: TurnsOptions): Turns {
  /** The last in the queue for each account in this process. */
  const queues = new Map<string, Promise<void>>();

  return {
    async take(account, signal) {
      const patience = now() + (signal.deadlineAt - now()) / 2;
      const before = queues.get(account);
      let leave = (): void => {};
      const mine = new Promise<void>((resolve) => {
        leave = resolve;
      });
      queues.set(account, mine);
      const done = (): void => {
        leave();
        if (queues.get(account) === mine) queues.delete(account);
      };
      try {
        if (before !== undefined) await within(patience - now(), before);
        // Nobody else is there; but who did not wait to the end may meet the one before.
        if (shared === undefined) return { isOurs: before === undefined || now() < patience, done };
        const { state } = shared;
        const name = `turn:${shared.nameOf(account)}`;
        let until = 0;
        const claim = (): Soon<string | undefined> => {
          const lifetime = Math.max(1, signal.deadlineAt - now());
          until = now() + lifetime;
          return state.putIfAbsent(name, '1', lifetime);
        };
        let held = await claim();
        while (held !== undefined && now() < patience) {
          await sleep(LOOK_EVERY, undefined, { signal });
          held = await claim();
        }
        const isOurs = held === undefined;
        return {
          isOurs,
          done() {
            // Later than that, it may be another's.
            if (isOurs && now() < until) void state.delete(name);
            done();
          },
        };
      } catch (error) {
        done();
        throw error;
      }
    },
  };
}

async function within(milliseconds: number, work: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const enough = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, milliseconds);
  });
  await Promise.race([work, enough]);
  clearTimeout(timer);
}
