// How an entry of the LMDB file is written, and the part of lmdb-js that is used.

/** The text of a value with its end before it: `1700000000000:value`, or `:value` for what stays. */
export function pack(value: string, lifetime: number, now: number): string {
  return `${lifetime === Number.POSITIVE_INFINITY ? '' : Math.ceil(now + lifetime)}:${value}`;
}

/** When what was packed ends, in milliseconds of the wall clock. */
export function endOf(text: string): number {
  const end = text.indexOf(':');
  return end === 0 ? Number.POSITIVE_INFINITY : Number(text.slice(0, end));
}

/** The value that was packed, unless it has ended. */
export function unpack(text: string | undefined, now: number): string | undefined {
  if (text === undefined) return undefined;
  const end = text.indexOf(':');
  // Whatever is in the file that we have not written has NaN for an end, and is not there.
  return end === 0 || now < Number(text.slice(0, end)) ? text.slice(end + 1) : undefined;
}

/** The same end with another value. */
export function repack(text: string, value: string): string {
  return text.slice(0, text.indexOf(':') + 1) + value;
}

/** A name that no user of the State can have: theirs are without spaces. */
export type OwnName = ` ${string}`;

/**
 * The part of lmdb-js that is used; its own types leave out that a version of `null` stands for what is not there. A
 * conditional write resolves with whether it was done.
 */
export interface Database {
  readonly env: { info(): { readonly numReaders: number } };
  get(name: string): string | undefined;
  getEntry(name: string): { readonly value: string; readonly version: number } | undefined;
  getRange(range: {
    readonly start?: string;
    readonly exclusiveStart?: boolean;
    readonly versions?: true;
  }): Iterable<{ readonly key: string; readonly value: string; readonly version: number }>;
  put(name: string, text: string, version: number, ifVersion?: number | null): Promise<boolean>;
  remove(name: string, ifVersion?: number): Promise<boolean>;
  readerCheck(): number;
  resetReadTxn(): void;
  ensureReadTxn(): void;
  close(): Promise<void>;
}
