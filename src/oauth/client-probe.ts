// What the token endpoint says to our client when it asks for a user that nobody is: an answer about the client, by which
// the doctor tells a wrong secret from a grant that is not allowed.
import type { ProviderSettings } from '../config/provider-settings.ts';
import type { Secret } from '../verdict.ts';
import { type ClientAuthMethod, clientAuth } from './client-auth.ts';
import { formRequest } from './form.ts';
import { createHttpClient } from './http.ts';
import { member, parseJsonObject } from './json.ts';

export type ClientAnswer =
  /** A token, for a user that nobody is. */
  | 'granted'
  /** The client is right, and the user is nobody: as it should be. */
  | 'no_such_user'
  | 'wrong_client'
  | 'grant_not_allowed'
  | 'grant_not_offered'
  | 'consent_required'
  | 'browser_required'
  | 'invalid_scope'
  | 'invalid_request'
  /** A 4xx without a reason that is known. */
  | 'refused_without_reason'
  | 'other';

export interface Probe {
  readonly settings: ProviderSettings;
  readonly method: ClientAuthMethod;
  readonly endpoint: string;
  /** Whom an assertion is made out to. */
  readonly audience: string;
  readonly username: string;
  readonly password: Secret;
  readonly wallClock: () => number;
}

export interface Probed {
  readonly answer: ClientAnswer;
  readonly status: number;
  /** The word of RFC 6749 section 5.2, where it is one. */
  readonly error: string | undefined;
}

/** Throws a ProviderError when there is no answer. */
export async function probeClient(probe: Probe, signal: AbortSignal): Promise<Probed> {
  const { settings, method, endpoint, audience, username, password, wallClock } = probe;
  const http = createHttpClient(settings.http, settings);
  const form = new URLSearchParams({ grant_type: 'password', username, password: password.reveal() });
  if (settings.scope !== '') form.set('scope', settings.scope);
  const prove = clientAuth(method, settings, wallClock);
  try {
    const request = formRequest(endpoint, form, (body, headers) => prove(body, headers, audience));
    const { status, text } = await http.send(request, signal);
    return { status, ...judge(status, text) };
  } finally {
    http.close();
  }
}

/** Pure. Texts for people are read, and never repeated. */
function judge(status: number, text: string): Omit<Probed, 'status'> {
  const body = parseJsonObject(text);
  const say = (name: string): string => {
    const value = body.kind === 'object' ? member(body.value, name) : undefined;
    return typeof value === 'string' ? value.slice(0, 500) : '';
  };
  if (status >= 200 && status < 300)
    return { answer: say('access_token') === '' ? 'other' : 'granted', error: undefined };
  if (status < 400 || status >= 500) return { answer: 'other', error: undefined };
  const error = say('error');
  const known = ANSWERS[error];
  if (known === undefined) {
    const plain = [400, 401, 403].includes(status);
    return { answer: plain ? 'refused_without_reason' : 'other', error: undefined };
  }
  // Keycloak says unauthorized_client to a wrong secret, too: with 401, and with 400 when the grant is not for this client.
  if (error === 'unauthorized_client' && status === 401) return { answer: 'wrong_client', error };
  // Entra ID says invalid_grant (AADSTS65001), other servers consent_required.
  if (error === 'invalid_grant' && /\bconsent|AADSTS65001/i.test(say('error_description')))
    return { answer: 'consent_required', error };
  return { answer: known, error };
}

const ANSWERS: Readonly<Record<string, ClientAnswer>> = {
  invalid_grant: 'no_such_user',
  access_denied: 'no_such_user',
  invalid_client: 'wrong_client',
  unauthorized_client: 'grant_not_allowed',
  unsupported_grant_type: 'grant_not_offered',
  consent_required: 'consent_required',
  interaction_required: 'browser_required',
  login_required: 'browser_required',
  mfa_required: 'browser_required',
  invalid_scope: 'invalid_scope',
  invalid_request: 'invalid_request',
};
