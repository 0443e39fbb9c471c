// One authorization server as the rest of the program sees it: what can be asked of it, with endpoints, client
// authentication, keys and connections taken care of.
import type { ProviderSettings } from '../config/provider-settings.ts';
import { type Refused, refused, type Secret } from '../verdict.ts';
import { type Authorize, type ClientAuth, canProveItself, clientAuth } from './client-auth.ts';
import { type OwnGrant, requestOwnToken } from './client-credentials.ts';
import type { Directory } from './directory.ts';
import { ProviderError } from './errors.ts';
import { createHttpClient, type Exchange, type HttpClient } from './http.ts';
import { type Introspection, requestIntrospection } from './introspection.ts';
import type { JsonObject } from './json.ts';
import type { Jwt } from './jwt.ts';
import { type KeySet, type SignatureFault, verifySignature } from './key-set.ts';
import type { EndpointName, Metadata } from './metadata.ts';
import { openIntrospection, openUserinfo, type Sealing } from './signed-answer.ts';
import { createStated } from './stated.ts';
import { type Granted, requestPasswordGrant, revokeToken } from './token-endpoint.ts';
import { requestUserinfo, type Userinfo } from './userinfo.ts';

export interface Provider {
  readonly settings: ProviderSettings;
  /** The issuer and the keys that its tokens must have, where both are here. Asks nobody, waits for nothing. */
  here(): { readonly issuer: string; readonly keys: KeySet } | undefined;
  /** The issuer that tokens must carry: from the settings or the metadata; `undefined` when neither says. */
  issuer(signal: AbortSignal): Promise<string | undefined>;
  /** The signature algorithms that its metadata names; none without metadata. */
  algorithms(signal: AbortSignal): Promise<readonly string[]>;
  /** A token for our client itself. Throws a ProviderError when there is none. */
  grantOwn(scope: string | undefined, signal: AbortSignal): Promise<OwnGrant>;
  /** Any other request, held to the same limits as those of logins. */
  readonly send: HttpClient['send'];
  grantPassword(login: PasswordLogin, signal: AbortSignal): Promise<Granted | Refused>;
  userinfo(token: string, signal: AbortSignal): Promise<Userinfo | Refused>;
  introspect(token: string, signal: AbortSignal): Promise<Introspection>;
  /** Whether it has an introspection endpoint that our client can prove itself to. */
  canIntrospect(signal: AbortSignal): Promise<boolean>;
  /** Whether it publishes keys at all; they are fetched. Throws a ProviderError when they cannot be had. */
  hasKeys(signal: AbortSignal): Promise<boolean>;
  /** Whether one of its keys has signed the token; `undefined` when one has. Throws a ProviderError without keys. */
  checkSignature(jwt: Jwt, signal: AbortSignal): Promise<SignatureFault | undefined>;
  /** Ends what a grant has left at the provider. Never throws, never waits for anything the login needs. */
  revoke(granted: Granted): Promise<void>;
  /** The URL in use, or `undefined`. Throws a ProviderError when the metadata cannot be had or names a bad one. */
  find(name: EndpointName, signal: AbortSignal): Promise<string | undefined>;
  /** The URL in use; throws a ProviderError that names the option when there is none. */
  endpoint(name: EndpointName, signal: AbortSignal): Promise<string>;
  metadata(signal: AbortSignal): Promise<Metadata>;
  /** Fetches metadata and keys before the first login needs them. Never throws. */
  warmUp(): Promise<void>;
  close(): void;
}

export interface PasswordLogin {
  readonly username: string;
  readonly password: Secret;
  readonly totp?: Secret | undefined;
}

export interface ProviderOptions {
  readonly settings: ProviderSettings;
  readonly directory: Directory;
  readonly observe?: ((exchange: Exchange) => void) | undefined;
  /** Put around the client that logins wait for; `way` is how it gets to the provider. */
  readonly guard?: (http: HttpClient, way: string) => HttpClient;
  /** Milliseconds of the wall clock. */
  readonly wallClock: () => number;
}

/** RFC 6750 section 2.1: what may stand in an Authorization header. */
const B64TOKEN = /^[A-Za-z0-9\-._~+/]+=*$/;

export function isB64Token(text: string): boolean {
  return B64TOKEN.test(text);
}

/** How long revocation may take: nobody waits for it, but it must not pile up. */
const REVOCATION_TIMEOUT = 10_000;
const REVOCATIONS = 4;

export function createProvider(options: ProviderOptions): Provider {
  const { settings, directory, observe, guard = (http) => http, wallClock } = options;
  const way = JSON.stringify([settings.http, settings.authorities, settings.certificate?.chain]);
  const http = guard(createHttpClient(settings.http, settings, { observe }), way);
  // A few connections of its own: a slow revocation must not hold up a login.
  const background = createHttpClient(settings.http, settings, { observe, connections: REVOCATIONS });
  const published = directory.of(settings);
  const authenticate = clientAuth(settings.client_auth_method, settings, wallClock);
  const authenticateToIntrospect = clientAuth(settings.introspection_auth_method, settings, wallClock);

  const { issuerNow, metadata, find, endpoint, issuer, keys, keysNow, keysOrThrow } = createStated(
    settings,
    published,
  );
  /** Whom an assertion of our client is made out to: the provider, by its own name where we know it. */
  const audienceAt = (url: string): string => issuerNow() ?? url;

  /** The client's proof to the endpoint at `url`. */
  function proof(method: ClientAuth, url: string): Authorize {
    return (form, headers) => method(form, headers, audienceAt(url));
  }

  /** What it takes to read an answer that the provider has signed. */
  async function sealing(host: string, signal: AbortSignal): Promise<Sealing> {
    const expected = await issuer(signal);
    if (expected === undefined)
      throw new ProviderError('not_configured', `${host} signs its answers: set issuer`);
    const { clock_skew } = settings;
    return { keys: await keysOrThrow(signal), issuer: expected, host, now: wallClock(), clock_skew };
  }

  return {
    settings,
    here() {
      const issuer = issuerNow();
      const keys = keysNow();
      return issuer === undefined || keys === undefined ? undefined : { issuer, keys };
    },
    find,
    endpoint,
    issuer,
    metadata,

    async algorithms(signal) {
      // Who has put the keys into a file names their algorithms, too.
      const asks = published.metadata !== undefined && settings.keys === undefined;
      return asks ? (await metadata(signal)).algorithms : [];
    },

    send: http.send,

    async grantOwn(scope, signal) {
      const url = await endpoint('token_endpoint', signal);
      return requestOwnToken({ endpoint: url, scope }, proof(authenticate, url), http, signal);
    },

    async grantPassword({ username, password, totp }, signal) {
      const url = await endpoint('token_endpoint', signal);
      const grant = { endpoint: url, username, password, totp, scope: settings.scope };
      return requestPasswordGrant(grant, proof(authenticate, url), http, signal);
    },

    async userinfo(token, signal) {
      const url = await endpoint('validation_endpoint', signal);
      if (!isB64Token(token))
        return refused('malformed_token', 'the token has characters that no bearer token has');
      const open = async (text: string): Promise<JsonObject> =>
        openUserinfo(text, await sealing(new URL(url).hostname, signal), signal);
      return requestUserinfo(url, token, http, open, signal);
    },

    async introspect(token, signal) {
      const url = await endpoint('introspection_endpoint', signal);
      const open = async (text: string): Promise<JsonObject> =>
        openIntrospection(text, await sealing(new URL(url).hostname, signal), settings.client_id, signal);
      const request = { endpoint: url, token, signed: settings.introspection_signed };
      return requestIntrospection(request, proof(authenticateToIntrospect, url), http, open, signal);
    },

    async canIntrospect(signal) {
      return (
        canProveItself(settings.introspection_auth_method, settings) &&
        (await find('introspection_endpoint', signal)) !== undefined
      );
    },

    async hasKeys(signal) {
      const source = await keys(signal);
      await source?.get(signal);
      return source !== undefined;
    },

    async checkSignature(jwt, signal) {
      return verifySignature(jwt, await keysOrThrow(signal), signal);
    },

    async revoke({ accessToken, refreshToken }) {
      try {
        const url = await endpoint('revocation_endpoint', AbortSignal.timeout(REVOCATION_TIMEOUT));
        const client = proof(authenticate, url);
        // The refresh token first: with it go the session and the access token (RFC 7009 section 2.1). Keycloak complains
        // in its log about an access token whose session has gone.
        const done =
          refreshToken !== undefined &&
          (await revokeToken(url, refreshToken, 'refresh_token', client, background).catch(() => false));
        if (!done) await revokeToken(url, accessToken, 'access_token', client, background);
      } catch {
        // The token expires by itself; the observer has seen the exchange.
      }
    },

    async warmUp() {
      const signal = AbortSignal.timeout(REVOCATION_TIMEOUT);
      // What fails here, the first login will say.
      const { validation, introspection_signed, passwords } = settings;
      // With keys of its own and nothing to ask, nobody is asked.
      if (validation !== 'jwt' || settings.keys === undefined || passwords)
        await metadata(signal).catch(() => {});
      const needsKeys = validation === 'auto' || validation.startsWith('jwt') || introspection_signed;
      if (!needsKeys) return;
      await keys(signal)
        .then((source) => source?.get(signal))
        .catch(() => {});
    },

    close() {
      http.close();
      background.close();
    },
  };
}
