// One login within its deadline, and the one place where a failure becomes a verdict.
import type { Judge } from './auth/authenticate.ts';
import { ProviderError } from './oauth/errors.ts';
import { type Credentials, unavailable, type Verdict } from './verdict.ts';

export interface JudgeOptions {
  /** When the answer must be written, on the clock of `now`. */
  readonly deadlineAt: number;
  /** Milliseconds of a monotonic clock. */
  readonly now: () => number;
  /** A fault of ours: the error's name and where it happened. */
  readonly onInternalError: (name: string, where: string | undefined) => void;
}

/**
 * The verdict, at once where nobody has to be asked. Never throws or rejects, never resolves after the deadline, and what
 * comes later is dropped: there is no late yes.
 */
export function judgeLogin(
  judge: Judge,
  credentials: Credentials,
  options: JudgeOptions,
): Verdict | Promise<Verdict> {
  const { deadlineAt, now, onInternalError } = options;
  if (now() >= deadlineAt) return LATE;
  try {
    const verdict = judge.atOnce(credentials);
    if (verdict === undefined) return judgeWithin(judge, credentials, options);
    // Also when the process itself was stopped for a while.
    return now() >= deadlineAt ? LATE : verdict;
  } catch (error) {
    return failure(error, onInternalError);
  }
}

const LATE = unavailable('deadline', 'no verdict in time (deadline)');

async function judgeWithin(
  judge: Judge,
  credentials: Credentials,
  { deadlineAt, now, onInternalError }: JudgeOptions,
): Promise<Verdict> {
  const aborter = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<Verdict>((resolve) => {
    timer = setTimeout(() => {
      resolve(LATE);
      aborter.abort(new Error('deadline'));
    }, deadlineAt - now());
  });
  try {
    const signal = Object.assign(aborter.signal, { deadlineAt });
    const verdict = await Promise.race([judge.authenticate(credentials, signal), deadline]);
    return now() >= deadlineAt ? LATE : verdict;
  } catch (error) {
    return aborter.signal.aborted ? LATE : failure(error, onInternalError);
  } finally {
    clearTimeout(timer);
  }
}

function failure(error: unknown, onInternalError: JudgeOptions['onInternalError']): Verdict {
  if (error instanceof ProviderError) {
    const { reason, message, method } = error;
    return { ...unavailable(reason, message), ...(method === undefined ? {} : { method }) };
  }
  // Its message may quote anything; where it happened does not.
  const { name = typeof error, stack } = error as { name?: string; stack?: string };
  onInternalError(name, whereIn(stack));
  return unavailable('provider_error', 'an internal error: see internal_error in the log');
}

/** The first line of a stack trace that says a place. */
export function whereIn(stack: string | undefined): string | undefined {
  return stack
    ?.split('\n')
    .find((line) => line.startsWith('    at '))
    ?.trim();
}
