// What `init` has to know: from flags, else asked for on a terminal, else said to be missing, all at once.
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { ProviderError } from '../oauth/errors.ts';
import { Secret } from '../verdict.ts';
import type { Asker } from './ask.ts';
import { type Discovery, discover, issuerFrom } from './discover.ts';
import { SetupError } from './files.ts';
import { isHost, type Server, servers } from './servers.ts';
import type { Wishes } from './starter.ts';

export interface Flags {
  readonly issuer: string | undefined;
  readonly hosts: readonly string[];
  readonly server: Server | undefined;
  readonly passwords: boolean;
  readonly tokens: boolean;
  readonly clientId: string | undefined;
  /** A file that is there. */
  readonly secretFile: string | undefined;
  /** The client has no secret. */
  readonly public: boolean;
  readonly caFile: string | undefined;
  readonly output: string;
}

export interface Answers {
  readonly discovery: Discovery;
  readonly wishes: Wishes;
  /** Typed, and still to be written to `wishes.secretFile`. */
  readonly secret: Secret | undefined;
}

/** Something must be said that is neither by a flag nor can be asked for. */
export class MissingFlags extends SetupError {}

export async function answers(flags: Flags, asker: Asker | undefined): Promise<Answers> {
  const beside = join(dirname(flags.output), 'client_secret');
  const secretThere = flags.secretFile ?? (existsSync(beside) ? beside : undefined);
  if (asker === undefined) {
    const missing = [
      ...(flags.issuer === undefined ? ['--issuer URL'] : []),
      ...(flags.hosts.length === 0 ? ['--host VIRTUAL.HOST'] : []),
      ...(flags.server === undefined ? [`--server ${servers.join('|')}`] : []),
      ...(flags.clientId === undefined ? ['--client-id ID'] : []),
      ...(secretThere === undefined && !flags.public
        ? [`--secret-file FILE (or the secret in ${beside}, or --public for a client without one)`]
        : []),
    ];
    if (missing.length > 0)
      throw new MissingFlags(`this is no terminal to ask on, so say the rest: ${missing.join(', ')}`);
  }
  const ask = async (flag: string | undefined, question: string, preset?: string): Promise<string> =>
    flag ?? (await asker?.ask(question, preset)) ?? '';

  const discovery = await findProvider(flags, asker);
  const hosts =
    flags.hosts.length > 0
      ? flags.hosts
      : (await ask(undefined, 'Virtual hosts of the XMPP server')).split(/[\s,]+/);
  for (const host of hosts) {
    if (!isHost(host)) throw new SetupError(`${host} is no virtual host: what stands behind the @ of a JID`);
  }
  const server = await ask(flags.server, `Server: ${servers.join(', ')}`, installed());
  const chosen = servers.find((each) => each === server);
  if (chosen === undefined) throw new SetupError(`${server} is none of ${servers.join(', ')}`);
  const said = flags.passwords || flags.tokens;
  const types =
    said || asker === undefined ? '' : await asker.ask('Users type: passwords, tokens or both', 'tokens');
  const clientId = await ask(flags.clientId, 'Client id at the provider', 'xmpp');

  let secret: Secret | undefined;
  let secretFile = flags.public ? undefined : secretThere;
  if (secretThere === undefined && !flags.public && asker !== undefined) {
    const typed = (await asker.hidden('Client secret, or nothing for a client without one')).trim();
    if (typed !== '') [secret, secretFile] = [new Secret(typed), beside];
  }
  return {
    discovery,
    secret,
    wishes: {
      hosts: [...new Set(hosts.map((host) => host.toLowerCase()))],
      server: chosen,
      passwords: flags.passwords || /^(?:p|b)/i.test(types),
      tokens: flags.tokens || /^(?:t|b)/i.test(types) || (!said && types === ''),
      clientId,
      secretFile,
      caFile: flags.caFile,
    },
  };
}

/** What this machine seems to have. */
function installed(): Server {
  return existsSync('/etc/prosody') && !existsSync('/etc/ejabberd') ? 'prosody-dovecot' : 'ejabberd';
}

/** Somebody at a terminal may try again; the provider's own spelling of its name is the only one that works. */
async function findProvider({ issuer: flag, caFile }: Flags, asker: Asker | undefined): Promise<Discovery> {
  let typed = flag;
  for (;;) {
    const wanted = typed ?? (await asker?.ask('Issuer: the address of the provider')) ?? '';
    try {
      const issuer = issuerFrom(wanted);
      const found = await discover(issuer, caFile);
      if (found.issuer === issuer) return found;
      const other = `the provider at ${issuer} calls itself ${found.issuer}`;
      if (asker === undefined) throw new SetupError(`${other}: write --issuer ${found.issuer}`);
      if (await asker.confirm(`${other}. Is that the one?`)) return found;
    } catch (error) {
      if (
        !(error instanceof SetupError || error instanceof ProviderError) ||
        asker === undefined ||
        flag !== undefined
      )
        throw error;
      process.stderr.write(`${error.message}\n`);
    }
    typed = undefined;
  }
}
