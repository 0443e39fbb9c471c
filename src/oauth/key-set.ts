// The provider's keys, kept: fetched once for all who wait, refreshed in the background, and fetched again for a token
// that they do not explain, but not more often than an attacker may make us. Times are those of the clock it is given.

import { member } from './json.ts';
import { isSignedBy, type Jwk } from './jwk.ts';
import type { Jwt } from './jwt.ts';
import { createFailures, untilAborted } from './shared.ts';

export interface KeySet {
  /** Of what the keys were read from; two sets with the same text have the same keys. */
  readonly text: string;
  readonly keys: readonly Jwk[];
}

export interface KeySource {
  /** The keys there are, if there are some. Looks for newer ones in the background when they are old. */
  now(): KeySet | undefined;
  /** The keys there are, without waiting where there are some. Rejects with what `load` rejects with. */
  get(signal: AbortSignal): Promise<KeySet>;
  /** The keys after another look, for a token that the old ones do not explain; `undefined` when it is too early for one. */
  refetch(signal: AbortSignal): Promise<KeySet | undefined>;
  /** Fetches in the background what is missing or old. Never throws. */
  refresh(): void;
  /** Milliseconds since the provider last said that these are its keys; `undefined` when it never has. */
  age(): number | undefined;
}

/** How often keys are looked at again while everything is fine. */
export const REFRESH_AFTER = 5 * 60_000;
/** While the provider is down, they serve on for so long. */
const USABLE_FOR = 24 * 3_600_000;
/** How often strange tokens may make us fetch. */
const COOL_DOWN = 30_000;
/** A refresh that failed is tried again after so long. */
const RETRY_AFTER = 30_000;

export interface KeySourceOptions {
  readonly load: () => Promise<KeySet>;
  /** Milliseconds of a monotonic clock. */
  readonly now: () => number;
  /** Called when keys have come or gone, not when a refresh brought the same again. */
  readonly onChange?: () => void;
}

export function createKeySource({ load, now, onChange = () => {} }: KeySourceOptions): KeySource {
  let known: KeySet | undefined;
  let loadedAt = Number.NEGATIVE_INFINITY;
  let refreshAt = Number.NEGATIVE_INFINITY;
  let strangersFrom = Number.NEGATIVE_INFINITY;
  let started = 0;
  let newest = 0;
  let pending: Promise<KeySet> | undefined;
  let forStrangers: Promise<KeySet> | undefined;
  const failures = createFailures(now);

  async function fetchNow(): Promise<KeySet> {
    const turn = ++started;
    const askedAt = now();
    let loaded: KeySet;
    try {
      loaded = await load();
    } catch (error) {
      failures.failed(error, askedAt);
      throw error;
    }
    failures.succeeded();
    // An older answer that comes later says nothing new.
    if (turn > newest) {
      newest = turn;
      loadedAt = askedAt;
      refreshAt = askedAt + REFRESH_AFTER;
      if (known?.text !== loaded.text) {
        known = loaded;
        onChange();
      }
    }
    return known ?? loaded;
  }

  function fetchShared(): Promise<KeySet> {
    pending ??= fetchNow().finally(() => {
      pending = undefined;
    });
    return pending;
  }

  function refresh(): void {
    if (now() < refreshAt) return;
    refreshAt = now() + RETRY_AFTER;
    fetchShared().catch(() => {});
  }

  function current(): KeySet | undefined {
    if (known === undefined || now() >= loadedAt + USABLE_FOR) return undefined;
    refresh();
    return known;
  }

  return {
    refresh,
    age: () => (known === undefined ? undefined : now() - loadedAt),
    now: current,
    async get(signal) {
      const found = current();
      if (found !== undefined) return found;
      const recent = failures.recent();
      if (recent !== undefined && pending === undefined) throw recent;
      return untilAborted(fetchShared(), signal);
    },
    async refetch(signal) {
      if (forStrangers === undefined) {
        if (now() < strangersFrom + COOL_DOWN) return undefined;
        strangersFrom = now();
        // A request of its own: one that is under way may have been answered before the keys changed.
        forStrangers = fetchNow().finally(() => {
          forStrangers = undefined;
        });
      }
      return untilAborted(forStrangers, signal);
    },
  };
}

/** Keys that do not change while the program runs: those of a file. */
export function fixedKeySource(set: KeySet): KeySource {
  return {
    now: () => set,
    get: () => Promise.resolve(set),
    refetch: () => Promise.resolve(undefined),
    refresh: () => {},
    age: () => undefined,
  };
}

/** `kid_unknown`, `key_mismatch` and `bad_signature` may all be cured by newer keys: the same kid may have another key. */
export type SignatureFault = 'kid_unknown' | 'key_mismatch' | 'bad_signature';

/** Keys that are tried when neither the token nor the key set says which one it is. */
const MAX_TRIED = 10;

/**
 * `undefined` when one of the keys has signed the token. `kid` only chooses among the keys we already have; `jwk`, `jku`,
 * `x5u` and `x5c` of the header are not looked at (RFC 8725 section 3.10).
 */
export function checkSignature(jwt: Jwt, { keys }: KeySet): SignatureFault | undefined {
  const alg = String(member(jwt.header, 'alg'));
  const kid = member(jwt.header, 'kid');
  const named = kid === undefined ? keys : keys.filter((key) => key.kid === kid);
  if (named.length === 0) return 'kid_unknown';
  const suitable = named.map((key) => key.keyFor(alg)).filter((key) => key !== undefined);
  if (suitable.length === 0) return kid === undefined ? 'kid_unknown' : 'key_mismatch';
  return suitable.slice(0, MAX_TRIED).some((key) => isSignedBy(key, alg, jwt)) ? undefined : 'bad_signature';
}

/** The same, with another look at the provider's keys where the cool-down allows it. */
export async function verifySignature(
  jwt: Jwt,
  source: KeySource,
  signal: AbortSignal,
): Promise<SignatureFault | undefined> {
  const fault = checkSignature(jwt, await source.get(signal));
  if (fault === undefined) return undefined;
  let newer: KeySet | undefined;
  try {
    newer = await source.refetch(signal);
  } catch (error) {
    if (signal.aborted) throw error;
  }
  return newer === undefined ? fault : checkSignature(jwt, newer);
}
