// The commands that people type, as yargs commands with lazy handlers. The only place that prints usage or sets an exit code.
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { text as readAll } from 'node:stream/consumers';
import yargs from 'yargs';
import { complain, fileOf, print, printPainted, UsageError } from './arguments.ts';
import { EXIT } from './exit.ts';
import { addSetup } from './setup.ts';
import type { UsersTask } from './users.ts';

export async function main(args: readonly string[]): Promise<void> {
  // `check | head`: who reads no more has seen enough.
  process.stdout.on('error', () => process.exit());
  const parser = addSetup(yargs([...args]))
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
        process.exitCode = await login({
          config: fileOf(config),
          jid,
          stdin,
          as,
          program,
          print: printPainted,
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

function version(): string {
  const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
    version: string;
  };
  return version;
}
