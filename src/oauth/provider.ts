// One authorization server as the rest of the program sees it: what can be asked of it, with endpoints, client
// authentication and connections taken care of.
import type { HostSettings } from '../config/host-settings.ts';
import { type Refused, refused, type Secret } from '../verdict.ts';
import { clientAuth } from './client-auth.ts';
import { ProviderError } from './errors.ts';
import { createHttpClient, type Exchange } from './http.ts';
import { createMetadataSource, type EndpointName, type Metadata } from './metadata.ts';
import { type Granted, requestPasswordGrant, revokeToken } from './token-endpoint.ts';
import { requestUserinfo, type Userinfo } from './userinfo.ts';

export interface Provider {
  /** The issuer that tokens must carry: from the settings or the metadata; `undefined` when neither says. */
  issuer(signal: AbortSignal): Promise<string | undefined>;
  grantPassword(username: string, password: Secret, signal: AbortSignal): Promise<Granted | Refused>;
  userinfo(token: string, signal: AbortSignal): Promise<Userinfo | Refused>;
  /** Ends what a grant has left at the provider. Never throws, never waits for anything the login needs. */
  revoke(granted: Granted): Promise<void>;
  /** The URL in use; throws a ProviderError that names the option when there is none. */
  endpoint(name: EndpointName, signal: AbortSignal): Promise<string>;
  metadata(signal: AbortSignal): Promise<Metadata>;
  /** Fetches the metadata before the first login needs it. Never throws. */
  warmUp(): Promise<void>;
  close(): void;
}

export interface ProviderOptions {
  readonly settings: HostSettings;
  readonly observe?: (exchange: Exchange) => void;
  /** Milliseconds of a monotonic clock. */
  readonly now: () => number;
}

/** RFC 6750 section 2.1: what may stand in an Authorization header. */
const B64TOKEN = /^[A-Za-z0-9\-._~+/]+=*$/;

export function isB64Token(text: string): boolean {
  return B64TOKEN.test(text);
}

/** How long revocation may take: nobody waits for it, but it must not pile up. */
const REVOCATION_TIMEOUT = 10_000;
const REVOCATIONS = 4;

export function createProvider({ settings, observe, now }: ProviderOptions): Provider {
  const http = createHttpClient(settings.http, settings.authorities, { observe });
  // A few connections of its own: a slow revocation must not hold up a login.
  const background = createHttpClient(settings.http, settings.authorities, {
    observe,
    connections: REVOCATIONS,
  });
  const metadata = createMetadataSource(settings, http, now);
  const authenticateClient = clientAuth(settings);
  const hasMetadata = settings.issuer !== undefined || settings.discovery_url !== undefined;

  async function endpoint(name: EndpointName, signal: AbortSignal): Promise<string> {
    const url = settings[name] ?? (hasMetadata ? (await metadata.get(signal)).endpoint(name) : undefined);
    if (url === undefined) {
      throw new ProviderError(
        'not_configured',
        `the provider's metadata names no ${name.replace('_', ' ')}: set ${name}`,
      );
    }
    return url;
  }

  return {
    endpoint,
    metadata: (signal) => metadata.get(signal),

    async issuer(signal) {
      return settings.issuer ?? (hasMetadata ? (await metadata.get(signal)).issuer : undefined);
    },

    async grantPassword(username, password, signal) {
      const grant = {
        endpoint: await endpoint('token_endpoint', signal),
        username,
        password,
        scope: settings.scope,
      };
      return requestPasswordGrant(grant, authenticateClient, http, signal);
    },

    async userinfo(token, signal) {
      const url = await endpoint('validation_endpoint', signal);
      if (!isB64Token(token))
        return refused('malformed_token', 'the token has characters that no bearer token has');
      return requestUserinfo(url, token, http, signal);
    },

    async revoke({ accessToken, refreshToken }) {
      try {
        const url = await endpoint('revocation_endpoint', AbortSignal.timeout(REVOCATION_TIMEOUT));
        // The refresh token first: with it goes, at most servers, the session and all that came of it.
        if (refreshToken !== undefined) {
          await revokeToken(url, refreshToken, 'refresh_token', authenticateClient, background).catch(
            () => {},
          );
        }
        await revokeToken(url, accessToken, 'access_token', authenticateClient, background);
      } catch {
        // The token expires by itself; the observer has seen the exchange.
      }
    },

    async warmUp() {
      if (!hasMetadata) return;
      await metadata.get(AbortSignal.timeout(REVOCATION_TIMEOUT)).catch(() => {});
    },

    close() {
      http.close();
      background.close();
    },
  };
}
