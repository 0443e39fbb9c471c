// The program that a server starts: as the command line says, as the server's own configuration says, or ours.
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { optionOf } from '../check/prosody.ts';
import { PLACES } from '../check/servers.ts';
import { ServerConfigError } from '../servers/errors.ts';
import type { TypedJid } from './request.ts';
import type { Server } from './surroundings.ts';

export interface Program {
  /** The line of `extauth_program`, or the file of `external_auth_command`. */
  readonly program: string;
  /** The file that says so, where one does. */
  readonly from: string;
}

export async function programOf({
  server,
  program,
  jid,
}: {
  readonly server: Server;
  readonly program: string | undefined;
  readonly jid: TypedJid;
}): Promise<Program> {
  if (program !== undefined) return { program, from: '' };
  const file = PLACES[server].find((place) => existsSync(place));
  const configured = file && (await configuredProgram(server, file, jid.host));
  if (configured !== undefined && configured !== '') return { program: configured, from: file ?? '' };
  const [bridge, wrapper] = ['../bin/extauth-oauth.js', '../bin/extauth-oauth-prosody'].map((path) =>
    fileURLToPath(new URL(path, import.meta.url)),
  );
  return { program: server === 'ejabberd' ? `${process.execPath} ${bridge}` : `${wrapper}`, from: '' };
}

/** `undefined` also where the file is not ours to read, or wrong: `check` is for that. */
async function configuredProgram(server: Server, file: string, host: string): Promise<string | undefined> {
  try {
    const value =
      server === 'ejabberd'
        ? (await (await import('../servers/ejabberd-config.ts')).readEjabberdConfig(file)).option(
            'extauth_program',
            host,
          )
        : optionOf(
            (await import('../servers/prosody-config.ts')).readProsodyConfig(file),
            'external_auth_command',
            host,
          );
    return typeof value === 'string' ? value : undefined;
  } catch (error) {
    if (error instanceof ServerConfigError) return undefined;
    throw error;
  }
}
