// The XMPP servers of this machine: found, read, and looked at from the side of the program that they start.
import type { Config } from '../config/load.ts';
import { ServerConfigError } from '../servers/errors.ts';
import { type Account, accountOf } from './access.ts';
import { type Finding, fault, ok, warning } from './finding.ts';
import type { Root } from './root.ts';
import { readUnit, type Unit } from './unit.ts';

export interface ServerOptions {
  readonly root: Root;
  /** Where the root lies. */
  readonly folder: string;
  /** Files that were named; what is not is looked for. */
  readonly ejabberd: string | undefined;
  readonly prosody: string | undefined;
  /** Sockets of our daemon. */
  readonly sockets: readonly string[];
}

/** What one server is looked at with. */
export interface Situation {
  readonly root: Root;
  readonly settings: Config | undefined;
  /** Everything that our configuration consists of. */
  readonly files: readonly string[];
  /** Bytes of a sample token. */
  readonly token: number | undefined;
  /** Who is to try our program. */
  readonly asUser: string | undefined;
}

export interface Server {
  readonly kind: 'ejabberd' | 'prosody';
  readonly file: string;
  /** Somebody has asked for this one. */
  readonly isNamed: boolean;
  readonly unit: Unit | undefined;
  /** As whom it runs, and we. */
  readonly account: Account | undefined;
  /** It asks something outside about its logins. */
  readonly asksOutside: boolean;
  /** As a program that it starts: else it connects to our daemon. */
  readonly startsUs: boolean;
  readonly examine: (situation: Situation) => AsyncIterable<Finding>;
}

export interface Found {
  readonly servers: readonly Server[];
  readonly findings: readonly Finding[];
}

export const PLACES = {
  ejabberd: ['/etc/ejabberd/ejabberd.yml', '/opt/ejabberd/conf/ejabberd.yml'],
  prosody: ['/etc/prosody/prosody.cfg.lua'],
} as const;

export async function findServers(options: ServerOptions): Promise<Found> {
  const servers: Server[] = [];
  const findings: Finding[] = [];
  for (const kind of ['ejabberd', 'prosody'] as const) {
    const named = options[kind];
    const { root } = options;
    const file =
      named ?? PLACES[kind].find((place) => root.stat(place) !== undefined || root.isHidden(place));
    if (file === undefined) continue;
    const isThere = root.stat(file) !== undefined || root.isHidden(file);
    if (isThere && root.read(file) === undefined) {
      findings.push(
        warning(kind, `${file} cannot be read by this user: nothing is said of the server here`, {
          line: `sudo extauth-oauth check --${kind} ${file}`,
        }),
      );
      continue;
    }
    try {
      servers.push(await read(kind, file, named !== undefined, options));
    } catch (error) {
      if (!(error instanceof ServerConfigError)) throw error;
      findings.push(fault(kind, error.message, { why: `${kind} cannot start with it either` }));
    }
  }
  return { servers, findings };
}

async function read(
  kind: 'ejabberd' | 'prosody',
  file: string,
  isNamed: boolean,
  { root, folder, sockets }: ServerOptions,
): Promise<Server> {
  const unit = readUnit(root, `${kind}.service`);
  const account = accountOf(root, unit?.value('User') ?? kind);
  const common = { kind, file, isNamed, unit, account };
  switch (kind) {
    case 'ejabberd': {
      const { readEjabberdConfig } = await import('../servers/ejabberd-config.ts');
      const { externalHosts, programsOf } = await import('./ejabberd.ts');
      const { examineEjabberdServer } = await import('./ejabberd-server.ts');
      const config = await readEjabberdConfig(file, { root: folder });
      const external = externalHosts(config);
      const programs = [...programsOf(config, external).keys()];
      return {
        ...common,
        asksOutside: external.length > 0,
        startsUs: programs.some((command) => !sockets.some((socket) => command.includes(socket))),
        examine: (situation) => examineEjabberdServer(config, { ...situation, unit, account }),
      };
    }
    case 'prosody': {
      const { readProsodyConfig } = await import('../servers/prosody-config.ts');
      const { hostsBy } = await import('./prosody.ts');
      const { examineProsodyServer } = await import('./prosody-server.ts');
      const config = readProsodyConfig(root.place(file));
      const external = hostsBy(config, 'external');
      return {
        ...common,
        asksOutside: external.length + hostsBy(config, 'dovecot').length > 0,
        startsUs: external.length > 0,
        examine: (situation) => examineProsodyServer(config, { ...situation, unit, account }),
      };
    }
  }
}

/** A server that was found by itself and asks nobody outside is not ours to complain about: one line. */
export async function* examineServers(found: Found, situation: Situation): AsyncGenerator<Finding> {
  yield* found.findings;
  const someAsks = found.servers.some(({ asksOutside }) => asksOutside);
  for (const { kind, file, isNamed, asksOutside, examine } of found.servers) {
    if (isNamed || asksOutside) {
      yield ok(kind, file);
      yield* examine(situation);
    } else if (someAsks) yield ok(kind, `${file}: asks nobody outside about logins`);
    else
      yield warning(kind, `${file}: asks nobody outside about logins`, {
        line: `extauth-oauth check --${kind} ${file}      # says what to write`,
      });
  }
}
