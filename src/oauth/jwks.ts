// The key set at an address (RFC 7517 section 5), fetched and bounded.
import { ProviderError } from './errors.ts';
import type { HttpClient } from './http.ts';
import { parseJsonObject } from './json.ts';
import { readJwkSet } from './jwk.ts';
import type { KeySet } from './key-set.ts';

/** Real sets have one to ten keys, with certificates 2 KB each. */
const MAX_BYTES = 256 * 1024;
const MAX_KEYS = 100;

export async function fetchKeySet(url: string, http: HttpClient): Promise<KeySet> {
  const headers = { accept: 'application/jwk-set+json, application/json' };
  const { status, text, hostname } = await http.send({
    method: 'GET',
    url,
    purpose: 'keys',
    headers,
    limit: MAX_BYTES,
  });
  if (status === 429) throw new ProviderError('provider_busy', `${hostname} asks for fewer requests (429)`);
  const set = status === 200 ? parseKeySet(text) : undefined;
  if (set === undefined) {
    throw new ProviderError(
      'provider_error',
      `${hostname} answered ${status} and no set of at most ${MAX_KEYS} keys: is jwks_uri right?`,
    );
  }
  return set;
}

/** `undefined` for what is no key set, or one of more keys than anybody needs. */
export function parseKeySet(text: string): KeySet | undefined {
  const body = parseJsonObject(text);
  const keys = body.kind === 'object' ? readJwkSet(body.value) : undefined;
  return keys === undefined || keys.length > MAX_KEYS ? undefined : { text, keys };
}
