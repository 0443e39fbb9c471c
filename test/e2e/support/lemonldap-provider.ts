// Starts the portal of Debian's LemonLDAP::NG on loopback, as an OpenID Connect issuer with a configuration, keys, sessions
// and a database of its own.
import { execFileSync, spawn } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { temporaryFolder } from '../../support/bridge.ts';
import { accepts, freePorts, within } from './ejabberd.ts';

const program = '/usr/bin/plackup';
const portal = '/usr/share/perl5/Lemonldap/NG/Portal.pm';
const templates = '/usr/share/lemonldap-ng/portal/templates';

/** From cold: Perl compiles the portal, which takes 2 s when nothing else runs. */
const startTimeout = 30_000;
const answerTimeout = 10_000;
const stopTimeout = 5000;

/** What each client's access tokens are; the last one's secret has a base64 form with a slash in it. */
const clients = {
  xmpp: 'opaque',
  'xmpp-jwt': 'jwt',
  'other-app': 'opaque',
  'other-jwt': 'jwt',
  'xmpp-slash': 'opaque',
};

/** The portal does not start without one, and its own wants Image::Magick. Nobody is ever shown it. */
const captcha = {
  name: '::Captcha::None',
  folder: 'perl/Lemonldap/NG/Portal/Captcha',
  file: 'None.pm',
  code: `package Lemonldap::NG::Portal::Captcha::None;
use Mouse;
extends 'Lemonldap::NG::Portal::Main::Plugin';
sub init { 1 }
1;
`,
};

export type LemonldapClient = keyof typeof clients;

export interface LemonldapToken {
  readonly access_token: string;
  readonly refresh_token?: string;
  readonly id_token?: string;
}

export interface LemonldapProvider {
  /** `http://127.0.0.1:PORT/`, with a slash at the end. */
  readonly issuer: string;
  /** Of the clients, all of them confidential. */
  readonly secrets: Readonly<Record<LemonldapClient, string>>;
  /** What the password grant gives this user. */
  token(user: string, client?: LemonldapClient): Promise<LemonldapToken>;
  /** What the client credentials grant gives: nobody's. */
  clientToken(client: LemonldapClient): Promise<string>;
  stop(): Promise<void>;
}

/** Starts the provider with these users, passwords by name, and resolves when it serves. */
export async function startLemonldap(
  users: Readonly<Record<string, string>>,
  random: () => string,
): Promise<LemonldapProvider> {
  if (![program, portal].every(existsSync))
    throw new Error(
      'lemonldap-ng not found: these tests need liblemonldap-ng-portal-perl, libplack-perl and libdbd-sqlite3-perl',
    );
  const folder = temporaryFolder();
  const [port] = (await freePorts(1)) as [number];
  const issuer = `http://127.0.0.1:${port}/`;
  const secrets = Object.fromEntries(
    Object.keys(clients).map((name) => [name, name === 'xmpp-slash' ? 'secret-???-0123456789' : random()]),
  ) as Record<LemonldapClient, string>;
  for (const name of ['conf', 'sessions/lock', 'psessions/lock', 'cache', captcha.folder])
    mkdirSync(join(folder, name), { recursive: true });
  writeFileSync(join(folder, captcha.folder, captcha.file), captcha.code);
  const quoted = (text: string) => `'${text.replaceAll("'", "''")}'`;
  const rows = Object.entries(users).map(([name, password]) => `(${quoted(name)}, ${quoted(password)})`);
  execFileSync('/usr/bin/sqlite3', [join(folder, 'users')], {
    input: `CREATE TABLE users (uid TEXT PRIMARY KEY, password TEXT); INSERT INTO users VALUES ${rows.join(', ')};`,
  });
  writeFileSync(join(folder, 'conf/lmConf-1.json'), JSON.stringify(configuration(folder, issuer, secrets)));
  writeFileSync(join(folder, 'lemonldap-ng.ini'), settings(folder));
  const app = join(folder, 'portal.psgi');
  writeFileSync(app, 'use Lemonldap::NG::Portal;\nLemonldap::NG::Portal->run({});\n');

  const child = spawn(
    program,
    [
      '--env',
      'deployment',
      '--server',
      'HTTP::Server::PSGI',
      '--host',
      '127.0.0.1',
      '--port',
      `${port}`,
      app,
    ],
    {
      stdio: ['ignore', 'pipe', 'pipe'],
      cwd: folder,
      env: {
        PATH: '/usr/bin:/bin',
        LANG: 'C.UTF-8',
        PERL5LIB: join(folder, 'perl'),
        LLNG_DEFAULTCONFFILE: join(folder, 'lemonldap-ng.ini'),
      },
    },
  );
  let log = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (chunk: string) => {
      log += chunk;
    });
  const closed = new Promise<void>((resolve) => child.once('close', () => resolve()));
  let ended = false;
  void closed.then(() => {
    ended = true;
  });
  const kill = () => void child.kill('SIGKILL');
  process.once('exit', kill);

  async function stop(): Promise<void> {
    child.kill('SIGTERM');
    const timer = setTimeout(kill, stopTimeout);
    await closed;
    clearTimeout(timer);
    process.removeListener('exit', kill);
  }

  async function grant(client: LemonldapClient, form: Record<string, string>): Promise<LemonldapToken> {
    const response = await fetch(`${issuer}oauth2/token`, {
      method: 'POST',
      body: new URLSearchParams({ ...form, client_id: client, client_secret: secrets[client] }),
      signal: AbortSignal.timeout(answerTimeout),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`lemonldap-ng gave no token: ${response.status} ${text}\n${log}`);
    return JSON.parse(text) as LemonldapToken;
  }

  await within(startTimeout, async () => ended || (await accepts(port)));
  if (ended || !(await accepts(port))) {
    await stop();
    throw new Error(`lemonldap-ng did not start: ${log.slice(-3000)}`);
  }

  return {
    issuer,
    secrets,
    token: (username, client = 'xmpp') =>
      grant(client, {
        grant_type: 'password',
        username,
        password: users[username] ?? '',
        scope: 'openid profile',
      }),
    async clientToken(client) {
      const form = { grant_type: 'client_credentials', scope: 'openid profile' };
      return (await grant(client, form)).access_token;
    },
    stop,
  };
}

function settings(folder: string): string {
  return `[all]
logLevel = notice
logger = Lemonldap::NG::Common::Logger::Std
[configuration]
type = File
dirName = ${folder}/conf
localStorage = Cache::FileCache
localStorageOptions = { 'namespace' => 'config', 'default_expires_in' => 600, 'cache_root' => '${folder}/cache' }
[portal]
templateDir = ${templates}
languages = en
`;
}

function configuration(folder: string, issuer: string, secrets: Record<LemonldapClient, string>): unknown {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const sessions = (name: string) => ({
    Directory: join(folder, name),
    LockDirectory: join(folder, name, 'lock'),
    generateModule: 'Lemonldap::NG::Common::Apache::Session::Generate::SHA256',
  });
  const each = <Value>(value: (client: LemonldapClient) => Value) =>
    Object.fromEntries(Object.keys(clients).map((name) => [name, value(name as LemonldapClient)]));
  const database = { dbiAuthChain: `dbi:SQLite:dbname=${join(folder, 'users')}` };
  return {
    cfgNum: 1,
    cfgDate: '1',
    cfgVersion: '2.16.1',
    portal: issuer,
    domain: '127.0.0.1',
    cookieName: 'lemonldap',
    securedCookie: 0,
    whatToTrace: '_whatToTrace',
    macros: { _whatToTrace: '$_user' },
    // Users in a table.
    authentication: 'DBI',
    userDB: 'Same',
    passwordDB: 'Null',
    captcha: captcha.name,
    ...database,
    dbiUserChain: database.dbiAuthChain,
    dbiAuthTable: 'users',
    dbiUserTable: 'users',
    dbiAuthLoginCol: 'uid',
    dbiAuthPasswordCol: 'password',
    dbiPasswordMailCol: 'uid',
    dbiExportedVars: { uid: 'uid' },
    exportedVars: {},
    locationRules: { '127.0.0.1': { default: 'accept' } },
    globalStorage: 'Apache::Session::File',
    globalStorageOptions: sessions('sessions'),
    persistentStorage: 'Apache::Session::File',
    persistentStorageOptions: sessions('psessions'),
    localSessionStorage: 'Cache::FileCache',
    localSessionStorageOptions: { namespace: 'sessions', cache_root: join(folder, 'cache') },
    // The issuer.
    issuerDBOpenIDConnectActivation: 1,
    oidcServiceMetaDataIssuer: issuer,
    oidcServicePrivateKeySig: privateKey.export({ type: 'pkcs8', format: 'pem' }),
    oidcServicePublicKeySig: publicKey.export({ type: 'spki', format: 'pem' }),
    oidcServiceKeyIdSig: 'one',
    oidcServiceAllowAuthorizationCodeFlow: 1,
    oidcRPMetaDataExportedVars: each(() => ({ preferred_username: 'uid' })),
    oidcRPMetaDataOptions: each((client) => ({
      oidcRPMetaDataOptionsClientID: client,
      oidcRPMetaDataOptionsClientSecret: secrets[client],
      oidcRPMetaDataOptionsAllowPasswordGrant: 1,
      oidcRPMetaDataOptionsAllowClientCredentialsGrant: 1,
      oidcRPMetaDataOptionsRefreshToken: 1,
      oidcRPMetaDataOptionsAccessTokenSignAlg: 'RS256',
      oidcRPMetaDataOptionsAccessTokenJWT: clients[client] === 'jwt' ? 1 : 0,
      oidcRPMetaDataOptionsIDTokenSignAlg: 'RS256',
    })),
  };
}
