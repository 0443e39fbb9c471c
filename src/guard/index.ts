// The guards of all virtual hosts: what each has for itself, and what they have in common.
import type { Judge } from '../auth/authenticate.ts';
import type { HostSettings } from '../config/host-settings.ts';
import type { CacheOptions, LimitOptions } from '../config/schema.ts';
import type { State } from '../state/state.ts';
import { createBudget } from './budget.ts';
import { createFlights } from './flights.ts';
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
}

export interface Guards {
  readonly gate: Gate;
  /** Around the judge of one virtual host. */
  guard(judge: Judge, settings: HostSettings, remembered: Remembered): Judge;
  forget(): void;
  close(): void;
}

export function createGuards(options: GuardsOptions): Guards {
  const { cache, limits, deadline, state, isShared, now, wallClock, onPause, step } = options;
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
    close: gate.close,
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
