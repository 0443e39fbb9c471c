// When an endpoint does not work, it is left alone for a while, and whoever would have waited for it is told so at once. An
// XMPP server like Prosody stands still for every login: a provider that is down must cost microseconds, not a deadline.
//
//   closed --5 failures in a row--> open --a moment later--> half open --a good answer--> closed
//                                    ^                          |
//                                    +------- a failure --------+

/** How one request ended. `slow`: it was waited for in vain; `none`: it says nothing about the endpoint. */
export type Ended = 'good' | 'failed' | 'slow' | 'none';

export interface Breaker {
  /** What is to be told how the request ended, or how many milliseconds the pause lasts at least, and nothing is sent. */
  admit(): ((ended: Ended) => void) | { readonly pausedFor: number };
  /** The endpoint has asked to be left alone for so many milliseconds. */
  pause(milliseconds: number): void;
  isPaused(): boolean;
  close(): void;
}

export interface BreakerOptions {
  /** Milliseconds of a monotonic clock. */
  readonly now: () => number;
  /** From 0 to 1. */
  readonly random: () => number;
  /** Asks the endpoint for anything at all. Resolves when there is an answer, whatever it says. */
  readonly probe: () => Promise<unknown>;
  /** `since`: milliseconds that the pause took. */
  readonly onChange: (change: {
    readonly paused: boolean;
    readonly why: string;
    readonly since: number;
  }) => void;
}

const FAILURES = 5;
/** The first probe, and the longest time between two. In between, a fortieth of the time that it has been away. */
const FIRST_PROBE = 1000;
const LAST_PROBE = 30_000;
const SHARE = 40;
/** Probes are that much earlier or later, so that the workers of a pool do not come all at once. */
const JITTER = 0.1;
/** Unanswered ones at a time: one may hang for ever, and the next be answered. */
const MAX_PROBES = 3;
/** Nobody's word keeps everybody out for longer. */
const LONGEST_PAUSE = 120_000;

export function createBreaker({ now, random, probe, onChange }: BreakerOptions): Breaker {
  let state: 'closed' | 'open' | 'half-open' = 'closed';
  let failures = 0;
  let openedAt = 0;
  let until = 0;
  /** It has asked to be left alone until then: an answer that was under way does not mean that it has changed its mind. */
  let quietUntil = Number.NEGATIVE_INFINITY;
  /** Failures of half-open trials in a row that somebody had to wait for. */
  let slowTrials = 0;
  /** A login must not be what finds out whether an endpoint answers that did not: first a probe must be answered. */
  let needsProbe = false;
  let trial: symbol | undefined;
  let probes = 0;
  let timer: NodeJS.Timeout | undefined;
  let closed = false;

  function open(ended: 'failed' | 'slow', why: string): void {
    if (state === 'closed') {
      openedAt = now();
      slowTrials = 0;
      onChange({ paused: true, why, since: 0 });
    }
    state = 'open';
    trial = undefined;
    needsProbe = ended === 'slow';
    wait(Math.max(usualWait(), ended === 'slow' && slowTrials > 0 ? FIRST_PROBE * 2 ** slowTrials : 0));
  }

  function usualWait(): number {
    return Math.max(FIRST_PROBE, (now() - openedAt) / SHARE);
  }

  function wait(milliseconds: number): void {
    const jittered = Math.min(milliseconds, LAST_PROBE) * (1 + JITTER * (2 * random() - 1));
    until = now() + jittered;
    clearTimeout(timer);
    if (!needsProbe || closed) return;
    timer = setTimeout(look, jittered);
    timer.unref();
  }

  function look(): void {
    if (state !== 'open') return;
    if (probes < MAX_PROBES) {
      probes++;
      probe()
        .then(halfOpen, () => {})
        .finally(() => probes--);
    }
    wait(usualWait());
  }

  function halfOpen(): void {
    if (state !== 'open' || now() < quietUntil) return;
    clearTimeout(timer);
    state = 'half-open';
  }

  function closeAgain(why: string): void {
    if (now() < quietUntil) return;
    clearTimeout(timer);
    if (state !== 'closed') onChange({ paused: false, why, since: now() - openedAt });
    state = 'closed';
    failures = 0;
    trial = undefined;
  }

  return {
    admit() {
      if (state === 'open' && !needsProbe && now() >= until) state = 'half-open';
      if (state === 'open' || (state === 'half-open' && trial !== undefined)) {
        return { pausedFor: Math.max(0, until - now()) };
      }
      const mine = Symbol('request');
      if (state === 'half-open') trial = mine;
      return (ended) => {
        if (ended === 'good') return closeAgain('it answers again');
        if (ended === 'none') {
          if (trial === mine) trial = undefined;
          return;
        }
        if (trial === mine) {
          if (ended === 'slow') slowTrials++;
          return open(ended, '');
        }
        if (state === 'closed' && ++failures >= FAILURES) open(ended, `${FAILURES} failures in a row`);
      };
    },
    pause(milliseconds) {
      quietUntil = Math.max(quietUntil, now() + Math.min(milliseconds, LONGEST_PAUSE));
      if (state === 'closed') {
        openedAt = now();
        slowTrials = 0;
        onChange({ paused: true, why: 'it asks for fewer requests (Retry-After)', since: 0 });
      }
      clearTimeout(timer);
      state = 'open';
      trial = undefined;
      needsProbe = false;
      until = quietUntil;
    },
    isPaused: () => state !== 'closed',
    close() {
      closed = true;
      clearTimeout(timer);
      state = 'closed';
    },
  };
}
