// UserInfo (OpenID Connect Core section 5.3), or any endpoint that answers a bearer token with JSON about its user.
import { type Refused, refused } from '../verdict.ts';
import { ProviderError } from './errors.ts';
import type { HttpClient, HttpResponse } from './http.ts';
import { type JsonObject, parseJsonObject } from './json.ts';

export interface Userinfo {
  readonly claims: JsonObject;
}

/**
 * `token` has been found to be a b64token: nothing else may get into a header. `unseal` reads a signed answer: its
 * claims, or a ProviderError thrown.
 */
export async function requestUserinfo(
  endpoint: string,
  token: string,
  http: HttpClient,
  unseal: (jwt: string) => Promise<JsonObject>,
  signal: AbortSignal,
): Promise<Userinfo | Refused> {
  const headers = { accept: 'application/json', authorization: `Bearer ${token}` };
  const response = await http.send({ method: 'GET', url: endpoint, purpose: 'UserInfo', headers }, signal);
  const { hostname: host } = response;
  const refusal = judgeStatus(response.status, host);
  if (refusal !== undefined) return refusal;
  if (/^application\/jwt\b/i.test(String(response.headers['content-type'] ?? '')))
    return { claims: await unseal(response.text) };
  return judgeAnswer(response.text, host);
}

/** `undefined` for an answer that is to be read. */
function judgeStatus(status: HttpResponse['status'], host: string): Refused | undefined {
  switch (status) {
    case 200:
      return undefined;
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
}

function judgeAnswer(text: string, host: string): Userinfo | Refused {
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
