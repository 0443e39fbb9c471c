// What the server says of a login, in the words of the Dovecot authentication client protocol.
import { escapeValue } from './lines.ts';

/** Dovecot's words for what kind of no it is (auth-client-interface.h). */
export type FailureCode = 'temp_fail' | 'authz_fail' | 'auth_mech_invalid';

/** What a login comes to, in the words of this protocol. */
export type SaslOutcome =
  | { readonly outcome: 'accepted'; readonly user: string }
  | {
      readonly outcome: 'refused';
      readonly user?: string | undefined;
      readonly reason?: string | undefined;
      readonly code?: FailureCode | undefined;
      /** What a mechanism for tokens says before it fails: the error of RFC 7628 section 3.2.2, JSON. */
      readonly challenge?: string | undefined;
    }
  | {
      readonly outcome: 'unavailable';
      readonly user?: string | undefined;
      readonly reason?: string | undefined;
    };

/** Told of what came to no login: a line that is none, or a message that is none of its mechanism. */
export type SaslFault = 'malformed' | 'mechanism' | 'busy';

/** The yes, and who it is. */
export function succeeded(id: string, user: string): string {
  return `OK\t${id}\tuser=${escapeValue(user)}`;
}

interface Failure {
  readonly user?: string | undefined;
  readonly reason?: string | undefined;
  readonly code?: FailureCode | undefined;
}

/** A code says what version 1.1 said by a flag; clients look for the flag. */
export function failed(id: string, { user, reason, code }: Failure): string {
  const parameters = [
    ...(user === undefined ? [] : [`user=${escapeValue(user)}`]),
    ...(reason === undefined ? [] : [`reason=${escapeValue(reason)}`]),
    ...(code === undefined ? [] : [`code=${code}`]),
    ...(code === undefined || FLAGS[code] === undefined ? [] : [FLAGS[code]]),
  ];
  return ['FAIL', id, ...parameters].join('\t');
}

const FLAGS: Readonly<Record<FailureCode, string | undefined>> = {
  temp_fail: 'temp',
  authz_fail: 'authz',
  auth_mech_invalid: undefined,
};

export const FAULTS: Readonly<Record<SaslFault, Failure>> = {
  malformed: { reason: 'malformed' },
  mechanism: { reason: 'this mechanism is not offered', code: 'auth_mech_invalid' },
  busy: { reason: 'too many logins at a time', code: 'temp_fail' },
};
