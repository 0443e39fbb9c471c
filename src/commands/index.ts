// The commands that people type, as yargs commands with lazy handlers. The only place that prints usage or sets an exit code.
import { readFileSync } from 'node:fs';
import yargs from 'yargs';
import { EXIT } from './exit.ts';

export async function main(args: readonly string[]): Promise<void> {
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
      'look at the configuration and ask the provider whether it can work',
      {},
      async ({ config }) => {
        const { check } = await import('./check.ts');
        process.exitCode = await check({ config: text(config), print });
      },
    )
    .command(
      'login <jid>',
      'log one user in as the server would, and show every step; the secret is asked for',
      (command) =>
        command
          .positional('jid', { type: 'string', demandOption: true, describe: 'user@virtual.host' })
          .option('stdin', { type: 'boolean', default: false, describe: 'read the secret from stdin' }),
      async ({ config, jid, stdin }) => {
        const { login } = await import('./login.ts');
        process.exitCode = await login({ config: text(config), jid, stdin, print });
      },
    )
    .option('config', { type: 'string', describe: 'configuration file (YAML or JSON)', global: true })
    .option('log-level', {
      choices: ['debug', 'info', 'warn', 'error', 'silent'],
      describe: 'how much the bridge logs',
      global: true,
    })
    .version(version())
    .strict()
    .exitProcess(false)
    .fail((message, error) => {
      // An error without a message of yargs' is one that a handler has thrown.
      if (message === null || message === undefined || message === '') throw error;
      process.stderr.write(`extauth-oauth: ${message}\nTry extauth-oauth --help\n`);
      process.exitCode = EXIT.usage;
    });
  try {
    await parser.parseAsync();
  } catch (error) {
    process.stderr.write(`extauth-oauth: ${error instanceof Error ? error.message : 'failed'}\n`);
    process.exitCode = EXIT.failed;
  }
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

function version(): string {
  const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
    version: string;
  };
  return version;
}
