// A judge around a judge: whoever is accepted leaves a record, and must be who the localpart belongs to.
import type { Judge } from '../auth/authenticate.ts';
import { type Accepted, type Credentials, type Refused, refused, type Verdict } from '../verdict.ts';
import type { Seen, Users } from './users.ts';

export interface WithUsersOptions {
  readonly users: Users;
  /** Whether a localpart belongs to the first subject that logs in (`pin_subject`). */
  readonly pins: boolean;
  /** For the operator. The same text again is not said again. */
  readonly warn: (message: string) => void;
  /** Told of everybody who is let in. */
  readonly onAdmitted?: ((localpart: string, host: string) => void) | undefined;
}

export function withUsers(
  judge: Judge,
  { users, pins, warn, onAdmitted = () => {} }: WithUsersOptions,
): Judge {
  function seenOf({ host }: Credentials, { localpart, subject }: Accepted): Seen {
    if (pins && subject === undefined) warn(NO_SUBJECT);
    return { host, localpart, pin: pins ? (subject ?? 'unsaid') : undefined };
  }

  return {
    accountOf: judge.accountOf,
    atOnce(credentials) {
      const verdict = judge.atOnce(credentials);
      if (verdict?.outcome !== 'accepted') return verdict;
      // Else there is something to look up, or to write.
      return users.isAdmitted(seenOf(credentials, verdict)) ? verdict : undefined;
    },
    async authenticate(credentials, signal): Promise<Verdict> {
      const verdict = await judge.authenticate(credentials, signal);
      if (verdict.outcome !== 'accepted') return verdict;
      const isOwner = await users.admit(seenOf(credentials, verdict));
      if (!isOwner) return changed(credentials, verdict);
      onAdmitted(verdict.localpart, credentials.host);
      return verdict;
    },
  };
}

const NO_SUBJECT =
  'the provider says no sub: nobody can tell whether a name was given to somebody else in the meantime (pin_subject)';

function changed({ host }: Credentials, { localpart, method, subject }: Accepted): Refused {
  const has =
    subject === undefined
      ? 'says no subject of this name, and did before'
      : 'has another subject of this name than before';
  const detail = `the provider ${has}: if that is right, extauth-oauth users unpin ${localpart}@${host}`;
  return { ...refused('subject_changed', detail), method };
}
