// How our client proves itself to the provider (RFC 6749 section 2.3): a function that adds to a request.
import type { Secret } from '../verdict.ts';

export type ClientAuthMethod = 'post' | 'basic' | 'basic_raw' | 'none';

export interface ClientSettings {
  readonly client_id?: string | undefined;
  readonly clientSecret: Secret | undefined;
  readonly client_auth_method: ClientAuthMethod;
}

/** Adds the client's credentials to a form body or to the headers, never to both: two methods at once are an error. */
export type ClientAuth = (form: URLSearchParams, headers: Record<string, string>) => void;

export function clientAuth({ client_id, clientSecret, client_auth_method }: ClientSettings): ClientAuth {
  if (client_id === undefined) return () => {};
  switch (client_auth_method) {
    case 'none':
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
