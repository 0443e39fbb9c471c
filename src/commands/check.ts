// `check`, the doctor: is the configuration usable and safe, and does the provider play its part? One row for each
// thing looked at; nothing that it does changes anything at the provider.
import { existsSync } from 'node:fs';
import type { HostSettings } from '../config/host-settings.ts';
import { ConfigError, loadConfig } from '../config/index.ts';
import type { ProviderSettings } from '../config/provider-settings.ts';
import type { StateSettings } from '../config/state-settings.ts';
import { createDirectory } from '../oauth/directory.ts';
import { createProvider, type Provider } from '../oauth/provider.ts';
import { Secret } from '../verdict.ts';
import { EXIT } from './exit.ts';

export interface CheckOptions {
  readonly config: string | undefined;
  readonly print: (line: string) => void;
}

type Level = 'ok' | 'warning' | 'ERROR';

interface Row {
  readonly level: Level;
  readonly what: string;
  readonly found: string;
}

/** A name that nobody has, a password that opens nothing, and a token that nobody gave out. */
const NOBODY = 'extauth-oauth-check';

/** The exit code: 0 fine or only warnings, 1 errors, 78 a configuration that is unusable or unsafe. */
export async function check({ config, print }: CheckOptions): Promise<number> {
  const rows: Row[] = [];
  const show = (row: Row): void => {
    rows.push(row);
    print(`${row.level.padEnd(8)} ${row.what.padEnd(34)} ${row.found}`);
  };

  let settings: ReturnType<typeof loadConfig>;
  try {
    settings = loadConfig({ config });
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    for (const { path, message } of error.problems)
      show({ level: 'ERROR', what: path || error.file || 'configuration', found: message });
    return EXIT.config;
  }
  show({ level: 'ok', what: 'configuration', found: settings.file });
  for (const { path, message, unsafe } of settings.warnings) {
    show({ level: unsafe ? 'ERROR' : 'warning', what: path, found: message });
  }
  const state = await examineState(settings.state);
  if (state !== undefined) show(state);
  for (const host of settings.hosts) {
    for await (const row of examine(host)) show(row);
  }
  if (settings.warnings.some(({ unsafe }) => unsafe)) return EXIT.config;
  return rows.some(({ level }) => level === 'ERROR') ? EXIT.failed : EXIT.fine;
}

async function examineState(settings: StateSettings): Promise<Row | undefined> {
  if (settings.store === 'memory') return undefined;
  const { exists, tryState } = await import('../state/index.ts');
  if (settings.store === 'lmdb' && !exists(settings)) {
    const found = `${settings.folder} is empty: the first login makes what it needs, if the server's user may write there`;
    return { level: existsSync(settings.folder) ? 'ok' : 'warning', what: 'state', found };
  }
  return ask('state', async () => {
    const state = await tryState(settings);
    try {
      await state?.ping();
    } finally {
      await state?.close();
    }
    return settings.store === 'lmdb'
      ? `${settings.folder}: shared by all workers of this machine`
      : 'Redis answers, and takes what is written';
  });
}

async function* examine(host: HostSettings): AsyncGenerator<Row> {
  const { pattern, providers } = host;
  for (const settings of providers) {
    const directory = createDirectory({ now: () => performance.now() });
    const provider = createProvider({ settings, directory, wallClock: Date.now });
    const which = [pattern, providers.length > 1 ? (settings.issuer ?? '') : ''].filter(
      (part) => part !== '',
    );
    try {
      for await (const row of examineProvider(provider, host)) {
        yield which.length === 0 ? row : { ...row, what: `${which.join(' ')}: ${row.what}` };
      }
    } finally {
      provider.close();
      directory.close();
    }
  }
}

type Signal = () => AbortSignal;

async function* examineProvider(provider: Provider, host: HostSettings): AsyncGenerator<Row> {
  const { settings } = provider;
  // Each question has its own time; http.timeout bounds every request inside.
  const signal: Signal = () => AbortSignal.timeout(settings.http.timeout * 2 + settings.http.connect_timeout);
  const { validation } = settings;

  if (settings.issuer !== undefined || settings.discovery_url !== undefined) {
    const row = await ask('discovery', async () => `issuer ${(await provider.metadata(signal())).issuer}`);
    yield row;
    // Everything else would only say the same again.
    if (row.level === 'ERROR' && settings.validation_endpoint === undefined && settings.keys === undefined)
      return;
  }
  yield* settingsWorthAWord(settings);

  const inLine = { keys: false, introspection: false };
  if (validation === 'auto' || validation.startsWith('jwt')) {
    const row = await ask('keys', () => tryKeys(provider, signal));
    inLine.keys = row.level === 'ok';
    // Without keys, `auto` has other ways.
    yield row.level === 'ERROR' && validation === 'auto' ? { ...row, level: 'warning' } : row;
  }
  if (validation.endsWith('introspection') || (validation === 'auto' && (await can(provider, signal)))) {
    inLine.introspection = true;
    yield await ask('introspection', () => tryIntrospection(provider, signal));
  }
  if (usesUserinfo(settings, inLine)) yield await ask('UserInfo', () => tryUserinfo(provider, signal));
  const opaque = host.credential === 'token' || host.token_prefix !== undefined;
  if (opaque && validation === 'auto' && !inLine.introspection) {
    yield {
      level: 'warning',
      what: 'introspection',
      found:
        'not possible (introspection_endpoint, client_secret_file): UserInfo does not say whom an opaque token is for, so one that any other application of this provider obtained logs in here',
    };
  }
  if (!settings.passwords) return;
  yield await ask('password grant', () => tryPasswordGrant(provider, signal));
  const revocation = await provider.find('revocation_endpoint', signal()).catch(() => undefined);
  if (settings.revoke_after_login && revocation === undefined) {
    yield {
      level: 'warning',
      what: 'revocation_endpoint',
      found: 'there is none: every login by password leaves a token, and perhaps a session, at the provider',
    };
  }
}

async function ask(what: string, question: () => Promise<string>): Promise<Row> {
  try {
    return { level: 'ok', what, found: await question() };
  } catch (error) {
    const { message } = error as Error;
    return { level: 'ERROR', what, found: message };
  }
}

function* settingsWorthAWord(settings: ProviderSettings): Generator<Row> {
  const { passwords, scope, username_field, client_auth_method, client_id, clientSecret } = settings;
  if (passwords && username_field.includes('preferred_username') && !scope.includes('profile')) {
    yield {
      level: 'warning',
      what: 'scope',
      found: `${scope || 'none'}: most providers name preferred_username only with scope: openid profile`,
    };
  }
  const wantsSecret = client_auth_method === 'post' || client_auth_method.startsWith('basic');
  if (passwords && client_id !== undefined && clientSecret === undefined && wantsSecret) {
    yield {
      level: 'warning',
      what: 'client_secret_file',
      found: 'no client secret: right for a public client only, which client_auth_method: none says',
    };
  }
}

/** Whether some login may come to ask it. */
function usesUserinfo(
  { validation, passwords }: ProviderSettings,
  { keys, introspection }: { keys: boolean; introspection: boolean },
): boolean {
  if (validation.endsWith('userinfo')) return true;
  if (validation.endsWith('introspection')) return false;
  return validation === 'jwt' ? passwords && !keys : !introspection || passwords;
}

async function can(provider: Provider, signal: Signal): Promise<boolean> {
  return provider.canIntrospect(signal()).catch(() => false);
}

async function tryKeys(provider: Provider, signal: Signal): Promise<string> {
  const { keys } = provider.settings;
  if (keys !== undefined) return `${keys.keys.length} in jwks_file: JWTs are judged here`;
  if (!(await provider.hasKeys(signal()))) {
    throw new Error('nothing says where they are (jwks_uri, jwks_file): no JWT can be judged here');
  }
  return `${await provider.find('jwks_uri', signal())}: JWTs are judged here`;
}

async function tryIntrospection(provider: Provider, signal: Signal): Promise<string> {
  const url = await provider.endpoint('introspection_endpoint', signal());
  const answer = await provider.introspect(NOBODY, signal());
  if (answer !== 'cannot_say' && 'claims' in answer)
    throw new Error(`${url} calls a token active that nobody gave out: anybody could log in as anybody`);
  return `${url} accepts our client, and calls a token inactive that nobody gave out, as it should`;
}

async function tryUserinfo(provider: Provider, signal: Signal): Promise<string> {
  const url = await provider.endpoint('validation_endpoint', signal());
  const answer = await provider.userinfo(NOBODY, signal());
  if ('claims' in answer)
    throw new Error(`${url} answers a token that nobody gave out: anybody could log in as anybody`);
  return `${url} refuses a token that nobody gave out, as it should`;
}

async function tryPasswordGrant(provider: Provider, signal: Signal): Promise<string> {
  const url = await provider.endpoint('token_endpoint', signal());
  const answer = await provider.grantPassword({ username: NOBODY, password: new Secret(NOBODY) }, signal());
  if ('accessToken' in answer)
    throw new Error(`${url} gives a token to a user that does not exist: anybody could log in as anybody`);
  return `${url} accepts our client, and refuses a user that nobody is, as it should`;
}
