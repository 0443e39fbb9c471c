// A request to one of the endpoints that our client proves itself to: the token endpoint, introspection, revocation.
import type { Authorize } from './client-auth.ts';
import type { HttpRequest, Purpose } from './http.ts';

/** `accept`: JSON unless said otherwise; left out, some servers answer with a page for people. */
export function formRequest(
  url: string,
  form: URLSearchParams,
  authenticateClient: Authorize,
  { purpose, accept = 'application/json' }: { readonly purpose?: Purpose; readonly accept?: string } = {},
): HttpRequest {
  const headers: Record<string, string> = { accept, 'content-type': 'application/x-www-form-urlencoded' };
  authenticateClient(form, headers);
  return { method: 'POST', url, purpose, headers, body: form.toString() };
}
