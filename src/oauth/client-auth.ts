// How our client proves itself to the provider (RFC 6749 section 2.3, RFC 7523, RFC 8705): a function that adds to a request.
import type { Secret } from '../verdict.ts';
import { type ClientKey, signAssertion } from './client-key.ts';

export type ClientAuthMethod = 'post' | 'basic' | 'basic_raw' | 'private_key_jwt' | 'tls' | 'none';

export interface ClientCredentials {
  readonly client_id?: string | undefined;
  readonly clientSecret: Secret | undefined;
  readonly clientKey: ClientKey | undefined;
}

/** Adds the client's credentials to a form body or to the headers, never to both: two methods at once are an error. */
export type Authorize = (form: URLSearchParams, headers: Record<string, string>) => void;

/** The same; `audience` is whom an assertion is made out to: the provider's own name for itself, or the endpoint's URL. */
export type ClientAuth = (form: URLSearchParams, headers: Record<string, string>, audience: string) => void;

/** `wallClock` in milliseconds. */
export function clientAuth(
  method: ClientAuthMethod,
  { client_id, clientSecret, clientKey }: ClientCredentials,
  wallClock: () => number,
): ClientAuth {
  if (client_id === undefined) return () => {};
  switch (method) {
    case 'none':
    // The certificate is shown in the TLS handshake; the form only says whose it is (RFC 8705 section 2).
    case 'tls':
      return (form) => form.set('client_id', client_id);
    case 'post':
      // Without a secret this is a public client, which only says who it is.
      return (form) => {
        form.set('client_id', client_id);
        if (clientSecret !== undefined) form.set('client_secret', clientSecret.reveal());
      };
    case 'basic':
      return basic(formEncode(client_id), formEncode(clientSecret?.reveal() ?? ''));
    case 'basic_raw':
      return basic(client_id, clientSecret?.reveal() ?? '');
    case 'private_key_jwt':
      return (form, _headers, audience) => {
        form.set('client_id', client_id);
        if (clientKey === undefined) return;
        form.set('client_assertion_type', 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer');
        const claims = { clientId: client_id, audience, now: wallClock() };
        form.set('client_assertion', signAssertion(clientKey, claims));
      };
  }
}

/** Whether the method has what it needs to prove anything: without, nobody may introspect a token (RFC 7662 section 2.1). */
export function canProveItself(
  method: ClientAuthMethod,
  { client_id, clientSecret, clientKey }: ClientCredentials,
): boolean {
  if (client_id === undefined) return false;
  switch (method) {
    case 'none':
      return false;
    case 'post':
    case 'basic':
    case 'basic_raw':
      return clientSecret !== undefined;
    case 'private_key_jwt':
      return clientKey !== undefined;
    case 'tls':
      return true;
  }
}

function basic(id: string, secret: string): ClientAuth {
  const authorization = `Basic ${Buffer.from(`${id}:${secret}`).toString('base64')}`;
  return (_form, headers) => {
    headers.authorization = authorization;
  };
}

/** application/x-www-form-urlencoded, as RFC 6749 section 2.3.1 wants id and secret before they are joined. */
function formEncode(value: string): string {
  return new URLSearchParams([['', value]]).toString().slice(1);
}
