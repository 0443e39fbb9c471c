// The state of this process: in its memory, or in a store that others share, with the memory behind it.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { StateSettings } from '../config/state-settings.ts';
import { createMemoryState } from './memory.ts';
import { createSharedState } from './shared.ts';
import type { State } from './state.ts';

/** A state, and whether other processes use it, too. */
export interface Kept {
  readonly state: State;
  readonly isShared: boolean;
  /** Settles when the state has the key that it has from now on: names made before are found by nobody. */
  readonly started: Promise<void>;
}

export interface KeptOptions {
  /** Users with wrong passwords, and verdicts while a store is away, that this process keeps. */
  readonly maxEntries: number;
  /** The shared store has gone, or is there (again). */
  readonly onChange: (change: { readonly up: boolean; readonly why: string }) => void;
}

/** What a user with a wrong password takes: that there is one, and which. */
const PER_USER = 2;

export function createKept(settings: StateSettings, { maxEntries, onChange }: KeptOptions): Kept {
  const memory = createMemoryState({ now: () => performance.now(), maxEntries: PER_USER * maxEntries });
  if (settings.store === 'memory') return { state: memory, isShared: false, started: Promise.resolve() };
  const state = createSharedState({ open: () => open(settings), memory, onChange });
  return { state, isShared: true, started: state.started };
}

/** Opens the store, for who wants to know whether that can be done. Rejects with why it cannot; `undefined` where there is none. */
export async function tryState(settings: StateSettings): Promise<State | undefined> {
  return settings.store === 'memory' ? undefined : open(settings);
}

/** False for an LMDB that nobody has used yet, and which should be made by the user that will. */
export function exists(settings: StateSettings): boolean {
  return settings.store !== 'lmdb' || existsSync(join(settings.folder, 'state.mdb'));
}

/** Each store's library is loaded with the first use. */
async function open(settings: Exclude<StateSettings, { store: 'memory' }>): Promise<State> {
  switch (settings.store) {
    case 'lmdb': {
      const { openLmdbState } = await import('./lmdb.ts');
      return openLmdbState(settings);
    }
    case 'redis': {
      const { openRedisState } = await import('./redis.ts');
      return openRedisState(settings);
    }
  }
}
