// A token of our client's own: the client credentials grant (RFC 6749 section 4.4), and keeping what it brings.
import type { Authorize } from './client-auth.ts';
import { ProviderError } from './errors.ts';
import { formRequest } from './form.ts';
import type { HttpClient } from './http.ts';
import { member, parseJsonObject } from './json.ts';

export interface OwnGrant {
  readonly accessToken: string;
  /** Milliseconds. */
  readonly lifetime: number;
}

export interface OwnToken {
  /** Throws a ProviderError when there is none to be had. */
  get(signal: AbortSignal): Promise<string>;
  /** It was not taken. Whether another one may be. */
  drop(token: string): boolean;
}

/** What a header can hold of it. */
const VISIBLE = /^[\x21-\x7e]+$/;
/** Of a token whose answer does not say how long it lives (RFC 6749 section 5.1 only recommends it). */
const UNSAID = 60_000;
/** It is renewed after this part of its life. */
const MOST = 0.9;
/**
 * Milliseconds for which a token is new: where it is not taken, its age is not why. A directory that takes none would else
 * cost a token for each question, until the token endpoint has enough of us and of the logins with us.
 */
const NEW = 10_000;

export async function requestOwnToken(
  { endpoint, scope }: { readonly endpoint: string; readonly scope: string | undefined },
  authenticateClient: Authorize,
  http: HttpClient,
  signal: AbortSignal,
): Promise<OwnGrant> {
  const form = new URLSearchParams({ grant_type: 'client_credentials' });
  if (scope !== undefined) form.set('scope', scope);
  const request = formRequest(endpoint, form, authenticateClient, { purpose: 'token endpoint' });
  const response = await http.send(request, signal);
  const { status, hostname: host } = response;
  const body = parseJsonObject(response.text);
  const read = (name: string): unknown => (body.kind === 'object' ? member(body.value, name) : undefined);
  if (status === 429) throw new ProviderError('provider_busy', `${host} asks for fewer requests (429)`);
  if (status === 400 || status === 401 || status === 403) {
    const error = read('error');
    const word = typeof error === 'string' && /^[a-z_]{1,40}$/.test(error) ? error : `status ${status}`;
    throw new ProviderError(
      'client_refused',
      `${host} gives our client no token of its own (${word}): check client_id, the client secret, and that the client may use the client credentials grant there (Keycloak: service accounts), or give user_lookup.token_file`,
    );
  }
  const accessToken = read('access_token');
  if (status < 200 || status > 299 || typeof accessToken !== 'string' || !VISIBLE.test(accessToken)) {
    throw new ProviderError(
      'provider_error',
      `the token endpoint on ${host} answered with status ${status} and no token: is token_endpoint right?`,
    );
  }
  const seconds = Number(read('expires_in'));
  return { accessToken, lifetime: seconds > 0 ? seconds * 1000 : UNSAID };
}

/** `now`: milliseconds of a monotonic clock. */
export function createOwnToken(
  grant: (signal: AbortSignal) => Promise<OwnGrant>,
  now: () => number,
): OwnToken {
  let current: { readonly token: string; readonly since: number; readonly until: number } | undefined;
  let coming: Promise<string> | undefined;

  async function renew(signal: AbortSignal): Promise<string> {
    const startedAt = now();
    const { accessToken, lifetime } = await grant(signal);
    current = { token: accessToken, since: startedAt, until: startedAt + lifetime * MOST };
    return accessToken;
  }

  return {
    async get(signal) {
      if (current !== undefined && now() < current.until) return current.token;
      coming ??= renew(signal).finally(() => {
        coming = undefined;
      });
      return coming;
    },
    drop(token) {
      // Several may have been refused with the same one: the first has got another for all.
      if (current?.token !== token) return true;
      if (now() - current.since < NEW) return false;
      current = undefined;
      return true;
    },
  };
}
