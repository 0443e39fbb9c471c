// `migrate FILE`: from mod_auth_oauth_external in a prosody.cfg.lua to our configuration, and what to change over there.
import { dirname } from 'node:path';
import { type ProsodyConfig, readProsodyConfig, ServerConfigError } from '../servers/prosody-config.ts';
import { isPackaged, SetupError, writeFiles } from '../setup/files.ts';
import { type Migration, migrate as migrated } from '../setup/migrate.ts';
import { accountFor, DEFAULT_CONFIG, linesFor, type Server } from '../setup/servers.ts';
import { EXIT } from './exit.ts';

export interface MigrateOptions {
  readonly file: string;
  /** Undefined: the configuration is printed. */
  readonly output: string | undefined;
  readonly server: Server;
  /** Where this package lies. */
  readonly folder: string;
  readonly print: (line: string) => void;
  readonly complain: (line: string) => void;
}

/** The exit code: 0 done, 1 the file cannot be read, has nothing of the module, or something stands in the way. */
export async function migrate(options: MigrateOptions): Promise<number> {
  const { file, output, server, folder, print, complain } = options;
  try {
    const config = readProsodyConfig(file);
    const place = output ?? DEFAULT_CONFIG;
    const migration = migrated(config, { server, folder: dirname(place) });
    if (migration === undefined) {
      complain(`${file}: nothing to migrate: no oauth_external_ option in ${config.files.join(', ')}`);
      unclear(config).forEach(complain);
      return EXIT.failed;
    }
    const { hosts, yaml, secrets } = migration;
    // So that `migrate FILE > config.yml` writes the configuration alone.
    const tell = output === undefined ? complain : print;
    const packaged = isPackaged(folder);
    let commands: readonly string[] = [];
    if (output === undefined) print(yaml.trimEnd());
    else {
      const files = [
        { file: output, text: yaml, kind: 'configuration' } as const,
        ...secrets.map(
          ({ file, secret }) => ({ file, text: `${secret.reveal()}\n`, kind: 'secret' }) as const,
        ),
      ];
      ({ commands } = await writeFiles(files, accountFor(server, packaged)));
      tell(`Written: ${files.map(({ file }) => file).join(', ')}`);
    }
    report(migration, { config, written: output !== undefined, commands }).forEach(tell);
    const pluginPaths = config.global.get('plugin_paths')?.value;
    linesFor(server, {
      config: place,
      hosts,
      folder,
      node: process.execPath,
      packaged,
      pluginPaths: Array.isArray(pluginPaths)
        ? pluginPaths.filter((each) => typeof each === 'string')
        : undefined,
    }).forEach(tell);
    tell('');
    tell(
      `Then see whether the provider agrees: extauth-oauth check${place === DEFAULT_CONFIG ? '' : ` --config ${place}`}`,
    );
    return EXIT.fine;
  } catch (error) {
    if (!(error instanceof SetupError || error instanceof ServerConfigError)) throw error;
    complain(error.message);
    return EXIT.failed;
  }
}

interface Circumstances {
  readonly config: ProsodyConfig;
  readonly written: boolean;
  readonly commands: readonly string[];
}

function report(migration: Migration, { config, written, commands }: Circumstances): string[] {
  const { notes, obsolete, secrets } = migration;
  const unwritten = written
    ? []
    : secrets.map(
        ({ file }) =>
          `${file}: put the client secret into it, mode 0600 (--output FILE does); it is not shown here`,
      );
  return [
    ...section('What is different from now on:', notes),
    ...section('Not understood, since it would have to be run:', unclear(config)),
    ...section('Still to do:', [...unwritten, ...commands]),
    ...section("What has had its time in the server's files:", [...obsolete, ...inTheWay(config)]),
    '',
  ];
}

function section(title: string, lines: readonly string[]): string[] {
  return lines.length === 0 ? [] : ['', title, ...lines.map((line) => `  ${line}`)];
}

function unclear({ notUnderstood }: ProsodyConfig): string[] {
  return notUnderstood.map(({ file, line, text, why }) => `${file}:${line}  ${text}  (${why})`);
}

/** Modules that must not be loaded beside ours. */
function inTheWay({ global, hosts }: ProsodyConfig): string[] {
  return [global, ...hosts.values()].flatMap((options) => {
    const enabled = options.get('modules_enabled');
    if (enabled === undefined || !Array.isArray(enabled.value)) return [];
    return ['register', 'legacyauth']
      .filter((name) => (enabled.value as readonly unknown[]).includes(name))
      .map((name) => `${enabled.file}:${enabled.line}  modules_enabled: take "${name}" out`);
  });
}
