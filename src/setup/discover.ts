// What a provider says of itself, as far as a configuration depends on it.
import { readFileSync } from 'node:fs';
import { createHttpClient } from '../oauth/http.ts';
import { type JsonObject, member } from '../oauth/json.ts';
import { isPlainHttp } from '../oauth/loopback.ts';
import { findDocument, wellKnown } from '../oauth/metadata.ts';
import { SetupError } from './files.ts';

export interface Discovery {
  /** As the provider spells it. */
  readonly issuer: string;
  /** Hosts of its endpoints beside the issuer's own. */
  readonly otherHosts: readonly string[];
  /** Undefined where it does not say. */
  readonly scopes: readonly string[] | undefined;
  readonly claims: readonly string[] | undefined;
  readonly grants: readonly string[] | undefined;
  readonly clientAuth: readonly string[] | undefined;
  readonly introspects: boolean;
  readonly hasKeys: boolean;
}

const HTTP = { connect_timeout: 1500, timeout: 3500, retries: 1, max_response_bytes: 1024 * 1024 };
const ENDPOINTS = [
  'token_endpoint',
  'userinfo_endpoint',
  'introspection_endpoint',
  'revocation_endpoint',
  'jwks_uri',
];

/** What somebody has typed or pasted, as an issuer: its metadata's address does, too. */
export function issuerFrom(typed: string): string {
  const url = /^https?:\/\//.test(typed) ? typed : `https://${typed}`;
  if (!URL.canParse(url)) throw new SetupError(`${typed} is no address: an issuer begins with https://`);
  if (isPlainHttp(url))
    throw new SetupError(`${typed} is not safe: secrets go there, so it must begin with https://`);
  return url
    .replace(/\/\.well-known\/openid-configuration$/, '')
    .replace(/\/\.well-known\/oauth-authorization-server/, '');
}

/** Throws a ProviderError or a SetupError that says what to try. */
export async function discover(issuer: string, caFile: string | undefined): Promise<Discovery> {
  const authorities = caFile === undefined ? undefined : readText(caFile);
  const http = createHttpClient(HTTP, { authorities, certificate: undefined });
  try {
    const { document, place } = await findDocument(wellKnown(issuer), http);
    const stated = member(document, 'issuer');
    // It is shown to somebody at a terminal.
    if (typeof stated !== 'string' || !/^[\x21-\x7e]+$/.test(stated) || !URL.canParse(stated)) {
      throw new SetupError(`${place} names no issuer: that is no provider's metadata`);
    }
    const own = new URL(stated).hostname;
    const hosts = ENDPOINTS.map((name) => member(document, name))
      .filter((url) => typeof url === 'string' && URL.canParse(url))
      .map((url) => new URL(url as string).hostname);
    return {
      issuer: stated,
      otherHosts: [...new Set(hosts)].filter((host) => host !== own),
      scopes: texts(document, 'scopes_supported'),
      claims: texts(document, 'claims_supported'),
      grants: texts(document, 'grant_types_supported'),
      clientAuth: texts(document, 'token_endpoint_auth_methods_supported'),
      introspects: typeof member(document, 'introspection_endpoint') === 'string',
      hasKeys: typeof member(document, 'jwks_uri') === 'string',
    };
  } finally {
    http.close();
  }
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new SetupError(`${file} cannot be read (${(error as NodeJS.ErrnoException).code})`);
  }
}

function texts(document: JsonObject, name: string): readonly string[] | undefined {
  const value = member(document, name);
  return Array.isArray(value) ? value.filter((each) => typeof each === 'string') : undefined;
}
