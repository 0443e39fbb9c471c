// The provider's metadata: OpenID Connect Discovery 1.0 section 4 and RFC 8414. It decides where secrets are sent, so
// its `issuer` must be ours to the byte, and the endpoints it names must be where we expect them.
import { ProviderError } from './errors.ts';
import type { HttpClient, HttpResponse } from './http.ts';
import { type JsonObject, member, parseJsonObject } from './json.ts';
import { isPlainHttp } from './loopback.ts';
import { createFailures, untilAborted } from './shared.ts';

export type EndpointName =
  | 'token_endpoint'
  | 'validation_endpoint'
  | 'introspection_endpoint'
  | 'revocation_endpoint'
  | 'jwks_uri';

export interface MetadataSettings {
  readonly issuer?: string | undefined;
  readonly discovery_url?: string | undefined;
  readonly trusted_endpoint_hosts?: readonly string[] | undefined;
  readonly http: { readonly allow_http: boolean };
}

export interface Metadata {
  /** The provider's identity as its metadata states it: what `iss` of its tokens must be. */
  readonly issuer: string;
  /** Signature algorithms that it says its tokens have; empty where it says nothing. */
  readonly algorithms: readonly string[];
  /**
   * The endpoint's URL, or `undefined` where the metadata names none. Throws when it names one that cannot be trusted.
   * `mutualTls`: the address for clients that show a certificate, where there is one (RFC 8705 section 5).
   */
  endpoint(name: EndpointName, options?: { readonly mutualTls: boolean }): string | undefined;
}

export interface MetadataSource {
  /** The metadata there is, if there is some. Looks for newer in the background when it is old. */
  now(): Metadata | undefined;
  /** The metadata, fetched when there is none or it is old. Throws a ProviderError when there is none to be had. */
  get(signal: AbortSignal): Promise<Metadata>;
}

/** Endpoints hardly ever move; a reload or a restart asks at once. */
const LIFETIME = 3_600_000;
const RETRY = 30_000;

const MEMBER: Readonly<Record<EndpointName, string>> = {
  token_endpoint: 'token_endpoint',
  validation_endpoint: 'userinfo_endpoint',
  introspection_endpoint: 'introspection_endpoint',
  revocation_endpoint: 'revocation_endpoint',
  jwks_uri: 'jwks_uri',
};

const SUFFIX = '/.well-known/openid-configuration';

/** One request at a time, shared by all who wait; old metadata serves while newer is fetched or not to be had. */
export function createMetadataSource(
  settings: MetadataSettings,
  http: HttpClient,
  now: () => number,
): MetadataSource {
  let known: Metadata | undefined;
  let freshUntil = 0;
  let pending: Promise<Metadata> | undefined;
  const failures = createFailures(now);

  function fetchShared(): Promise<Metadata> {
    if (pending !== undefined) return pending;
    const startedAt = now();
    pending = fetchMetadata(settings, http)
      .then(
        (metadata) => {
          freshUntil = now() + LIFETIME;
          failures.succeeded();
          known = metadata;
          return metadata;
        },
        (error: unknown) => {
          freshUntil = now() + RETRY;
          failures.failed(error, startedAt);
          throw error;
        },
      )
      .finally(() => {
        pending = undefined;
      });
    return pending;
  }

  function current(): Metadata | undefined {
    if (known !== undefined && now() >= freshUntil) fetchShared().catch(() => {});
    return known;
  }

  return {
    now: current,
    async get(signal) {
      const found = current();
      if (found !== undefined) return found;
      const recent = failures.recent();
      if (recent !== undefined && pending === undefined) throw recent;
      return untilAborted(fetchShared(), signal);
    },
  };
}

async function fetchMetadata(settings: MetadataSettings, http: HttpClient): Promise<Metadata> {
  const { issuer, discovery_url } = settings;
  const places = discovery_url === undefined ? wellKnown(issuer ?? '') : [discovery_url];
  const { document, place } = await findDocument(places, http);
  return judge(document, place, settings);
}

/** The first of `places` that has metadata, and what it says, unjudged. Throws a ProviderError when none has. */
export async function findDocument(
  places: readonly string[],
  http: HttpClient,
): Promise<{ readonly document: JsonObject; readonly place: string }> {
  for (const place of places) {
    const response = await followOnce(place, http);
    if (response.status >= 500) {
      throw new ProviderError(
        'provider_error',
        `${hostOf(place)} answered discovery with status ${response.status}`,
      );
    }
    if (response.status === 429) throw new ProviderError('provider_busy', `${hostOf(place)} is busy (429)`);
    const body = response.status === 200 ? parseJsonObject(response.text) : undefined;
    // Some servers answer a path they do not know with their login page and 200.
    if (body?.kind === 'object') return { document: body.value, place };
  }
  throw new ProviderError(
    'not_configured',
    `no metadata at ${places.join(' nor at ')}: is issuer right? Else name the endpoints one by one`,
  );
}

/** OpenID Connect appends, RFC 8414 section 3.1 inserts. A final slash of the issuer is not part of either path. */
export function wellKnown(issuer: string): string[] {
  const { origin, pathname } = new URL(issuer);
  const path = pathname.replace(/\/$/, '');
  return [`${origin}${path}${SUFFIX}`, `${origin}/.well-known/oauth-authorization-server${path}`];
}

/** At most one redirect, within the origin: Django's final slash. Nothing secret is on its way here. */
async function followOnce(url: string, http: HttpClient): Promise<HttpResponse> {
  const headers = { accept: 'application/json' };
  const response = await http.send({ method: 'GET', url, purpose: 'metadata', headers });
  if (response.status < 300 || response.status >= 400) return response;
  const { location } = response.headers;
  const target =
    typeof location === 'string' && URL.canParse(location, url) ? new URL(location, url) : undefined;
  if (target?.origin !== new URL(url).origin) return response;
  return http.send({ method: 'GET', url: target.href, purpose: 'metadata', headers });
}

function judge(document: JsonObject, place: string, settings: MetadataSettings): Metadata {
  const stated = member(document, 'issuer');
  const expected = settings.issuer ?? issuerOf(place, stated);
  if (typeof stated !== 'string' || stated !== expected) {
    throw new ProviderError(
      'not_configured',
      `the metadata at ${place} is of issuer ${printable(stated)}, not of ${printable(expected)}: set issuer to the provider's own spelling`,
    );
  }
  const trusted = new Set(
    [stated, settings.discovery_url]
      .filter((url) => url !== undefined && URL.canParse(url))
      .map((url) => new URL(url as string).hostname)
      .concat(settings.trusted_endpoint_hosts ?? []),
  );
  const judged = new Map<string, string | undefined>();
  const aliases = member(document, 'mtls_endpoint_aliases');
  const stating = member(document, 'id_token_signing_alg_values_supported');
  return {
    issuer: stated,
    algorithms: Array.isArray(stating) ? stating.filter((name) => typeof name === 'string') : [],
    endpoint(name, { mutualTls } = { mutualTls: false }) {
      const key = `${name} ${mutualTls}`;
      if (!judged.has(key)) judged.set(key, judgeEndpoint(name, mutualTls));
      return judged.get(key);
    },
  };

  function judgeEndpoint(name: EndpointName, mutualTls: boolean): string | undefined {
    const alias =
      mutualTls && typeof aliases === 'object' && aliases !== null
        ? member(aliases as JsonObject, MEMBER[name])
        : undefined;
    const url = alias ?? member(document, MEMBER[name]);
    if (url === undefined || url === null) return undefined;
    if (typeof url !== 'string' || !URL.canParse(url)) {
      throw new ProviderError(
        'not_configured',
        `the metadata at ${place} names no proper ${MEMBER[name]}: set ${name}`,
      );
    }
    const { hostname } = new URL(url);
    if (!trusted.has(hostname)) {
      throw new ProviderError(
        'not_configured',
        `the metadata at ${place} names a ${MEMBER[name]} on ${hostname}: if that is right, add it to trusted_endpoint_hosts, or set ${name}`,
      );
    }
    if (
      !url.startsWith('https:') &&
      !(url.startsWith('http:') && (settings.http.allow_http || !isPlainHttp(url)))
    ) {
      throw new ProviderError(
        'not_configured',
        `the metadata at ${place} names a ${MEMBER[name]} without https: set ${name}`,
      );
    }
    return url;
  }
}

/** Without `issuer`, the discovery URL says it: the issuer and the well-known path, with or without a slash between. */
function issuerOf(place: string, stated: unknown): string | undefined {
  if (!place.endsWith(SUFFIX)) return undefined;
  const issuer = place.slice(0, -SUFFIX.length);
  return stated === `${issuer}/` ? stated : issuer;
}

function hostOf(url: string): string {
  return new URL(url).hostname;
}

function printable(value: unknown): string {
  return typeof value === 'string' ? JSON.stringify(value.slice(0, 200)) : 'none';
}
