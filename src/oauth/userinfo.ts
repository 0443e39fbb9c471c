// UserInfo (OpenID Connect Core section 5.3), or any endpoint that answers a bearer token with JSON about its user.
import { type Refused, refused } from '../verdict.ts';
import { ProviderError } from './errors.ts';
import type { HttpClient, HttpResponse } from './http.ts';
import { type JsonObject, parseJsonObject } from './json.ts';

export interface Userinfo {
  readonly claims: JsonObject;
}

/** `token` has been found to be a b64token: nothing else may get into a header. */
export async function requestUserinfo(
  endpoint: string,
  token: string,
  http: HttpClient,
  signal: AbortSignal,
): Promise<Userinfo | Refused> {
  const headers = { accept: 'application/json', authorization: `Bearer ${token}` };
  const response = await http.send({ method: 'GET', url: endpoint, headers }, signal);
  return judgeUserinfo(response, new URL(endpoint).hostname);
}

/** Pure. The claims, a refusal, or a ProviderError thrown for what is not the token's fault. */
export function judgeUserinfo({ status, headers, text }: HttpResponse, host: string): Userinfo | Refused {
  switch (status) {
    case 200:
      break;
    case 400:
    case 401:
    // What Mastodon says to a token that is a client's own.
    case 422:
      return refused(
        'token_inactive',
        `${host} does not accept the token: expired, revoked, or not a user's`,
      );
    case 403:
      return refused(
        'token_inactive',
        `${host} does not accept the token for this: does its scope have openid?`,
      );
    case 429:
      throw new ProviderError('provider_busy', `${host} asks for fewer requests (429)`);
    default:
      throw new ProviderError(
        'provider_error',
        `the UserInfo endpoint on ${host} answered with status ${status}: is validation_endpoint right?`,
      );
  }
  if (/^application\/jwt\b/i.test(String(headers['content-type'] ?? ''))) {
    throw new ProviderError(
      'provider_error',
      `${host} answers UserInfo with a signed JWT, which needs local keys: switch signed UserInfo off for this client`,
    );
  }
  const body = parseJsonObject(text);
  switch (body.kind) {
    case 'object':
      return { claims: body.value };
    case 'duplicate':
      return refused('malformed_token', `${host} answered with a name that occurs twice`);
    case 'other':
      throw new ProviderError(
        'provider_error',
        `the UserInfo endpoint on ${host} did not answer with a JSON object: is validation_endpoint right?`,
      );
  }
}
