// A real Keycloak on loopback, with its database in memory and two realms that have the same users and clients. It is
// started and ended here, and managed by its own admin API.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { createHmac, randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { atExit } from '../../support/at-exit.ts';
import { root, temporaryFolder } from '../../support/bridge.ts';
import {
  audienceScope,
  audienceScopeRepresentation,
  type ClientKey,
  clientSecrets,
  createClientKey,
  passwords,
  type RealmOptions,
  realmRepresentation,
  totpKey,
  type UserName,
} from './keycloak-realm.ts';

/** Downloading, unpacking and building, where that has to be done. */
const fetchTimeout = 600_000;
/** 16 s on two CPUs; three times that where Keycloak has to be built first. */
const startTimeout = 120_000;
const stopTimeout = 10_000;
const requestTimeout = 20_000;
/** The exit code of .ci/keycloak that says that there is none to be had. */
const notToBeHad = 3;
/** Of the log, the last so many characters. */
const logKept = 200_000;

/** What ends a test run early. */
const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

export interface Tokens {
  readonly access_token: string;
  readonly refresh_token: string;
  readonly id_token: string;
}

export interface PasswordGrant {
  /** Default: the right one. */
  password?: string;
  /** Default: `openid profile`. */
  scope?: string;
  totp?: string;
}

export interface OAuthAnswer {
  readonly status: number;
  readonly body: Record<string, unknown>;
}

export interface Realm {
  readonly issuer: string;
  /** Posts a form to an endpoint as one of the clients that have a secret; default: `xmpp`. */
  post(endpoint: keyof typeof endpoints, form: Form, client?: SecretClient): Promise<OAuthAnswer>;
  /** The password grant; throws when Keycloak refuses it. */
  tokens(user: UserName, client: SecretClient, options?: PasswordGrant): Promise<Tokens>;
  /** An access token of the client's own. */
  serviceToken(client: SecretClient, scope?: string): Promise<string>;
  /** Ends all sessions of the user. */
  logOut(user: UserName): Promise<void>;
  /** How many sessions the user has. */
  sessions(user: UserName): Promise<number>;
  /** Adds a key with which everything is signed from now on; the old ones stay valid, or go. Resolves with its kid. */
  rotateKeys(old?: 'keep' | 'remove'): Promise<string>;
  /** What the brute force detection thinks of the user. */
  failures(user: UserName): Promise<{ locked: boolean; count: number }>;
  unlock(user: UserName): Promise<void>;
  /** The admin API below `/admin/realms/REALM`. */
  admin(method: string, path: string, body?: unknown): Promise<unknown>;
}

export interface Keycloak {
  /** The realm of the tests. */
  readonly realm: Realm;
  /** Another one, with the same users, clients and secrets, which locks accounts after wrong passwords. */
  readonly otherRealm: Realm;
  readonly clientKey: ClientKey;
  /** What Keycloak has written, or the end of it. */
  log(): string;
  /** Ends it; kills it when it takes too long. */
  stop(): Promise<void>;
}

export type SecretClient = keyof typeof clientSecrets;
type Form = Record<string, string>;

/** Below the issuer. */
const endpoints = {
  token: '/protocol/openid-connect/token',
  introspection: '/protocol/openid-connect/token/introspect',
  revocation: '/protocol/openid-connect/revoke',
} as const;

/** The folder of the distribution: KEYCLOAK_HOME, or what .ci/keycloak gets; `undefined` when there is none to be had. */
export function findKeycloak(): string | undefined {
  const { KEYCLOAK_HOME } = process.env;
  if (KEYCLOAK_HOME) {
    if (existsSync(join(KEYCLOAK_HOME, 'bin/kc.sh'))) return KEYCLOAK_HOME;
    throw new Error(`KEYCLOAK_HOME has no bin/kc.sh: ${KEYCLOAK_HOME}`);
  }
  const { status, stdout, stderr, error } = spawnSync(join(root, '.ci/keycloak'), {
    encoding: 'utf8',
    timeout: fetchTimeout,
  });
  if (status === notToBeHad) return undefined;
  const folder = stdout?.trimEnd().split('\n').at(-1);
  if (status !== 0 || !folder)
    throw new Error(`.ci/keycloak failed (${status}): ${stderr}`, { cause: error });
  return folder;
}

/** Starts Keycloak and resolves when both realms are there. */
export async function startKeycloak(home: string): Promise<Keycloak> {
  const folder = temporaryFolder();
  const port = await freePort();
  const origin = `http://127.0.0.1:${port}`;
  const adminSecret = randomBytes(16).toString('hex');
  // The build options are those of .ci/keycloak; what has been built with others is built again.
  const options = ['--db=dev-mem', '--cache=local', '--http-enabled=true', '--hostname-strict=false'];
  const address = ['--http-host=127.0.0.1', `--http-port=${port}`];
  const child = spawn(
    join(home, 'bin/kc.sh'),
    [
      'start',
      ...options,
      ...address,
      `-Djava.io.tmpdir=${folder}`,
      `-Dquarkus.transaction-manager.object-store.directory=${folder}/transactions`,
      `-Duser.home=${folder}`,
    ],
    {
      cwd: folder,
      // A process group of its own: kc.sh is a shell that starts Java.
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      // No more of our environment than that: every KC_ variable in it would be an option.
      env: {
        PATH: process.env.PATH ?? '',
        HOME: folder,
        ...(process.env.JAVA_HOME ? { JAVA_HOME: process.env.JAVA_HOME } : {}),
        KC_BOOTSTRAP_ADMIN_CLIENT_ID: 'admin',
        KC_BOOTSTRAP_ADMIN_CLIENT_SECRET: adminSecret,
      },
    },
  );
  const { log, ended, exited, kill } = watch(child);

  async function stop(): Promise<void> {
    if (ended()) return;
    signalGroup(child, 'SIGTERM');
    const timer = setTimeout(kill, stopTimeout);
    await exited;
    clearTimeout(timer);
  }

  const started = await within(startTimeout, () => ended() || answers(`${origin}/realms/master`));
  if (!started || ended()) {
    kill();
    await exited;
    throw new Error(`Keycloak did not start; log:\n${log()}`);
  }
  const admin = createAdmin(origin, 'admin', adminSecret);
  const clientKey = createClientKey();
  try {
    await createRealm('chat', { clientKey, locking: false }, admin);
    await createRealm('other', { clientKey, locking: true }, admin);
  } catch (error) {
    await stop();
    throw new Error(`Keycloak does not take the realms; log:\n${log()}`, { cause: error });
  }
  return {
    realm: realmAt(origin, 'chat', admin),
    otherRealm: realmAt(origin, 'other', admin),
    clientKey,
    log,
    stop,
  };
}

/** Otto's one-time password of the moment (RFC 6238, six digits). */
export function totp(now: number = Date.now()): string {
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(Math.floor(now / 30_000)));
  const mac = createHmac('sha1', totpKey).update(counter).digest();
  const offset = (mac.at(-1) ?? 0) & 0xf;
  return String((mac.readUInt32BE(offset) & 0x7fffffff) % 1_000_000).padStart(6, '0');
}

/** Resolves with true as soon as `condition` holds, with false when it does not within `ms` milliseconds. */
export async function within(ms: number, condition: () => boolean | Promise<boolean>): Promise<boolean> {
  const until = Date.now() + ms;
  while (!(await condition())) {
    if (Date.now() > until) return false;
    await sleep(100);
  }
  return true;
}

async function createRealm(name: string, options: RealmOptions, admin: Admin): Promise<void> {
  await admin('POST', '', realmRepresentation(name, options));
  await admin('POST', `/${name}/client-scopes`, audienceScopeRepresentation());
  const scopes = (await admin('GET', `/${name}/client-scopes`)) as { id: string; name: string }[];
  const scope = scopes.find((each) => each.name === audienceScope);
  const clients = (await admin('GET', `/${name}/clients`)) as { id: string; clientId: string }[];
  for (const { id } of clients.filter(({ clientId }) => clientId in clientSecrets || clientId === 'xmpp-key'))
    await admin('PUT', `/${name}/clients/${id}/optional-client-scopes/${scope?.id}`);
}

function realmAt(origin: string, name: string, root: Admin): Realm {
  const issuer = `${origin}/realms/${name}`;
  const admin: Admin = (method, path, body) => root(method, `/${name}${path}`, body);

  async function post(
    endpoint: keyof typeof endpoints,
    form: Form,
    client: SecretClient = 'xmpp',
  ): Promise<OAuthAnswer> {
    const body = new URLSearchParams({ ...form, client_id: client, client_secret: clientSecrets[client] });
    const response = await fetch(issuer + endpoints[endpoint], { method: 'POST', body, signal: deadline() });
    const text = await response.text();
    return { status: response.status, body: text === '' ? {} : JSON.parse(text) };
  }

  async function tokens(
    user: UserName,
    client: SecretClient,
    { password = passwords[user], scope = 'openid profile', totp }: PasswordGrant = {},
  ): Promise<Tokens> {
    const form = { grant_type: 'password', username: user, password, scope, ...(totp ? { totp } : {}) };
    const { status, body } = await post('token', form, client);
    if (status !== 200) throw new Error(`no tokens for ${user}: ${status} ${JSON.stringify(body)}`);
    return body as unknown as Tokens;
  }

  async function serviceToken(client: SecretClient, scope = 'openid profile'): Promise<string> {
    const { status, body } = await post('token', { grant_type: 'client_credentials', scope }, client);
    if (status !== 200) throw new Error(`no token for ${client}: ${status} ${JSON.stringify(body)}`);
    return String(body.access_token);
  }

  async function userId(user: UserName): Promise<string> {
    const path = `/users?exact=true&username=${encodeURIComponent(user)}`;
    const [found] = (await admin('GET', path)) as { id: string }[];
    if (found === undefined) throw new Error(`Keycloak has no user ${user}`);
    return found.id;
  }

  async function rotateKeys(old: 'keep' | 'remove' = 'keep'): Promise<string> {
    const type = 'org.keycloak.keys.KeyProvider';
    const before = (await admin('GET', `/components?type=${type}`)) as KeyProvider[];
    const signing = before.filter(({ providerId }) => providerId === 'rsa-generated');
    const priority = 1 + Math.max(...signing.map(({ config }) => Number(config.priority?.[0] ?? 0)));
    await admin('POST', '/components', {
      name: `rsa-${priority}`,
      providerId: 'rsa-generated',
      providerType: type,
      parentId: name,
      config: { priority: [String(priority)], enabled: ['true'], active: ['true'], keySize: ['2048'] },
    });
    if (old === 'remove') for (const { id } of signing) await admin('DELETE', `/components/${id}`);
    const { active } = (await admin('GET', '/keys')) as { active: Record<string, string> };
    return String(active.RS256);
  }

  return {
    issuer,
    post,
    tokens,
    serviceToken,
    logOut: async (user) => void (await admin('POST', `/users/${await userId(user)}/logout`)),
    sessions: async (user) => ((await admin('GET', `/users/${await userId(user)}/sessions`)) as []).length,
    rotateKeys,
    async failures(user) {
      const path = `/attack-detection/brute-force/users/${await userId(user)}`;
      const { disabled, numFailures } = (await admin('GET', path)) as Record<string, unknown>;
      return { locked: disabled === true, count: Number(numFailures) };
    },
    unlock: async (user) =>
      void (await admin('DELETE', `/attack-detection/brute-force/users/${await userId(user)}`)),
    admin,
  };
}

interface KeyProvider {
  readonly id: string;
  readonly providerId: string;
  readonly config: Record<string, string[]>;
}

type Admin = (method: string, path: string, body?: unknown) => Promise<unknown>;

/** The admin API below `/admin/realms`. */
function createAdmin(origin: string, client_id: string, client_secret: string): Admin {
  let token: { value: string; until: number } | undefined;

  async function bearer(): Promise<string> {
    if (token === undefined || Date.now() > token.until) {
      const body = new URLSearchParams({ grant_type: 'client_credentials', client_id, client_secret });
      const url = `${origin}/realms/master/protocol/openid-connect/token`;
      const response = await fetch(url, { method: 'POST', body, signal: deadline() });
      const answer = (await response.json()) as { access_token: string; expires_in: number };
      if (!response.ok) throw new Error(`no admin token: ${response.status} ${JSON.stringify(answer)}`);
      token = { value: answer.access_token, until: Date.now() + (answer.expires_in - 10) * 1000 };
    }
    return token.value;
  }

  return async (method, path, body) => {
    const headers = { authorization: `Bearer ${await bearer()}`, 'content-type': 'application/json' };
    const response = await fetch(`${origin}/admin/realms${path}`, {
      method,
      headers,
      signal: deadline(),
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return text === '' ? undefined : JSON.parse(text);
  };
}

/** Keeps what the process writes, and sees to it that it does not outlive us. */
function watch(child: ChildProcess) {
  let log = '';
  let over = false;
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (chunk: string) => {
      log = (log + chunk).slice(-logKept);
    });
  }
  const kill = () => signalGroup(child, 'SIGKILL');
  const endNow = (signal: NodeJS.Signals) => {
    kill();
    process.kill(process.pid, signal);
  };
  const leave = atExit(kill);
  for (const signal of signals) process.once(signal, endNow);
  const exited = new Promise<void>((resolve) => {
    const end = () => {
      over = true;
      leave();
      for (const signal of signals) process.removeListener(signal, endNow);
      resolve();
    };
    // `close` and not `exit`: Java holds the streams, too, so that it has ended as well.
    child.once('close', end);
    child.once('error', (error) => {
      log += String(error);
      end();
    });
  });
  return { log: () => log, ended: () => over, exited, kill };
}

function signalGroup({ pid }: ChildProcess, signal: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, signal);
  } catch {
    // It has ended by itself.
  }
}

function deadline(): AbortSignal {
  return AbortSignal.timeout(requestTimeout);
}

async function answers(url: string): Promise<boolean> {
  try {
    const response = await fetch(url, { signal: deadline() });
    await response.arrayBuffer();
    return response.ok;
  } catch {
    return false;
  }
}

/** A port that was free a moment ago. */
function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}
