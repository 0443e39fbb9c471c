// What the doctor says of one thing that it has looked at.

export type Level = 'ok' | 'warning' | 'ERROR';

export interface Finding {
  readonly level: Level;
  /** The thing: an option, a file, a host, a provider's endpoint. */
  readonly what: string;
  readonly found: string;
  /** What comes of it when nobody does anything. */
  readonly why?: string;
  /** What to write, into the file or the shell that `found` names. */
  readonly line?: string;
  /** It is our configuration that is unusable or unsafe: the exit code says so. */
  readonly isConfiguration?: true;
}

/** What there is to say beside what was found. */
export interface Advice {
  readonly why?: string;
  readonly line?: string;
}

export function ok(what: string, found: string): Finding {
  return { level: 'ok', what, found };
}

export function warning(what: string, found: string, advice: Advice = {}): Finding {
  return { level: 'warning', what, found, ...advice };
}

export function fault(what: string, found: string, advice: Advice = {}): Finding {
  return { level: 'ERROR', what, found, ...advice };
}
