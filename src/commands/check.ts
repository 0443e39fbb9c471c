// `check`, the doctor: is the configuration usable and safe, and does the provider play its part? One row for each
// thing looked at; nothing that it does changes anything at the provider.

import type { HostSettings } from '../config/host-settings.ts';
import { ConfigError, loadConfig } from '../config/index.ts';
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
  for (const host of settings.hosts) {
    for await (const row of examine(host)) show(row);
  }
  if (settings.warnings.some(({ unsafe }) => unsafe)) return EXIT.config;
  return rows.some(({ level }) => level === 'ERROR') ? EXIT.failed : EXIT.fine;
}

async function* examine(settings: HostSettings): AsyncGenerator<Row> {
  const provider = createProvider({ settings, now: () => performance.now() });
  const at = (what: string): string => (settings.pattern === '' ? what : `${settings.pattern}: ${what}`);
  // Each question has its own time; http.timeout bounds every request inside.
  const signal = (): AbortSignal =>
    AbortSignal.timeout(settings.http.timeout * 2 + settings.http.connect_timeout);

  async function ask(what: string, question: () => Promise<string>): Promise<Row> {
    try {
      return { level: 'ok', what: at(what), found: await question() };
    } catch (error) {
      const { message } = error as Error;
      return { level: 'ERROR', what: at(what), found: message };
    }
  }

  try {
    if (settings.issuer !== undefined || settings.discovery_url !== undefined) {
      const discovery = await ask(
        'discovery',
        async () => `issuer ${(await provider.metadata(signal())).issuer}`,
      );
      yield discovery;
      // Everything else would only say the same again.
      if (discovery.level === 'ERROR' && settings.validation_endpoint === undefined) return;
    }
    if (
      settings.passwords &&
      settings.username_field.includes('preferred_username') &&
      !settings.scope.includes('profile')
    ) {
      yield {
        level: 'warning',
        what: at('scope'),
        found: `${settings.scope || 'none'}: most providers name preferred_username only with scope: openid profile`,
      };
    }
    if (
      settings.passwords &&
      settings.client_id !== undefined &&
      settings.clientSecret === undefined &&
      settings.client_auth_method !== 'none'
    ) {
      yield {
        level: 'warning',
        what: at('client_secret_file'),
        found: 'no client secret: right for a public client only, which client_auth_method: none says',
      };
    }
    yield await ask('UserInfo', () => tryUserinfo(provider, signal));
    if (settings.passwords) yield await ask('password grant', () => tryPasswordGrant(provider, signal));
  } finally {
    provider.close();
  }
}

async function tryUserinfo(provider: Provider, signal: () => AbortSignal): Promise<string> {
  const url = await provider.endpoint('validation_endpoint', signal());
  const answer = await provider.userinfo(NOBODY, signal());
  if ('claims' in answer)
    throw new Error(`${url} answers a token that nobody gave out: anybody could log in as anybody`);
  return `${url} refuses a token that nobody gave out, as it should`;
}

async function tryPasswordGrant(provider: Provider, signal: () => AbortSignal): Promise<string> {
  const url = await provider.endpoint('token_endpoint', signal());
  const answer = await provider.grantPassword(NOBODY, new Secret(NOBODY), signal());
  if ('accessToken' in answer)
    throw new Error(`${url} gives a token to a user that does not exist: anybody could log in as anybody`);
  return `${url} accepts our client, and refuses a user that nobody is, as it should`;
}
