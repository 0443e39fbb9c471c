// A real authorization server for the tests: oidc-provider in this process, on the loopback interface, with the
// password grant, which the library leaves to its users, and users that a test may change while it runs.
import { createHash, randomBytes, type X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { Adapter, Client, Context, Provider as OidcProvider, Payload } from 'oidc-provider';
import { createSigner } from './signer.ts';

export interface TestUser {
  password: string;
  /** Default: an id made from the name, which tells nobody who it is. */
  sub?: string;
  disabled?: boolean;
  /** A one-time code that is wanted beside the password. */
  totp?: string;
  email?: string;
  email_verified?: boolean;
}

export interface TestClient {
  readonly id: string;
  readonly secret: string | undefined;
  /** The private key of a client that proves itself by one, PEM. */
  readonly key?: string;
}

export interface ProviderOptions {
  /** Default: any free one. */
  port?: number;
  /** Makes the issuer one with a path, such as `/realms/a`; everything else then is a 404. */
  path?: string;
  /** By name, which is their `preferred_username`; text is a password. Default: `defaultUsers`. */
  users?: Record<string, TestUser | string>;
  /** Milliseconds that every answer takes longer. */
  latency?: number;
  /** PEM; makes the issuer an https one. `ca`: whose client certificates it takes. */
  tls?: { key: string; cert: string; ca?: string };
  /** Algorithms that tokens may be signed with, each with a key of its own. Default: RS256. */
  algorithms?: readonly string[];
  /** Seconds. */
  accessTokenTtl?: number;
}

export interface TokenOptions {
  /** Seconds; a negative one makes a token that has expired. */
  ttl?: number;
  /** Who obtained it: a key of `clients`. */
  client?: ClientName;
  scope?: string;
  /** oidc-provider takes JWTs neither at UserInfo nor for introspection or revocation: they are for local validation. */
  format?: 'opaque' | 'jwt';
  /** `aud` of a JWT. */
  audience?: string;
  /** `alg` of a JWT: one of the provider's. */
  algorithm?: string;
  /** Characters of an opaque token, 43 or more. */
  length?: number;
}

export interface SeenRequest {
  readonly method: string;
  readonly path: string;
  /** 0 until it has been answered. */
  status: number;
}

export interface TestProvider {
  readonly issuer: string;
  readonly port: number;
  /** The client with the password grant and client_secret_post. */
  readonly clientId: string;
  readonly clientSecret: string;
  readonly clients: Readonly<Record<ClientName, TestClient>>;
  /** Live: what is changed here holds for the next request. */
  readonly users: Record<string, TestUser>;
  readonly endpoints: Readonly<
    Record<'token' | 'userinfo' | 'introspection' | 'revocation' | 'jwks', string>
  >;
  readonly requests: SeenRequest[];
  /** An access token as the password grant would give it, without a request. */
  token(user: string, options?: TokenOptions): Promise<string>;
  /** Takes an opaque token back, and all that was granted with it. */
  revoke(token: string): Promise<void>;
  /** Access and refresh tokens that are stored and not expired (a JWT is not stored), of one user or of all. */
  tokensAlive(user?: string): number;
  setLatency(milliseconds: number): void;
  /** Ends at once, whoever is connected. */
  stop(): Promise<void>;
  /** Stops if need be and listens again on the same port; users, keys and tokens stay. */
  restart(): Promise<void>;
  /** Restarts with new keys, under new names or under the old ones; users and opaque tokens stay. */
  rotateKeys(options: { sameKid: boolean }): Promise<void>;
}

export type ClientName =
  | 'post'
  | 'basic'
  | 'reserved'
  | 'withoutPassword'
  | 'public'
  | 'other'
  | 'key'
  | 'certificate'
  | 'signed';

/** Names and passwords that differ from each other in more than one character. */
export const defaultUsers: Readonly<Record<string, TestUser>> = {
  alice: { password: 'alice-Wonder-4711', email: 'alice@corp.example', email_verified: true },
  bob: { password: 'bob builds & 100% fixes+', email: 'bob@corp.example', email_verified: false },
  carol: { password: 'carol:colon:12', email: 'carol@corp.example' },
  dave: { password: 'dave-disabled-33', disabled: true },
  jörg: { password: 'jörgs Paßwort €5' },
  'erin@corp.example': { password: 'erin-by-mail-7', email: 'erin@corp.example', email_verified: true },
};

/** Of the certificate that the client `certificate` shows. */
export const certificateSubject = 'CN=extauth-oauth test';

export const jwtAudience = 'urn:example:xmpp';

const SCOPES = ['openid', 'profile', 'email', 'offline_access'];
const DAY = 24 * 60 * 60;
/** Node's own 16 KiB would refuse the longest tokens before oidc-provider sees them. */
const MAX_HEADER_SIZE = 64 * 1024;

export async function startProvider(options: ProviderOptions = {}): Promise<TestProvider> {
  const { path = '', tls, accessTokenTtl = 300, algorithms = ['RS256'] } = options;
  const users = Object.fromEntries(
    Object.entries(options.users ?? defaultUsers).map(([name, user]) => [
      name,
      typeof user === 'string' ? { password: user } : { ...user },
    ]),
  );
  let latency = options.latency ?? 0;
  const { Provider, errors } = await quietly(() => import('oidc-provider'));
  const store = createStore();
  const requests: SeenRequest[] = [];
  const clients = createClients();

  let handle: (request: IncomingMessage, response: ServerResponse) => void = () => {};
  const front = (request: IncomingMessage, response: ServerResponse): void => {
    const seen: SeenRequest = { method: request.method ?? '', path: pathOf(request.url), status: 0 };
    requests.push(seen);
    response.on('finish', () => {
      seen.status = response.statusCode;
    });
    if (!mount(request, path)) {
      response.writeHead(404).end();
    } else if (latency > 0) {
      setTimeout(() => handle(request, response), latency);
    } else {
      handle(request, response);
    }
  };
  const server =
    tls === undefined
      ? createServer({ maxHeaderSize: MAX_HEADER_SIZE }, front)
      : createTlsServer(
          { maxHeaderSize: MAX_HEADER_SIZE, ...tls, requestCert: true, rejectUnauthorized: false },
          front,
        );

  async function listen(port: number): Promise<number> {
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
    return (server.address() as AddressInfo).port;
  }

  async function stop(): Promise<void> {
    if (!server.listening) return;
    const closed = once(server, 'close');
    server.close();
    server.closeAllConnections();
    await closed;
  }

  const port = await listen(options.port ?? 0);
  const issuer = `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}${path}`;
  const makeKeys = (kids: readonly string[]): SigningKey[] =>
    algorithms.map((alg, index) => signingKey(alg, kids[index] ?? randomBytes(8).toString('hex')));
  let keys = makeKeys([]);
  let provider = createOidcProvider();

  function createOidcProvider(): OidcProvider {
    const created = new Provider(issuer, configuration());
    created.on('server_error', (_, error) => console.error('test provider:', error));
    created.registerGrantType('password', passwordGrant, ['username', 'password', 'scope', 'totp']);
    handle = created.callback();
    return created;
  }

  function configuration(): object {
    return {
      adapter: store.adapter,
      clients: Object.values(clients).map((client) => client.metadata),
      jwks: { keys },
      enabledJWA: { userinfoSigningAlgValues: ['RS256'], introspectionSigningAlgValues: ['RS256'] },
      cookies: { keys: [randomBytes(16).toString('hex')] },
      scopes: SCOPES,
      claims: { openid: ['sub'], profile: ['preferred_username'], email: ['email', 'email_verified'] },
      clientAuthMethods: [
        'client_secret_basic',
        'client_secret_post',
        'private_key_jwt',
        'tls_client_auth',
        'none',
      ],
      // Without this a token is good for 15 seconds after its end.
      clockTolerance: 0,
      ttl: {
        AccessToken: accessTokenTtl,
        RefreshToken: DAY,
        IdToken: 3600,
        Grant: DAY,
        Session: DAY,
        Interaction: 3600,
        ClientCredentials: 300,
      },
      features: {
        devInteractions: { enabled: false },
        introspection: { enabled: true, allowedPolicy: () => true },
        revocation: { enabled: true, allowedPolicy: ownTokensOnly },
        clientCredentials: { enabled: true },
        jwtIntrospection: { enabled: true },
        jwtUserinfo: { enabled: true },
        mTLS: {
          enabled: true,
          tlsClientAuth: true,
          getCertificate: (context: Context) => certificateOf(context),
          certificateAuthorized: ({ req }: Context) => (req.socket as TLSSocket).authorized,
          certificateSubjectMatches: (context: Context, _: string, expected: string) =>
            certificateOf(context)?.subject === expected,
        },
        resourceIndicators: {
          enabled: true,
          defaultResource: () => undefined,
          getResourceServerInfo: resourceServer,
        },
      },
      clientBasedCORS: () => false,
      renderError: (context: Context, out: object) => {
        context.body = out;
      },
      findAccount: (_: unknown, sub: string) => {
        const found = Object.entries(users).find(([name, user]) => subOf(name, user) === sub);
        if (found === undefined || found[1].disabled) return undefined;
        return { accountId: sub, claims: () => ({ sub, ...claimsOf(found[0], found[1]) }) };
      },
      // In introspection and in JWTs; UserInfo asks findAccount.
      extraTokenClaims: (_: unknown, token: Payload) => {
        const found = Object.entries(users).find(([name, user]) => subOf(name, user) === token.accountId);
        return found && { username: found[0], ...claimsOf(found[0], found[1]) };
      },
    };
  }

  async function passwordGrant(context: Context): Promise<void> {
    const { client, params } = context.oidc;
    const { username, password } = params;
    if (username === undefined || password === undefined) {
      throw new errors.InvalidRequest('missing required parameter(s) username or password');
    }
    // Names and passwords are stored in NFC and compared byte by byte: whoever sends NFD is not known here.
    const found = Object.entries(users).find(([name]) => name.normalize('NFC') === username);
    if (found === undefined) throw new errors.InvalidGrant('no such user');
    const [name, user] = found;
    if (user.disabled) throw new errors.CustomOIDCProviderError('invalid_grant', 'Account disabled');
    if (user.password.normalize('NFC') !== password) throw new errors.InvalidGrant('wrong password');
    if (user.totp !== params.totp) throw new errors.InvalidGrant('wrong one-time code');

    const asked = (params.scope ?? '').split(' ');
    const scope = SCOPES.filter((known) => asked.includes(known)).join(' ');
    const accountId = subOf(name, user);
    const grantId = await saveGrant(accountId, client, scope);
    const input = { accountId, client, grantId, gty: 'password', scope };
    const accessToken = new provider.AccessToken(input);
    const body: Record<string, unknown> = {
      access_token: await accessToken.save(),
      expires_in: accessToken.expiration,
      token_type: 'Bearer',
      ...(scope === '' ? {} : { scope }),
    };
    if (asked.includes('offline_access') && client.grantTypeAllowed('refresh_token')) {
      body.refresh_token = await new provider.RefreshToken(input).save();
    }
    if (asked.includes('openid')) {
      const idToken = new provider.IdToken({ sub: accountId, ...claimsOf(name, user) }, { ctx: context });
      idToken.scope = scope;
      body.id_token = await idToken.issue({ use: 'idtoken' });
    }
    context.body = body;
  }

  /** UserInfo refuses a token whose grant is not stored. */
  async function saveGrant(accountId: string, client: Client, scope: string): Promise<string> {
    const grant = new provider.Grant({ accountId, clientId: client.clientId });
    grant.addOIDCScope(scope);
    return grant.save();
  }

  const at = (place: string): string => issuer + place;
  return {
    issuer,
    port,
    clientId: clients.post.id,
    clientSecret: clients.post.secret ?? '',
    clients,
    users,
    endpoints: {
      token: at('/token'),
      userinfo: at('/me'),
      introspection: at('/token/introspection'),
      revocation: at('/token/revocation'),
      jwks: at('/jwks'),
    },
    requests,
    async token(
      name,
      { ttl = accessTokenTtl, client: which = 'post', scope, format, audience, length, algorithm } = {},
    ) {
      const user = users[name];
      const client = await provider.Client.find(clients[which].id);
      if (user === undefined || client === undefined)
        throw new Error(`no user ${name} or no client ${which}`);
      const accountId = subOf(name, user);
      const granted = scope ?? 'openid profile email';
      const grantId = await saveGrant(accountId, client, granted);
      const token = new provider.AccessToken({
        accountId,
        client,
        grantId,
        gty: 'password',
        scope: granted,
        expiresIn: ttl,
        ...(format === 'jwt'
          ? {
              resourceServer: new provider.ResourceServer(audience ?? jwtAudience, resourceServer(algorithm)),
            }
          : {}),
        ...(length === undefined ? {} : { jti: randomBytes(length).toString('base64url').slice(0, length) }),
      });
      // A token that brings its own id has not been told its format.
      if (length !== undefined) Object.assign(token, { format: 'opaque' });
      return token.save();
    },
    async revoke(token) {
      store.revoke(token);
    },
    tokensAlive(name) {
      const user = name === undefined ? undefined : users[name];
      if (name !== undefined && user === undefined) return 0;
      return store.tokensAlive(name === undefined || user === undefined ? undefined : subOf(name, user));
    },
    setLatency(milliseconds) {
      latency = milliseconds;
    },
    stop,
    async restart() {
      await stop();
      await listen(port);
    },
    async rotateKeys({ sameKid }) {
      await stop();
      keys = makeKeys(sameKid ? keys.map(({ kid }) => kid) : []);
      provider = createOidcProvider();
      await listen(port);
    },
  };
}

function ownTokensOnly(_: unknown, client: Client, token: Payload): boolean {
  return token.clientId === client.clientId;
}

/** oidc-provider hands its own context as the first argument when it asks. */
function resourceServer(alg: unknown = 'RS256'): object {
  const algorithm = typeof alg === 'string' ? alg : 'RS256';
  return { scope: SCOPES.join(' '), accessTokenFormat: 'jwt', jwt: { sign: { alg: algorithm } } };
}

function certificateOf({ req }: Context): X509Certificate | undefined {
  return (req.socket as TLSSocket).getPeerX509Certificate?.();
}

function subOf(name: string, user: TestUser): string {
  return user.sub ?? createHash('sha256').update(name).digest('hex').slice(0, 20);
}

function claimsOf(name: string, { email, email_verified }: TestUser): object {
  return {
    preferred_username: name,
    ...(email === undefined ? {} : { email }),
    ...(email_verified === undefined ? {} : { email_verified }),
  };
}

function createClients(): Record<ClientName, TestClient & { metadata: object }> {
  const client = (
    id: string,
    secret: string | undefined,
    more: object = {},
  ): TestClient & { metadata: object } => ({
    id,
    secret,
    metadata: {
      client_id: id,
      ...(secret === undefined ? {} : { client_secret: secret }),
      grant_types: ['password', 'refresh_token', 'client_credentials'],
      response_types: [],
      redirect_uris: [],
      ...more,
    },
  });
  const generated = (): string => randomBytes(24).toString('base64url');
  const assertionKey = createSigner('ES256', 'assertions');
  return {
    post: client('xmpp', generated(), { token_endpoint_auth_method: 'client_secret_post' }),
    basic: client('xmpp-basic', generated(), { token_endpoint_auth_method: 'client_secret_basic' }),
    // Every character that form encoding, Basic's colon or base64 treats in a way of its own.
    reserved: client('xmpp-reserved', ` %41+:/?&=#~"<>${generated()}`, {
      token_endpoint_auth_method: 'client_secret_basic',
    }),
    withoutPassword: client('xmpp-without-password', generated(), { grant_types: ['client_credentials'] }),
    public: client('xmpp-public', undefined, {
      token_endpoint_auth_method: 'none',
      grant_types: ['password', 'refresh_token'],
    }),
    other: client('other-app', generated()),
    key: {
      ...client('xmpp-key', undefined, {
        token_endpoint_auth_method: 'private_key_jwt',
        jwks: { keys: [assertionKey.jwk] },
      }),
      key: String(assertionKey.privateKey.export({ type: 'pkcs8', format: 'pem' })),
    },
    certificate: client('xmpp-certificate', undefined, {
      token_endpoint_auth_method: 'tls_client_auth',
      tls_client_auth_subject_dn: certificateSubject,
    }),
    signed: client('xmpp-signed', generated(), {
      token_endpoint_auth_method: 'client_secret_post',
      userinfo_signed_response_alg: 'RS256',
      introspection_signed_response_alg: 'RS256',
    }),
  };
}

interface SigningKey {
  readonly kid: string;
  readonly [member: string]: unknown;
}

function signingKey(alg: string, kid: string): SigningKey {
  return { ...createSigner(alg).privateKey.export({ format: 'jwk' }), kid, use: 'sig', alg };
}

/** A store that forgets nothing by itself: the library's own keeps 1000 entries, and cannot be looked into. */
function createStore(): {
  adapter: (model: string) => Adapter;
  revoke(token: string): void;
  tokensAlive(accountId?: string): number;
} {
  const models = new Map<string, Map<string, Payload>>();
  const entriesOf = (model: string): Map<string, Payload> => {
    const entries = models.get(model) ?? new Map<string, Payload>();
    models.set(model, entries);
    return entries;
  };
  const tokens = (): Map<string, Payload>[] => [entriesOf('AccessToken'), entriesOf('RefreshToken')];

  function forgetGrant(entries: Map<string, Payload>, grantId: string): void {
    for (const [id, payload] of entries) if (payload.grantId === grantId) entries.delete(id);
  }

  return {
    adapter(model) {
      const entries = entriesOf(model);
      return {
        async upsert(id, payload) {
          entries.set(id, payload);
        },
        find: async (id) => entries.get(id),
        findByUid: async (uid) => [...entries.values()].find((payload) => payload.uid === uid),
        findByUserCode: async (code) => [...entries.values()].find((payload) => payload.userCode === code),
        async consume(id) {
          const payload = entries.get(id);
          if (payload !== undefined) payload.consumed = Math.floor(Date.now() / 1000);
        },
        async destroy(id) {
          entries.delete(id);
        },
        async revokeByGrantId(grantId) {
          forgetGrant(entries, grantId);
        },
      };
    },
    revoke(token) {
      const grantId = tokens()
        .find((entries) => entries.has(token))
        ?.get(token)?.grantId;
      for (const entries of tokens()) {
        entries.delete(token);
        if (grantId !== undefined) forgetGrant(entries, grantId);
      }
    },
    tokensAlive(accountId) {
      const now = Date.now() / 1000;
      return tokens()
        .flatMap((entries) => [...entries.values()])
        .filter(
          (payload) =>
            (payload.exp ?? 0) > now && (accountId === undefined || payload.accountId === accountId),
        ).length;
    },
  };
}

/** Takes the issuer's path off a request's URL; false for a URL that is not below it. */
function mount(request: IncomingMessage & { originalUrl?: string }, path: string): boolean {
  if (path === '') return true;
  const url = request.url ?? '';
  // RFC 8414 section 3.1 puts the path behind the well-known part instead of before it.
  const inserted = `/.well-known/oauth-authorization-server${path}`;
  const inner =
    url === inserted
      ? inserted.slice(0, -path.length)
      : url.startsWith(`${path}/`)
        ? url.slice(path.length)
        : undefined;
  if (inner === undefined) return false;
  request.url = inner;
  // oidc-provider finds out from the two where it is mounted.
  request.originalUrl = path + inner;
  return true;
}

function pathOf(url = ''): string {
  return url.split('?', 1)[0] ?? '';
}

/** oidc-provider warns about Node 20 while it is loaded. It runs there; whoever reads a test's output need not know. */
async function quietly<Value>(load: () => Promise<Value>): Promise<Value> {
  const { warn } = console;
  console.warn = () => {};
  try {
    return await load();
  } finally {
    console.warn = warn;
  }
}
