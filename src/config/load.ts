// Finds the configuration file, reads it and everything it refers to, and gives settings or a ConfigError with every
// problem. Data only: nothing is executed and the working directory, which the XMPP server chooses, is never looked at.
// cosmiconfig's explorers do both as soon as one is created (they run ./.config/config.js), so only its loaders are used.
import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { extname, join } from 'node:path';
import { defaultLoadersSync } from 'cosmiconfig';
import { attempt, createReader, type Reader } from './files.ts';
import { completeHost, type HostSettings } from './host-settings.ts';
import { parseConfig } from './parse.ts';
import { ConfigError, type Problem } from './problems.ts';
import type { ProcessOptions } from './schema.ts';
import { completeState, type StateSettings } from './state-settings.ts';

export interface Config {
  readonly file: string;
  readonly process: ProcessOptions;
  readonly hosts: readonly HostSettings[];
  readonly state: StateSettings;
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

/** The settings in the file that `surroundings` lead to. Throws a ConfigError with every problem there is. */
export function loadConfig(surroundings: Surroundings = {}, reader = createReader()): Config {
  const env = surroundings.env ?? process.env;
  const { file, places } = locateConfig(surroundings);
  if (file === undefined) {
    throw new ConfigError([{ path: '', message: `no configuration file: looked for ${places.join(', ')}` }]);
  }
  const { process: options, hosts: drafts, problems: found, warnings } = parseConfig(readData(file, reader));
  const problems = [...found];
  const completion = { env, reader, problems, warnings: warnings as Problem[] };
  const state = completeState(options, completion);
  const hosts = drafts.map((draft) =>
    completeHost(draft, { ...completion, lasts: state.store !== 'memory' }),
  );
  const borrowed = hosts.flatMap(({ providers }) => providers).filter(({ sharedSecret }) => sharedSecret);
  const different = new Set(
    borrowed.map((each) =>
      [
        each.issuer,
        each.discovery_url,
        each.token_endpoint,
        each.introspection_endpoint,
        each.revocation_endpoint,
        each.client_id,
      ].join('\n'),
    ),
  );
  if (different.size > 1) {
    problems.push({
      path: 'hosts',
      message:
        'have several providers or clients, and one secret for all (EXTAUTH_OAUTH_CLIENT_SECRET or the credential client_secret): name each its own by client_secret_file or the credential client_secret.<host>',
    });
  }
  if (problems.length > 0) throw new ConfigError(unique(problems), file);
  return { file, process: options, hosts, state, warnings: unique(warnings) };
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
      fail(
        'holds a secret and can be read by everybody: chmod o-r, or use client_secret_file (in state: password_file)',
      );
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
    ([key, value]) =>
      /^(?:oauth_external_)?client_secret$/.test(key) ||
      (key === 'state' && /^rediss?:\/\/[^@]*:[^@]*@/.test(String(value))) ||
      holdsSecret(value),
  );
}
