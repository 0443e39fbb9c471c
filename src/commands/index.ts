// The commands that people type, as yargs commands with lazy handlers. The only place that prints usage or sets an exit code.
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { text as readAll } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import yargs from 'yargs';
import { DEFAULT_CONFIG, servers } from '../setup/servers.ts';
import { EXIT } from './exit.ts';
import type { UsersTask } from './users.ts';

export async function main(args: readonly string[]): Promise<void> {
  // `check | head`: who reads no more has seen enough.
  process.stdout.on('error', () => process.exit());
  const parser = yargs([...args])
    .scriptName('extauth-oauth')
    .locale('en')
    .usage('$0 <command>\n\nLogs XMPP users in against an OAuth 2.0 / OpenID Connect provider.')
    .command(
      ['run', '$0'],
      'the bridge on stdin and stdout, as ejabberd and Prosody start it (without a command, too)',
      {},
      () => {},
    )
    .command(
      'check',
      'look at the configuration, the provider and the XMPP server, and say what to change',
      (command) =>
        command
          .option('json', { type: 'boolean', default: false, describe: 'as JSON' })
          .option('ejabberd', {
            type: 'string',
            describe: 'ejabberd.yml, if it is not where packages put it',
          })
          .option('prosody', { type: 'string', describe: 'prosody.cfg.lua, the same' })
          .option('as-user', {
            type: 'string',
            describe: "start the program as the server's user, in its environment (root only)",
          })
          .option('token-stdin', {
            type: 'boolean',
            default: false,
            describe: 'look at a token, too; values of claims are not shown',
          })
          .option('root', { type: 'string', hidden: true }),
      async ({ config, json, ejabberd, prosody, asUser, tokenStdin, root }) => {
        const { check } = await import('./check.ts');
        const path = (file: string | undefined): string | undefined =>
          file === undefined ? undefined : resolve(file);
        if (tokenStdin && process.stdin.isTTY)
          throw new UsageError('this is a terminal, which would show the token: --token-stdin < FILE');
        process.exitCode = await check({
          config: fileOf(config),
          json,
          ejabberd: path(ejabberd),
          prosody: path(prosody),
          asUser,
          readToken: async () => (tokenStdin ? readAll(process.stdin) : undefined),
          root: path(root),
          columns: process.stdout.isTTY ? process.stdout.columns : undefined,
          print,
        });
      },
    )
    .command(
      'serve',
      'the daemon: one process for a whole machine, on the sockets that the configuration lists (listen)',
      {},
      async ({ config, logLevel }) => {
        const { serve } = await import('./serve.ts');
        process.exitCode = await serve({ config: fileOf(config), logLevel: levelOf(logLevel) });
      },
    )
    .command(
      'login <jid>',
      'log one user in as the server would, and show every step; the secret is asked for',
      (command) =>
        command
          .positional('jid', { type: 'string', demandOption: true, describe: 'user@virtual.host' })
          .option('stdin', { type: 'boolean', default: false, describe: 'read the secret from stdin' })
          .option('as', {
            choices: ['ejabberd', 'prosody'] as const,
            describe: 'through a child that is started as this server would start it',
          })
          .option('program', {
            type: 'string',
            implies: 'as',
            describe:
              "what stands in the server's extauth_program or external_auth_command, where it is not ours",
          }),
      async ({ config, jid, stdin, as, program }) => {
        const { login } = await import('./login.ts');
        process.exitCode = await login({ config: fileOf(config), jid, stdin, as, program, print });
      },
    )
    .command(
      'init',
      'write a configuration: asks on a terminal for what no flag says, and shows what the server needs',
      (command) =>
        command
          .option('issuer', { type: 'string', describe: "the provider's address" })
          .option('host', { type: 'string', array: true, describe: 'a virtual host; may be repeated' })
          .option('server', { choices: servers, describe: 'the XMPP server' })
          .option('passwords', { type: 'boolean', default: false, describe: 'users type their password' })
          .option('tokens', { type: 'boolean', default: false, describe: 'users type access tokens' })
          .option('client-id', { type: 'string', describe: 'our client at the provider' })
          .option('secret-file', { type: 'string', describe: "file that holds the client's secret" })
          .option('public', { type: 'boolean', default: false, describe: 'the client has no secret' })
          .option('ca-file', { type: 'string', describe: "who has signed the provider's certificate (PEM)" })
          .option('output', {
            type: 'string',
            default: DEFAULT_CONFIG,
            describe: 'file to write',
          }),
      async ({ host, secretFile, caFile, output, ...flags }) => {
        const { init } = await import('./init.ts');
        process.exitCode = await init({
          issuer: once('issuer', flags.issuer),
          hosts: host ?? [],
          server: flags.server,
          passwords: flags.passwords,
          tokens: flags.tokens,
          clientId: once('client-id', flags.clientId),
          secretFile: fileOf(secretFile, 'secret-file'),
          public: flags.public,
          caFile: fileOf(caFile, 'ca-file'),
          output: yamlFileOf(output),
          terminal: process.stdin.isTTY,
          folder: packageFolder,
          print,
          complain,
        });
      },
    )
    .command(
      'migrate <file>',
      'make a configuration from the oauth_external_ options of a prosody.cfg.lua, and say what to change there',
      (command) =>
        command
          .positional('file', { type: 'string', demandOption: true, describe: 'prosody.cfg.lua' })
          .option('output', { type: 'string', describe: 'file to write; without it, printed' })
          .option('server', {
            choices: servers,
            default: 'prosody-dovecot' as const,
            describe: 'the server that it is for',
          }),
      async ({ file, output, server }) => {
        const { migrate } = await import('./migrate.ts');
        process.exitCode = await migrate({
          file: resolve(file),
          output: output === undefined ? undefined : yamlFileOf(output),
          server,
          folder: packageFolder,
          print,
          complain,
        });
      },
    )
    .command('users', 'who has logged in, and whose the names are (with state: lmdb or redis)', (command) => {
      const task = (name: 'show' | 'forget' | 'unpin', describe: string): void => {
        command.command(
          `${name} <jid>`,
          describe,
          (each) =>
            each.positional('jid', { type: 'string', demandOption: true, describe: 'user@virtual.host' }),
          ({ jid, config, json }) => run({ task: name, jid }, config, json),
        );
      };
      const run = async (wanted: UsersTask, config: unknown, json: unknown): Promise<void> => {
        const { users } = await import('./users.ts');
        const options = { config: fileOf(config), json: json === true, print, complain };
        process.exitCode = await users(wanted, options);
      };
      command.command(
        'list',
        'all of them, with their first and last day',
        (each) => each.option('host', { type: 'string', describe: 'of this virtual host only' }),
        ({ host, config, json }) => run({ task: 'list', host }, config, json),
      );
      task('show', 'what is known of one');
      task('forget', 'leave nothing of a user: the next of this name is a new one');
      task('unpin', 'let the next who logs in by this name have it (after subject_changed)');
      return command
        .option('json', { type: 'boolean', default: false, describe: 'as JSON' })
        .demandCommand(1);
    })
    .option('config', { type: 'string', describe: 'configuration file (YAML or JSON)', global: true })
    .option('log-level', {
      choices: LEVELS,
      describe: 'how much is logged',
      global: true,
    })
    .version(version())
    .strict()
    .exitProcess(false)
    .help('help')
    .alias('help', 'h')
    .alias('version', 'V')
    .fail((message, error) => {
      throw error ?? new UsageError(message);
    });
  try {
    await parser.parseAsync();
  } catch (error) {
    const usage = error instanceof UsageError || (error as Error).name === 'YError';
    process.stderr.write(`extauth-oauth: ${error instanceof Error ? error.message : 'failed'}\n`);
    if (usage) process.stderr.write('Try extauth-oauth --help\n');
    process.exitCode = usage ? EXIT.usage : EXIT.failed;
  }
}

const LEVELS = ['debug', 'info', 'warn', 'error', 'silent'] as const;

function levelOf(value: unknown): (typeof LEVELS)[number] | undefined {
  return LEVELS.find((level) => level === value);
}

/** The command line is not understood. */
class UsageError extends Error {
  override readonly name = 'UsageError';
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

function complain(line: string): void {
  process.stderr.write(`${line}\n`);
}

function yamlFileOf(value: unknown): string {
  const file = fileOf(value, 'output');
  if (file !== undefined && /\.ya?ml$/.test(file)) return file;
  throw new UsageError('--output needs a file that ends in .yml');
}

/** The working directory is a server's to choose, but here somebody has typed the name in it. */
function fileOf(value: unknown, flag = 'config'): string | undefined {
  if (value === undefined) return undefined;
  if (typeof value !== 'string' || value === '') throw new UsageError(`--${flag} needs a file, once`);
  return resolve(value);
}

function once(flag: string, value: unknown): string | undefined {
  if (value === undefined || (typeof value === 'string' && value !== '')) return value;
  throw new UsageError(`--${flag} needs a value, once`);
}

/** Where this package lies, seen from dist/. */
const packageFolder = fileURLToPath(new URL('..', import.meta.url)).replace(/\/$/, '');

function version(): string {
  const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
    version: string;
  };
  return version;
}
