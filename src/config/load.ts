// Finds the configuration file, reads it and everything it refers to, and gives settings or a ConfigError with every
// problem. Data only: nothing is executed and the working directory, which the XMPP server chooses, is never looked at.
// cosmiconfig's explorers do both as soon as one is created (they run ./.config/config.js), so only its loaders are used.
import { existsSync, readFileSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { extname, join } from 'node:path';
import { defaultLoadersSync } from 'cosmiconfig';
import { Secret } from '../verdict.ts';
import { allowsPasswords, type Draft, parseConfig } from './parse.ts';
import { ConfigError, type Problem, pathOf } from './problems.ts';
import type { HostOptions, ProcessOptions } from './schema.ts';

/** Everything about one virtual host, ready to use. */
export interface HostSettings extends Omit<HostOptions, 'client_secret' | 'client_secret_file'> {
  /** The virtual host, `*.` and a domain, or `''` for all. */
  readonly pattern: string;
  readonly clientSecret: Secret | undefined;
  /** The secret is that of the process, not one named for this host. */
  readonly sharedSecret: boolean;
  /** Whether passwords are exchanged at the token endpoint at all. */
  readonly passwords: boolean;
  /** The text of `http.ca_file`. */
  readonly authorities: string | undefined;
}

export interface Config {
  readonly file: string;
  readonly process: ProcessOptions;
  readonly hosts: readonly HostSettings[];
  readonly warnings: readonly Problem[];
}

/** Where the configuration is: the file, or where a file was looked for. */
export interface Located {
  readonly file: string | undefined;
  readonly places: readonly string[];
}

export interface Surroundings {
  /** `--config`. */
  readonly config?: string | undefined;
  readonly env?: NodeJS.ProcessEnv;
}

const NAMES = ['config.yml', 'config.yaml', 'config.json'];

/** The first that applies: --config, EXTAUTH_OAUTH_CONFIG, $XDG_CONFIG_HOME/extauth-oauth, /etc/extauth-oauth. */
export function locateConfig({ config, env = process.env }: Surroundings = {}): Located {
  const named = config ?? (env.EXTAUTH_OAUTH_CONFIG || undefined);
  if (named !== undefined) return { file: named, places: [named] };
  const folders = [...homeFolder(env), '/etc/extauth-oauth'];
  const places = folders.flatMap((folder) => NAMES.map((name) => join(folder, name)));
  // existsSync is false for what may not be looked at, too; readable or not is found out when it is read.
  return { file: places.find((place) => existsSync(place)), places };
}

function homeFolder(env: NodeJS.ProcessEnv): string[] {
  const base = env.XDG_CONFIG_HOME?.startsWith('/')
    ? env.XDG_CONFIG_HOME
    : join(env.HOME?.startsWith('/') ? env.HOME : homedir(), '.config');
  return [join(base, 'extauth-oauth')];
}

/** Reads files for one load and remembers them all, so that a change of any of them can be noticed. */
export interface Reader {
  read(file: string): { text: string; mode: number; owner: number };
}

export function createReader(onRead: (file: string) => void = () => {}): Reader {
  return {
    read(file) {
      onRead(file);
      const { mode, uid } = statSync(file);
      return { text: readFileSync(file, 'utf8'), mode, owner: uid };
    },
  };
}

/** The settings in the file that `surroundings` lead to. Throws a ConfigError with every problem there is. */
export function loadConfig(surroundings: Surroundings = {}, reader = createReader()): Config {
  const env = surroundings.env ?? process.env;
  const { file, places } = locateConfig(surroundings);
  if (file === undefined) {
    throw new ConfigError([{ path: '', message: `no configuration file: looked for ${places.join(', ')}` }]);
  }
  const { process: options, drafts, problems: found, warnings } = parseConfig(readData(file, reader));
  const problems = [...found];
  const hosts = drafts.map((draft) =>
    complete(draft, { env, reader, problems, warnings: warnings as Problem[] }),
  );
  const borrowed = hosts.filter(({ sharedSecret }) => sharedSecret);
  const providers = new Set(
    borrowed.map((host) => [host.issuer, host.discovery_url, host.token_endpoint, host.client_id].join('\n')),
  );
  if (providers.size > 1) {
    problems.push({
      path: 'hosts',
      message:
        'have several providers or clients, and one secret for all (EXTAUTH_OAUTH_CLIENT_SECRET or the credential client_secret): name each its own by client_secret_file or the credential client_secret.<host>',
    });
  }
  if (problems.length > 0) throw new ConfigError(unique(problems), file);
  return { file, process: options, hosts, warnings: unique(warnings) };
}

function unique(problems: readonly Problem[]): Problem[] {
  return [...new Map(problems.map((problem) => [`${problem.path}\n${problem.message}`, problem])).values()];
}

function readData(file: string, reader: Reader): unknown {
  const fail = (message: string): never => {
    throw new ConfigError([{ path: file, message }], file);
  };
  if (!file.startsWith('/')) fail('must be an absolute path: the working directory is not ours to choose');
  const loader = loaderFor(file);
  if (loader === undefined)
    return fail('must end in .yml, .yaml or .json: a configuration is data, never code');
  const { text, mode, owner } = attempt(() => reader.read(file), fail);
  if (owner !== 0 && owner !== process.geteuid?.())
    fail('belongs to another user: chown it to root or to the user that runs this program');
  if ((mode & 0o002) !== 0) fail('can be written by everybody: chmod o-w');
  if (text.trim() === '') fail('is empty');
  try {
    const data: unknown = loader(file, text);
    if ((mode & 0o004) !== 0 && holdsSecret(data))
      fail('holds a client_secret and can be read by everybody: chmod o-r, or use client_secret_file');
    return data;
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    return fail(syntaxProblem(error, text));
  }
}

function loaderFor(file: string): ((file: string, text: string) => unknown) | undefined {
  switch (extname(file)) {
    case '.yml':
    case '.yaml':
      return defaultLoadersSync['.yaml'];
    case '.json':
      return defaultLoadersSync['.json'];
    default:
      return undefined;
  }
}

/** Where and what, without the excerpt that both parsers quote: there may be a secret in it. */
function syntaxProblem(error: unknown, text: string): string {
  const { reason, mark, codeFrame, message } = error as {
    reason?: unknown;
    mark?: { line: number; column: number };
    codeFrame?: unknown;
    message?: unknown;
  };
  if (typeof reason === 'string' && mark !== undefined) {
    // What follows the first of these marks may be quoted from the file.
    const what = reason.split(/[:;"'`<(!*&]/)[0]?.trim();
    return `is not valid YAML: ${what} in line ${mark.line + 1}, column ${mark.column + 1}`;
  }
  // Which of the two says where depends on the version of Node.
  const line = /^> *(\d+) \|/m.exec(String(codeFrame))?.[1];
  const position = /\bposition (\d+)\b/.exec(String(message))?.[1];
  const where =
    line ?? (position === undefined ? undefined : text.slice(0, Number(position)).split('\n').length);
  return where === undefined ? 'is not valid JSON' : `is not valid JSON: see line ${where}`;
}

function holdsSecret(data: unknown): boolean {
  if (typeof data !== 'object' || data === null) return false;
  return Object.entries(data).some(
    ([key, value]) => /^(?:oauth_external_)?client_secret$/.test(key) || holdsSecret(value),
  );
}

interface Completion {
  readonly env: NodeJS.ProcessEnv;
  readonly reader: Reader;
  readonly problems: Problem[];
  readonly warnings: Problem[];
}

function complete(
  { pattern, options }: Draft,
  { env, reader, problems, warnings }: Completion,
): HostSettings {
  const { client_secret, client_secret_file, ...rest } = options;
  const at = (key: string): string => (pattern === '' ? key : pathOf('hosts', pattern, key));
  let sharedSecret = false;
  const clientSecret = readSecret();
  const passwords = allowsPasswords(options);
  if (
    clientSecret === undefined &&
    options.client_id !== undefined &&
    options.client_auth_method.startsWith('basic') &&
    passwords
  ) {
    problems.push({
      path: at('client_secret_file'),
      message: `is missing: client_auth_method ${options.client_auth_method} needs a secret (client_secret_file, EXTAUTH_OAUTH_CLIENT_SECRET or a systemd credential)`,
    });
  }
  // The two ways of encoding HTTP Basic (RFC 6749 section 2.3.1, or none) agree for these characters only.
  if (
    options.client_auth_method.startsWith('basic') &&
    !/^[\w.~-]*$/.test(`${options.client_id}${clientSecret?.reveal() ?? ''}`)
  ) {
    warnings.push({
      path: at('client_auth_method'),
      message:
        'client id or secret has characters that servers decode differently: if the provider refuses the client, try basic_raw or post',
    });
  }
  return { ...rest, pattern, clientSecret, sharedSecret, passwords, authorities: readAuthorities() };

  function readSecret(): Secret | undefined {
    if (client_secret !== undefined) return new Secret(client_secret);
    if (options.client_id === undefined || options.client_auth_method === 'none') return undefined;
    if (client_secret_file !== undefined) return secretFile(client_secret_file, at('client_secret_file'));
    const folder = env.CREDENTIALS_DIRECTORY;
    const credentials = folder?.startsWith('/')
      ? [`client_secret.${pattern}`, 'client_secret']
          .map((name) => join(folder, name))
          .filter((file) => existsSync(file))
      : [];
    const own = credentials.find((file) => pattern !== '' && file.endsWith(`.${pattern}`));
    if (own !== undefined) return secretFile(own, at('client_secret'), 0o007);
    const shared = credentials.at(-1);
    sharedSecret = Boolean(env.EXTAUTH_OAUTH_CLIENT_SECRET) || shared !== undefined;
    if (env.EXTAUTH_OAUTH_CLIENT_SECRET) return new Secret(env.EXTAUTH_OAUTH_CLIENT_SECRET);
    return shared === undefined ? undefined : secretFile(shared, at('client_secret'), 0o007);
  }

  /** `forbidden`: who must not read it. systemd shows a credential to its service by an ACL, as mode 0440. */
  function secretFile(file: string, path: string, forbidden = 0o077): Secret | undefined {
    const fail = (message: string): undefined => void problems.push({ path, message: `${file} ${message}` });
    const content = attempt(() => reader.read(file), fail);
    if (content === undefined) return undefined;
    if ((content.mode & forbidden) !== 0) return fail('can be read by group or others: chmod 600');
    const secret = content.text.replace(/\r?\n$/, '');
    return secret === '' || /[\r\n\0]/.test(secret)
      ? fail('must hold one line: the secret')
      : new Secret(secret);
  }

  function readAuthorities(): string | undefined {
    const file = options.http.ca_file;
    if (file === undefined) return undefined;
    const fail = (message: string): undefined =>
      void problems.push({ path: at('http.ca_file'), message: `${file} ${message}` });
    const text = attempt(() => reader.read(file), fail)?.text;
    if (text === undefined || text.includes('-----BEGIN CERTIFICATE-----')) return text;
    return fail('holds no PEM certificate');
  }
}

/** Runs `read`; a file that cannot be read becomes `fail(message)`. */
function attempt<Value, Failure>(read: () => Value, fail: (message: string) => Failure): Value | Failure {
  try {
    return read();
  } catch (error) {
    switch ((error as NodeJS.ErrnoException).code) {
      case 'ENOENT':
        return fail('does not exist');
      case 'EACCES':
      case 'EPERM':
        return fail('cannot be read by this user');
      case 'EISDIR':
        return fail('is a folder');
      default:
        return fail(`cannot be read (${(error as NodeJS.ErrnoException).code ?? 'unknown error'})`);
    }
  }
}
