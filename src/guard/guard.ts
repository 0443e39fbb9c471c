// The guard of one virtual host: who need not be asked is not asked, and who must not be asked now is left in peace.
// A judge around a judge, of the same type.
import type { Judge } from '../auth/authenticate.ts';
import { ProviderError } from '../oauth/errors.ts';
import {
  type Credentials,
  type Deadline,
  type RefusedReason,
  refused,
  type UnavailableReason,
  type Verdict,
} from '../verdict.ts';
import type { Budget } from './budget.ts';
import { joined } from './digest.ts';
import type { Flights } from './flights.ts';
import type { Remembered } from './remembered.ts';
import type { Turns } from './turns.ts';
import type { Login, Verdicts } from './verdicts.ts';

export interface GuardOptions {
  readonly judge: Judge;
  /** Stands for all settings that a verdict depends on. */
  readonly settings: () => string;
  readonly remembered: Remembered;
  readonly verdicts: Verdicts;
  readonly budget: Budget;
  readonly turns: Turns;
  readonly flights: Flights;
  /** Milliseconds of the wall clock, and of the monotonic one. */
  readonly wallClock: () => number;
  readonly now: () => number;
  readonly step?: ((name: string, result: string) => void) | undefined;
}

const SPENT = refused(
  'budget_exhausted',
  'too many different wrong passwords of this user: none is tried until the window has passed (limits.wrong_passwords); tokens are',
);

/** Failures that time will cure, if anything does; the operator's own mistakes are not among them. */
const PROVIDER_IS_AWAY: ReadonlySet<UnavailableReason> = new Set([
  'provider_unreachable',
  'provider_timeout',
  'provider_error',
  'provider_busy',
  'provider_paused',
]);
/** The password has been sent, and may have been counted. */
const MAY_HAVE_BEEN_JUDGED: ReadonlySet<UnavailableReason> = new Set([
  'deadline',
  'provider_timeout',
  'provider_error',
]);
/**
 * Of a locked account nobody knows whether the password was right, and each may lock it for longer; of one that is not
 * finished it is a guess at the provider's words.
 */
const IS_WRONG: ReadonlySet<RefusedReason> = new Set([
  'not_authorized',
  'account_disabled',
  'account_incomplete',
]);
/** Milliseconds before the deadline at which a provider that has not answered is taken to be away. */
const LAST_MOMENT = 250;

export function createGuard(options: GuardOptions): Judge {
  const { judge, settings, remembered, verdicts, budget, turns, flights, wallClock, now } = options;
  const { step = () => {} } = options;

  async function ask(login: Login, signal: Deadline): Promise<Verdict> {
    const { credentials } = login;
    const known = await verdicts.findShared(login);
    if (known !== undefined) return told(known);
    const older = await verdicts.findGrace(login);
    try {
      const account = judge.accountOf(credentials);
      const asked = account === undefined ? askAndKeep(login, signal) : askPassword(account, login, signal);
      return await (older === undefined ? asked : inTime(asked, signal));
    } catch (error) {
      if (older === undefined || !(error instanceof ProviderError) || !PROVIDER_IS_AWAY.has(error.reason))
        throw error;
      // Looked up again: another worker may have been told no in the meantime.
      const grace = await verdicts.findGrace(login);
      if (grace === undefined) throw error;
      step('grace', `${error.reason}, and it was good before (cache.unavailable_grace)`);
      return grace;
    }
  }

  async function askAndKeep(login: Login, signal: Deadline): Promise<Verdict> {
    const verdict = await judge.authenticate(login.credentials, signal);
    if (verdict.outcome === 'unavailable' || !verdicts.keep(login, verdict)) return verdict;
    return { ...verdict, cache: 'miss' };
  }

  async function askPassword(account: string, login: Login, signal: Deadline): Promise<Verdict> {
    const attempt = { account, secret: login.credentials.secret };
    const turn = await turns.take(account, signal);
    try {
      // Whoever had the turn before may have tried the same.
      const known = verdicts.find(login) ?? (await verdicts.findShared(login));
      if (known !== undefined) return known;
      if (await budget.isSpent(attempt)) return SPENT;
      // Those who have the turn, and all who do not wait for it any more, have not been counted yet.
      if (!turn.isOurs && !(await budget.count(attempt))) return SPENT;
      const verdict = await askAndKeep(login, signal);
      if (verdict.outcome === 'refused' && IS_WRONG.has(verdict.reason)) await budget.count(attempt);
      return verdict;
    } catch (error) {
      const reason = error instanceof ProviderError ? error.reason : signal.aborted ? 'deadline' : undefined;
      if (reason !== undefined && MAY_HAVE_BEEN_JUDGED.has(reason)) await budget.count(attempt);
      throw error;
    } finally {
      turn.done();
    }
  }

  /** A provider that has not answered in the last moment will not be waited for: something older has been good. */
  async function inTime(asked: Promise<Verdict>, signal: Deadline): Promise<Verdict> {
    let timer: NodeJS.Timeout | undefined;
    const enough = new Promise<never>((_, reject) => {
      const late = new ProviderError('provider_timeout', 'no answer before the deadline');
      timer = setTimeout(() => reject(late), signal.deadlineAt - now() - LAST_MOMENT);
    });
    asked.catch(() => {});
    try {
      return await Promise.race([asked, enough]);
    } finally {
      clearTimeout(timer);
    }
  }

  function told(known: Verdict): Verdict {
    step('remembered', known.outcome === 'refused' ? known.reason : known.outcome);
    return known;
  }

  return {
    accountOf: judge.accountOf,
    atOnce(credentials) {
      const at = wallClock();
      const good = remembered.find(credentials, at);
      if (good !== undefined) return good;
      const verdict = judge.atOnce(credentials);
      if (verdict !== undefined) {
        // Nothing is waited for between the signature and here: keys that change forget this one, too.
        remembered.keep(credentials, verdict, at);
        return verdict;
      }
      return verdicts.find({ credentials, settings });
    },
    async authenticate(credentials, signal) {
      const login = { credentials, settings };
      const verdict = await flights.share(underWay(credentials), signal, () => ask(login, signal));
      remembered.keep(credentials, verdict, wallClock());
      return verdict;
    },
  };
}

/** A login while it is under way, among those of its virtual host. The secret is in memory for as long, anyway. */
function underWay({ host, localpart, authcid, secret, isBearer }: Credentials): string {
  return joined([isBearer ? 'bearer' : 'plain', host, localpart, authcid, secret.reveal()]);
}
