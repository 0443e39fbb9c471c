// Starts Debian's glewlwyd on loopback, with a configuration, keys and a database of its own, and tells it through its
// administration API who and what there is.
import { execFileSync, spawn } from 'node:child_process';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { temporaryFolder } from '../../support/bridge.ts';
import { accepts, freePorts, within } from './ejabberd.ts';

const program = '/usr/bin/glewlwyd';
/** The tables as the package makes them, with this administrator in them. */
const tables = '/usr/share/dbconfig-common/data/glewlwyd/install/sqlite3';
const administrator = { username: 'admin', password: 'password' };
const modules = '/usr/lib/glewlwyd';

/** From cold; takes less than a second when nothing else runs. */
const startTimeout = 20_000;
const answerTimeout = 10_000;
const stopTimeout = 5000;

export type GlewlwydClient = 'xmpp' | 'other-app';

export interface GlewlwydToken {
  readonly access_token: string;
  readonly refresh_token: string;
  /** Only with the scope openid. */
  readonly id_token?: string;
}

export interface GlewlwydProvider {
  /** `http://127.0.0.1:PORT/api/oidc`. */
  readonly issuer: string;
  /** `http://127.0.0.1:PORT/api`. */
  readonly api: string;
  /** For `Authorization: token KEY` at the administration API. */
  readonly apiKey: string;
  /** Of the confidential clients. */
  readonly secrets: Readonly<Record<GlewlwydClient, string>>;
  /** What the password grant gives this user, or the one who is typed so; without a client, whoever asks. */
  token(user: string, options?: TokenOptions): Promise<GlewlwydToken>;
  /** What the client credentials grant gives: nobody's. */
  clientToken(client: GlewlwydClient): Promise<string>;
  revoke(token: string, client: GlewlwydClient): Promise<void>;
  enable(user: string, enabled: boolean): Promise<void>;
  /** How many tokens of this user are not revoked. */
  liveTokens(user: string): { access: number; refresh: number };
  stop(): Promise<void>;
}

export interface TokenOptions {
  readonly client?: GlewlwydClient | 'none';
  readonly scope?: string;
  readonly password?: string;
}

export interface GlewlwydOptions {
  /** Passwords by name. */
  users: Record<string, string>;
  /** Those of them who may not log in. */
  disabled?: string[];
}

/** Scopes that the users have, and both clients may ask for. The last is called like a client. */
const scopes = ['openid', 'profile', 'xmpp'];

/** Starts the provider and resolves when it serves. */
export async function startGlewlwyd({ users, disabled = [] }: GlewlwydOptions): Promise<GlewlwydProvider> {
  if (!existsSync(program) || !existsSync(tables))
    throw new Error('glewlwyd not found: these tests need the packages "glewlwyd" and "dbconfig-sqlite3"');
  const folder = temporaryFolder();
  const database = join(folder, 'database');
  const log = join(folder, 'log');
  const file = join(folder, 'glewlwyd.conf');
  const [port] = (await freePorts(1)) as [number];
  const origin = `http://127.0.0.1:${port}`;
  sqlite(readFileSync(tables, 'utf8'));
  writeFileSync(file, configuration({ port, origin, database, log }));

  const child = spawn(program, ['--config-file', file], { stdio: 'ignore', cwd: folder, env: {} });
  const closed = new Promise<void>((resolve) => child.once('close', () => resolve()));
  let ended = false;
  void closed.then(() => {
    ended = true;
  });
  const kill = () => void child.kill('SIGKILL');
  process.once('exit', kill);

  function sqlite(statements: string): string {
    return execFileSync('/usr/bin/sqlite3', [database], {
      input: `.timeout 5000\n${statements}`,
      encoding: 'utf8',
    });
  }

  async function stop(): Promise<void> {
    child.kill('SIGTERM');
    const timer = setTimeout(kill, stopTimeout);
    await closed;
    clearTimeout(timer);
    process.removeListener('exit', kill);
  }

  const api = `${origin}/api`;
  const issuer = `${api}/oidc`;
  const secrets = { xmpp: random(), 'other-app': random() };
  const send = (url: string, init: RequestInit) =>
    fetch(url, { signal: AbortSignal.timeout(answerTimeout), ...init });

  /** An answer of the administration API that has to be 200. */
  async function administer(method: string, path: string, headers: Record<string, string>, body?: unknown) {
    const response = await send(`${api}${path}`, {
      method,
      headers: { 'content-type': 'application/json', ...headers },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    if (response.status !== 200)
      throw new Error(`glewlwyd answered ${method} ${path} with ${response.status}: ${text}\n${logged()}`);
    return { text, cookie: response.headers.get('set-cookie')?.split(';')[0] ?? '' };
  }

  const logged = () => (existsSync(log) ? readFileSync(log, 'utf8').slice(-3000) : 'no log');
  const user = (username: string, enabled: boolean) => ({ username, enabled, scope: scopes });

  async function post(endpoint: string, form: Record<string, string>, client: GlewlwydClient | 'none') {
    const credentials = client === 'none' ? {} : { client_id: client, client_secret: secrets[client] };
    const body = new URLSearchParams({ ...form, ...credentials });
    const response = await send(`${issuer}/${endpoint}`, { method: 'POST', body });
    const text = await response.text();
    if (response.status !== 200)
      throw new Error(`glewlwyd answered ${endpoint} with ${response.status}: ${text}`);
    return text;
  }

  let apiKey = '';
  try {
    await within(startTimeout, async () => ended || (await accepts(port)));
    if (ended || !(await accepts(port))) throw new Error(`glewlwyd did not start: ${logged()}`);
    // Keys are made by an administrator who has logged in; everything else may be done with a key.
    const { cookie } = await administer('POST', '/auth/', {}, administrator);
    const made = await administer('POST', '/key/', { cookie });
    apiKey = (JSON.parse(made.text) as { key: string }).key;
    const authorization = `token ${apiKey}`;
    const add = (path: string, body: unknown) => administer('POST', path, { authorization }, body);
    for (const name of scopes.filter((each) => each !== 'openid'))
      await add('/scope/', { name, display_name: name, password_required: false, scheme: {} });
    await add('/mod/plugin/', plugin(issuer));
    for (const [client, secret] of Object.entries(secrets)) await add('/client/', clientOf(client, secret));
    for (const [username, password] of Object.entries(users))
      await add('/user/', { ...user(username, !disabled.includes(username)), password });
  } catch (error) {
    await stop();
    throw error;
  }

  return {
    issuer,
    api,
    apiKey,
    secrets,
    async token(username, { client = 'xmpp', scope = 'openid profile', password = users[username] } = {}) {
      const form = { grant_type: 'password', username, password: password ?? '', scope };
      return JSON.parse(await post('token', form, client)) as GlewlwydToken;
    },
    async clientToken(client) {
      const text = await post('token', { grant_type: 'client_credentials', scope: 'openid' }, client);
      return (JSON.parse(text) as GlewlwydToken).access_token;
    },
    async revoke(token, client) {
      await post('revoke', { token }, client);
    },
    async enable(username, enabled) {
      const path = `/user/${encodeURIComponent(username)}`;
      await administer('PUT', path, { authorization: `token ${apiKey}` }, user(username, enabled));
    },
    liveTokens(username) {
      const count = (kind: string, prefix: string) =>
        Number(
          sqlite(
            `SELECT count(*) FROM gpo_${kind}_token WHERE ${prefix}_username = '${username}' AND ${prefix}_enabled = 1;`,
          ),
        );
      return { access: count('access', 'gpoa'), refresh: count('refresh', 'gpor') };
    },
    stop,
  };
}

const random = () => `secret-${randomBytes(12).toString('hex')}`;

function configuration(values: { port: number; origin: string; database: string; log: string }): string {
  const { port, origin, database, log } = values;
  const kinds = { user: 'user', client: 'client', user_auth_scheme: 'scheme', plugin: 'plugin' };
  return [
    `port=${port}`,
    'bind_address="127.0.0.1"',
    // As it is shipped, with a slash: the endpoints then have two in their path.
    `external_url="${origin}/"`,
    'api_prefix="api"',
    'log_mode="file"',
    'log_level="INFO"',
    `log_file="${log}"`,
    'cookie_secure=0',
    'session_key="SESSION"',
    'admin_session_authentication="cookie,api_key"',
    'admin_scope="g_admin"',
    'profile_scope="g_profile"',
    ...Object.entries(kinds).map(([kind, name]) => `${kind}_module_path="${modules}/${name}"`),
    'hash_algorithm="SHA512"',
    `database = { type = "sqlite3", path = "${database}" };`,
    '',
  ].join('\n');
}

/** The OpenID Connect plugin, with the grants that it has off at first, and the user's name in tokens and at UserInfo. */
function plugin(iss: string): unknown {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const parameters = {
    iss,
    'jwt-type': 'rsa',
    'jwt-key-size': '256',
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }),
    cert: publicKey.export({ type: 'spki', format: 'pem' }),
    'access-token-duration': 3600,
    'allow-non-oidc': true,
    'auth-type-password-enabled': true,
    'auth-type-client-enabled': true,
    'auth-type-refresh-enabled': true,
    'jwks-show': true,
    'introspection-revocation-allowed': true,
    'introspection-revocation-allow-target-client': true,
    'subject-type': 'public',
    'additional-parameters': [{ 'user-parameter': 'username', 'token-parameter': 'preferred_username' }],
    claims: [{ name: 'preferred_username', 'user-property': 'username', type: 'string', mandatory: true }],
    'name-claim': 'no',
    'email-claim': 'no',
    'scope-claim': 'no',
  };
  return { module: 'oidc', name: 'oidc', display_name: 'oidc', enabled: true, parameters };
}

function clientOf(client_id: string, client_secret: string): unknown {
  return {
    client_id,
    client_secret,
    name: client_id,
    scope: scopes,
    confidential: true,
    enabled: true,
    authorization_type: ['password', 'client_credentials', 'refresh_token'],
    token_endpoint_auth_method: ['client_secret_basic', 'client_secret_post'],
  };
}
