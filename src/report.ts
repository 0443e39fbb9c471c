// What one request came to, told to the log and counted.
import type { Log } from './log.ts';
import { printable, quoted } from './log.ts';
import type { Cached, Verdict } from './verdict.ts';

/** What is told of a request that comes to no login. */
export type Told = Verdict | { readonly outcome: 'exists' | 'unknown' };

export interface Requested {
  readonly op: string;
  /** `undefined` where the request does not say. */
  readonly host: string | undefined;
  /** Who it was about, as far as anybody knows. */
  readonly user: string;
  /** The SASL mechanism, where there was one, and the name that was typed, where it is another one. */
  readonly mechanism?: string | undefined;
  readonly authcid?: string | undefined;
  readonly arrivedAt: number;
}

/** `answered`: the word that the answer is counted by. */
export type Report = (requested: Requested, told: Told, answered: string) => void;

export interface ReportOptions {
  readonly log: Log;
  /** Milliseconds of a monotonic clock, the one that `arrivedAt` is of. */
  readonly now: () => number;
  /** Told the same, with milliseconds. */
  readonly measure?: ((requested: Requested, told: Told, milliseconds: number) => void) | undefined;
}

/** Characters of a name in the log: no server passes longer ones. */
const MAX_SHOWN = 1023;

export type Counts = Readonly<Record<string, number>>;

/** Reports, and counts by operation and answer. */
export function createReport({ log, now, measure }: ReportOptions): {
  report: Report;
  counts: () => Counts;
} {
  const counts: Record<string, number> = {};
  const run = Math.floor(Math.random() * 0x1000000)
    .toString(16)
    .padStart(6, '0');
  let serial = 0;

  function report(requested: Requested, told: Told, answered: string): void {
    const { op, host, user, mechanism, authcid, arrivedAt } = requested;
    const key = `${op}_${answered}`;
    counts[key] = (counts[key] ?? 0) + 1;
    const milliseconds = Math.round((now() - arrivedAt) * 10) / 10;
    // One for each request: put together by hand, which takes a third of the time.
    let line = `"op":"${op}"`;
    if (host !== undefined) {
      line += `,"host":${quoted(host.slice(0, MAX_SHOWN))},"user":${quoted(log.user(user.slice(0, MAX_SHOWN), host))}`;
      if (authcid !== undefined) line += `,"typed":${quoted(log.user(authcid.slice(0, MAX_SHOWN), host))}`;
    }
    if (mechanism !== undefined) line += `,"mechanism":"${mechanism}"`;
    line += `,"verdict":"${told.outcome}"`;
    if ('reason' in told) line += `,"reason":"${told.reason}"`;
    if ('method' in told && told.method !== undefined) line += `,"method":"${told.method}"`;
    line += `,"cache":"${cacheOf(told)}","ms":${milliseconds},"id":"${run}-${++serial}"`;
    if ('detail' in told && told.detail !== undefined) line += `,"detail":${quoted(told.detail)}`;
    log.writeJson(levelOf(told), 'request', line);
    measure?.(requested, told, milliseconds);
  }

  return { report, counts: () => counts };
}

/** Whether the verdict was remembered, could be from now on, or is of a kind that is not. */
export function cacheOf(told: Told): Cached | 'off' {
  if (!('cache' in told || 'until' in told)) return 'off';
  const isOurs = told.outcome === 'accepted' && told.method === 'jwt' && told.until !== undefined;
  return told.cache ?? (isOurs ? 'miss' : 'off');
}

function levelOf(told: Told): 'info' | 'warn' | 'error' {
  if (told.outcome !== 'unavailable') return 'info';
  // The operator's to mend: no user and no waiting will do it.
  return told.reason === 'client_refused' || told.reason === 'not_configured' ? 'error' : 'warn';
}

/** A name from outside, in a sentence for the operator. */
export function shown(name: string): string {
  return printable(name.slice(0, MAX_SHOWN));
}
