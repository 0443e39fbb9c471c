// `init` and `migrate` on the command line: the two that write a configuration, and their flags.
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Argv } from 'yargs';
import { DEFAULT_CONFIG, servers } from '../setup/servers.ts';
import { complain, fileOf, once, print, UsageError } from './arguments.ts';

export function addSetup(parser: Argv): Argv {
  return parser
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
      async ({ config, host, secretFile, caFile, output, ...flags }) => {
        noConfig(config);
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
      async ({ config, file, output, server }) => {
        noConfig(config);
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
    );
}

/** It goes with every command, and here it would be taken for the file to write. */
function noConfig(config: unknown): void {
  if (config !== undefined) throw new UsageError('--config is a file to read: the one to write is --output');
}

function yamlFileOf(value: unknown): string {
  const file = fileOf(value, 'output');
  if (file !== undefined && /\.ya?ml$/.test(file)) return file;
  throw new UsageError('--output needs a file that ends in .yml');
}

/** Where this package lies, seen from dist/. */
const packageFolder = fileURLToPath(new URL('..', import.meta.url)).replace(/\/$/, '');
