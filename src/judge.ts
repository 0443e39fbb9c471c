// One login within its deadline, and the one place where a failure becomes a verdict.
import { ProviderError } from './oauth/errors.ts';
import { type Authenticate, type Credentials, unavailable, type Verdict } from './verdict.ts';

export interface JudgeOptions {
  /** When the answer must be written, on the clock of `now`. */
  readonly deadlineAt: number;
  /** Milliseconds of a monotonic clock. */
  readonly now: () => number;
  /** A fault of ours: the error's name and where it happened. */
  readonly onInternalError: (name: string, where: string | undefined) => void;
}

/** Never rejects, never resolves after the deadline, and what comes later is dropped: there is no late yes. */
export async function judgeLogin(
  authenticate: Authenticate,
  credentials: Credentials,
  { deadlineAt, now, onInternalError }: JudgeOptions,
): Promise<Verdict> {
  const late = unavailable('deadline', 'no verdict in time (deadline)');
  const left = deadlineAt - now();
  if (left <= 0) return late;
  const aborter = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<Verdict>((resolve) => {
    timer = setTimeout(() => {
      resolve(late);
      aborter.abort(new Error('deadline'));
    }, left);
  });
  try {
    const verdict = await Promise.race([authenticate(credentials, aborter.signal), deadline]);
    // Also when the process itself was stopped for a while.
    return now() >= deadlineAt ? late : verdict;
  } catch (error) {
    if (aborter.signal.aborted) return late;
    if (error instanceof ProviderError) return unavailable(error.reason, error.message);
    // Its message may quote anything; where it happened does not.
    const { name = typeof error, stack } = error as { name?: string; stack?: string };
    onInternalError(name, whereIn(stack));
    return unavailable('provider_error', 'an internal error: see internal_error in the log');
  } finally {
    clearTimeout(timer);
  }
}

/** The first line of a stack trace that says a place. */
export function whereIn(stack: string | undefined): string | undefined {
  return stack
    ?.split('\n')
    .find((line) => line.startsWith('    at '))
    ?.trim();
}
