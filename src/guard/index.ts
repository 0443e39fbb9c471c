// The guards of all virtual hosts: what each has for itself, and what they have in common.
import type { Judge } from '../auth/authenticate.ts';
import type { HostSettings } from '../config/host-settings.ts';
import type { CacheOptions, LimitOptions } from '../config/schema.ts';
import type { State } from '../state/state.ts';
import { createBudget } from './budget.ts';
import { createFlights } from './flights.ts';
import { type Forgotten, forgetVerdicts, tellForgotten, watchForgotten } from './forgotten.ts';
import { createGate, type Gate, type PauseChange } from './gate.ts';
import { createGuard } from './guard.ts';
import type { Remembered } from './remembered.ts';
import { createTurns } from './turns.ts';
import { createVerdicts } from './verdicts.ts';

export interface GuardsOptions {
  readonly cache: CacheOptions;
  readonly limits: LimitOptions;
  /** Milliseconds; see GateOptions. */
  readonly deadline?: number | undefined;
  readonly state: State;
  /** Whether there are others who read and write that state. */
  readonly isShared: boolean;
  readonly now: () => number;
  readonly wallClock: () => number;
  readonly onPause?: ((change: PauseChange) => void) | undefined;
  readonly step?: ((name: string, result: string) => void) | undefined;
  /** Another process has forgotten a user: nothing is to be known from memory any more. */
  readonly onForgotten?: (() => void) | undefined;
}

export interface Guards {
  readonly gate: Gate;
  /** Around the judge of one virtual host. */
  guard(judge: Judge, settings: HostSettings, remembered: Remembered): Judge;
  forget(): void;
  /**
   * Removes what is remembered of a user's logins. Rejects where the store is away, and keeps what it has. Not the wrong
   * passwords that were counted: users remove their accounts themselves (XEP-0077), and several names may be one account.
   */
  forgetUser(user: Forgotten): Promise<void>;
  close(): void;
}

export function createGuards(options: GuardsOptions): Guards {
  const { cache, limits, deadline, state, isShared, now, wallClock, onPause, onForgotten, step } = options;
  const verdicts = createVerdicts({
    ttl: { token: cache.token_ttl, password: cache.password_ttl, refused: cache.negative_ttl },
    grace: cache.unavailable_grace,
    maxEntries: cache.max_entries,
    shared: isShared ? state : undefined,
    wallClock,
    random: Math.random,
  });
  const budget = createBudget({ limit: limits.wrong_passwords, state });
  const turns = createTurns({ shared: isShared ? { state, nameOf: budget.nameOf } : undefined, now });
  const gate = createGate({ concurrency: limits.provider_concurrency, deadline, now, onChange: onPause });
  const unwatch = isShared && onForgotten !== undefined ? watchForgotten({ state, onForgotten }) : undefined;

  return {
    gate,
    guard(judge, settings, remembered) {
      let fingerprint: string | undefined;
      return createGuard({
        judge,
        settings() {
          const { createHash } = process.getBuiltinModule('node:crypto');
          fingerprint ??= createHash('sha256').update(everythingIn(settings)).digest('base64');
          return fingerprint;
        },
        remembered,
        verdicts,
        budget,
        turns,
        flights: createFlights(),
        wallClock,
        now,
        step,
      });
    },
    forget: verdicts.forget,
    async forgetUser(user) {
      await forgetVerdicts(state, user);
      await tellForgotten(state);
      if (state.isAway === true) throw new Error('state: the store is away');
    },
    close() {
      unwatch?.();
      gate.close();
    },
  };
}

/**
 * What a verdict depends on, as one text: other settings, other verdicts, also where another process has them. How the
 * provider is reached is not part of it, nor what it keeps as files: those are called differently on another machine.
 */
function everythingIn({ providers, lookup: _lookup, ...host }: HostSettings): string {
  const parts = providers.map(
    ({ http: _http, authorities: _authorities, certificate: _certificate, ...rest }) => ({
      ...rest,
      clientKey: rest.clientKey?.kid,
      clientSecret: rest.clientSecret?.reveal(),
      keys: rest.keys?.text,
    }),
  );
  return JSON.stringify([host, parts], (_, value) => (value instanceof Map ? [...value] : value));
}
