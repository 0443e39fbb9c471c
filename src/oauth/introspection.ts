// Token introspection (RFC 7662): the provider says whether a token is good, whose it is and for whom it was made.
import { type Refused, refused } from '../verdict.ts';
import type { Authorize } from './client-auth.ts';
import { ProviderError } from './errors.ts';
import { formRequest } from './form.ts';
import type { HttpClient, HttpResponse } from './http.ts';
import { type JsonObject, member, parseJsonObject } from './json.ts';

/** What is known of an active token. */
export interface Introspected {
  readonly claims: JsonObject;
}

/** `cannot_say`: the provider does not introspect tokens of this kind, which says nothing about the token. */
export type Introspection = Introspected | Refused | 'cannot_say';

export interface IntrospectionRequest {
  readonly endpoint: string;
  /** A b64token. */
  readonly token: string;
  /** Ask for a signed answer, and take no other (RFC 9701). */
  readonly signed: boolean;
}

const SIGNED = 'application/token-introspection+jwt';

/** `unseal` reads a signed answer: its `token_introspection`, or a ProviderError thrown. */
export async function requestIntrospection(
  { endpoint, token, signed }: IntrospectionRequest,
  authenticateClient: Authorize,
  http: HttpClient,
  unseal: (jwt: string) => Promise<JsonObject>,
  signal: AbortSignal,
): Promise<Introspection> {
  // No token_type_hint: there are servers that call a good token inactive for it.
  const form = new URLSearchParams({ token });
  const accept = signed ? SIGNED : 'application/json';
  const request = formRequest(endpoint, form, authenticateClient, { purpose: 'introspection', accept });
  const response = await http.send(request, signal);
  const { hostname: host } = response;
  const verdict = judgeStatus(response, host);
  if (verdict !== undefined) return verdict;
  const sealed = String(response.headers['content-type'] ?? '')
    .toLowerCase()
    .startsWith(SIGNED);
  if (signed && !sealed) {
    throw new ProviderError(
      'provider_error',
      `${host} answered introspection without a signature: introspection_signed wants one`,
    );
  }
  return judgeAnswer(
    sealed ? { kind: 'object', value: await unseal(response.text) } : parseJsonObject(response.text),
    host,
  );
}

/** `undefined` for an answer that is to be read. Every 4xx is about us: about the token the provider says 200. */
function judgeStatus({ status, text }: HttpResponse, host: string): Refused | 'cannot_say' | undefined {
  switch (status) {
    case 200:
      return undefined;
    case 400: {
      const body = parseJsonObject(text);
      // oidc-provider, of its own JWT access tokens.
      if (body.kind === 'object' && member(body.value, 'error') === 'unsupported_token_type')
        return 'cannot_say';
      throw refusesUs(status, host);
    }
    case 401:
    case 403:
      throw refusesUs(status, host);
    case 429:
      throw new ProviderError('provider_busy', `${host} asks for fewer requests (429)`);
    default:
      throw new ProviderError(
        'provider_error',
        `the introspection endpoint on ${host} answered with status ${status}: is introspection_endpoint right?`,
      );
  }
}

function refusesUs(status: number, host: string): ProviderError {
  return new ProviderError(
    'client_refused',
    `${host} does not let our client introspect tokens (${status}): check client_id, the client secret, introspection_auth_method, and that the client may do so there`,
  );
}

function judgeAnswer(body: ReturnType<typeof parseJsonObject>, host: string): Introspected | Refused {
  switch (body.kind) {
    case 'object':
      // The one boolean that counts, before anything else is read (RFC 7662 section 2.2).
      return member(body.value, 'active') === true
        ? { claims: withoutNulls(body.value) }
        : refused(
            'token_inactive',
            `${host} says that the token is not active: expired, revoked, or not for our client to ask about (Keycloak wants client_id in its aud)`,
          );
    case 'duplicate':
      return refused('malformed_token', `${host} answered with a name that occurs twice`);
    case 'other':
      throw new ProviderError(
        'provider_error',
        `the introspection endpoint on ${host} did not answer with a JSON object: is introspection_endpoint right?`,
      );
  }
}

/** Some servers write null for what they have nothing to say about. */
function withoutNulls(claims: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(claims).filter(([, value]) => value !== null));
}
