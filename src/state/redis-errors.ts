// Puts into our own words what went wrong at Redis. The library's errors carry the command with its arguments, and so
// passwords, tokens' names and values: nothing of them leaves but a code.

/** The codes that need an explanation; most are the first word of what the server says. */
const meanings: Readonly<Record<string, string>> = {
  WRONGPASS: 'the user or the password is wrong, or the user is disabled',
  NOAUTH: 'it wants a password',
  NOPERM: 'the user may not use the keys extauth-oauth:* or one of the commands',
  READONLY: 'it is a read-only replica',
  OOM: 'its memory is full',
  LOADING: 'it is still loading its data',
  MASTERDOWN: 'it is a replica without its master',
  MISCONF: 'it cannot write to its disk and takes no writes',
  NOREPLICAS: 'it takes no writes without its replicas',
  CLUSTERDOWN: 'the cluster is down',
  NOMASTER: 'no Sentinel answers that knows the master by this name',
  ETIMEDOUT: 'no answer in time',
};

/** What may be told of `error`: a code, when it has one. */
export function codeOf(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  const { message, name, code, lastNodeError, previousErrors } = error as ErrorOfLibrary;
  // A cluster, and a transaction, say why at the end of a chain.
  const inner = codeOf(lastNodeError) ?? codeOf(previousErrors?.[0]);
  if (inner !== undefined) return inner;
  if (typeof code === 'string') return /^[A-Z][A-Z\d_]{2,50}$/.exec(code)?.[0];
  if (/^(?:Simple|Blob|Reply)Error$/.test(name)) return /^[A-Z]{2,20}(?= |$)/.exec(message)?.[0];
  if (message.startsWith('All sentinels are unreachable'))
    return / Last error: (?:connect )?([A-Z]{3,20})(?= |$)/.exec(message)?.[1] ?? 'NOMASTER';
  return message === 'Command timed out' ? 'ETIMEDOUT' : undefined;
}

interface ErrorOfLibrary extends Error {
  readonly code?: unknown;
  /** ClusterAllFailedError. */
  readonly lastNodeError?: unknown;
  /** EXECABORT. */
  readonly previousErrors?: readonly unknown[];
}

/** The error that callers see. */
export function redisError(place: string, code: string | undefined): Error {
  const meaning = code === undefined ? 'not connected' : meanings[code];
  return new Error(`Redis at ${place}: ${[meaning, code && `(${code})`].filter(Boolean).join(' ')}`);
}
