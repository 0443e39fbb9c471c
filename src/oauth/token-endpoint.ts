// The resource owner password credentials grant (RFC 6749 section 4.3) and revocation (RFC 7009): request and judgement.
// Real servers disagree about status codes and content types, so an answer is judged by what it means.
import { type Refused, refused, type Secret } from '../verdict.ts';
import type { Authorize } from './client-auth.ts';
import { ProviderError } from './errors.ts';
import { formRequest } from './form.ts';
import type { HttpClient, HttpResponse } from './http.ts';
import { type JsonObject, member, parseJsonObject } from './json.ts';

/** What a successful grant brings. All tokens are secrets; the first two are worth revoking. */
export interface Granted {
  readonly accessToken: string;
  readonly refreshToken: string | undefined;
  readonly idToken: string | undefined;
  /** What was granted, where the provider says so. */
  readonly scope: string | undefined;
}

export interface PasswordGrant {
  readonly endpoint: string;
  readonly username: string;
  readonly password: Secret;
  /** A one-time code, as Keycloak's direct grant wants it. */
  readonly totp: Secret | undefined;
  readonly scope: string;
}

export async function requestPasswordGrant(
  { endpoint, username, password, totp, scope }: PasswordGrant,
  authenticateClient: Authorize,
  http: HttpClient,
  signal: AbortSignal,
): Promise<Granted | Refused> {
  const form = new URLSearchParams({
    grant_type: 'password',
    username,
    // ejabberd passes the user's bytes, Prosody prepares them (RFC 4013): NFC makes the same password of both.
    password: password.reveal().normalize('NFC'),
  });
  if (totp !== undefined) form.set('totp', totp.reveal());
  // Left out, some servers refuse and others give a token that UserInfo does not take.
  if (scope !== '') form.set('scope', scope);
  const request = formRequest(endpoint, form, authenticateClient, { purpose: 'token endpoint' });
  const response = await http.send(request, signal);
  return judgePasswordGrant(response);
}

/** RFC 7009 section 2.1. Whether the provider says that it is done; the login has been decided, whatever the answer. */
export async function revokeToken(
  endpoint: string,
  token: string,
  kind: 'refresh_token' | 'access_token',
  authenticateClient: Authorize,
  http: HttpClient,
): Promise<boolean> {
  const form = new URLSearchParams({ token, token_type_hint: kind });
  const request = formRequest(endpoint, form, authenticateClient, { purpose: 'revocation' });
  const { status } = await http.send(request);
  return status === 200;
}

/** Pure. A refusal is a value; everything that is not the user's fault is thrown as a ProviderError. */
function judgePasswordGrant({ status, text, hostname: host }: HttpResponse): Granted | Refused {
  if (status === 429) throw new ProviderError('provider_busy', `${host} asks for fewer requests (429)`);
  if (status >= 200 && status < 300) return judgeSuccess(text, status, host);
  if (status < 400 || status >= 500 || status === 404 || status === 405) {
    throw new ProviderError(
      'provider_error',
      `the token endpoint on ${host} answered with status ${status}: is token_endpoint right?`,
    );
  }
  const body = parseJsonObject(text);
  const error = body.kind === 'object' ? member(body.value, 'error') : undefined;
  if (typeof error === 'string' && body.kind === 'object') {
    const known = judgeError(error, body.value, host);
    if (known !== undefined) return known;
  }
  // Some servers say no with an empty body; a wrong client secret may look the same there.
  if (status === 400 || status === 401 || status === 403) {
    return refused('not_authorized', `${host} answered ${status} and gave no reason that is known`);
  }
  throw new ProviderError('provider_error', `the token endpoint on ${host} answered with status ${status}`);
}

function judgeSuccess(answer: string, status: number, host: string): Granted {
  const body = parseJsonObject(answer);
  const accessToken = body.kind === 'object' ? member(body.value, 'access_token') : undefined;
  if (body.kind !== 'object' || typeof accessToken !== 'string' || accessToken === '') {
    throw new ProviderError(
      'provider_error',
      `the token endpoint on ${host} answered ${status} without an access token: is token_endpoint right?`,
    );
  }
  const type = member(body.value, 'token_type');
  // Missing at some servers; any other type needs a proof that a bearer cannot give (RFC 6749 section 7.1).
  if (type !== undefined && (typeof type !== 'string' || type.toLowerCase() !== 'bearer')) {
    throw new ProviderError('provider_error', `${host} gave a token that is not a bearer token`);
  }
  const text = (name: string): string | undefined => {
    const value = member(body.value, name);
    return typeof value === 'string' && value !== '' ? value : undefined;
  };
  return {
    accessToken,
    refreshToken: text('refresh_token'),
    idToken: text('id_token'),
    scope: text('scope'),
  };
}

/** RFC 6749 section 5.2 and what servers have added. `undefined` for an error that is not known. */
function judgeError(error: string, body: JsonObject, host: string): Refused | undefined {
  switch (error) {
    case 'invalid_grant':
      return judgeInvalidGrant(member(body, 'error_description'));
    case 'access_denied':
      return refused('not_authorized', `${host} denies this user access`);
    case 'interaction_required':
    case 'login_required':
    case 'consent_required':
    case 'mfa_required':
      return refused('account_incomplete', `${host} wants the user to act in a browser first (${error})`);
    case 'invalid_client':
    case 'unauthorized_client':
      throw new ProviderError(
        'client_refused',
        `${host} refuses our client (${error}): check client_id, the client secret, client_auth_method, and that the client may use the password grant there`,
      );
    case 'unsupported_grant_type':
      throw new ProviderError(
        'client_refused',
        `${host} does not offer the password grant (${error}): use tokens, and set resource_owner_password: false`,
      );
    case 'invalid_scope':
      throw new ProviderError('client_refused', `${host} does not know the scope (${error}): check scope`);
    case 'invalid_request':
      throw new ProviderError(
        'client_refused',
        `${host} does not understand our request (${error}): check client_auth_method, scope, and that the client may use the password grant there`,
      );
    case 'invalid_target':
      throw new ProviderError('client_refused', `${host} wants another resource (${error})`);
    case 'slow_down':
    case 'temporarily_unavailable':
      throw new ProviderError('provider_busy', `${host} is busy (${error})`);
    case 'server_error':
      throw new ProviderError('provider_error', `${host} has an error of its own (${error})`);
    default:
      return undefined;
  }
}

/** The description is for people, and the only place where servers say why. It is read, and never repeated. */
function judgeInvalidGrant(description: unknown): Refused {
  const text = typeof description === 'string' ? description.slice(0, 500) : '';
  if (
    /not fully set ?up|required action|must (?:change|update) (?:your )?password|password (?:has )?expired|not (?:yet )?(?:verified|activated|confirmed)/i.test(
      text,
    )
  ) {
    return refused(
      'account_incomplete',
      'the provider wants the user to finish the account in a browser first',
    );
  }
  if (/\b(?:disabled|deactivated|suspended|blocked|locked)\b/i.test(text)) {
    return refused('account_disabled', 'the provider has disabled or locked the account');
  }
  return refused(
    'not_authorized',
    'the provider does not accept this name and password (an opaque token? then credential: token, or token_prefix)',
  );
}
