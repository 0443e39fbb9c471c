// What a server starts to ask us: the program, and what the machine lets it do under that server.
import type { Account } from './access.ts';
import { examineAppArmor } from './apparmor.ts';
import { tryAsUser } from './as-user.ts';
import { examineEnvironment, serverEnvironment } from './environment.ts';
import type { Finding } from './finding.ts';
import { examineHardening } from './hardening.ts';
import { examineProgram } from './program.ts';
import { NOBODY } from './provider.ts';
import type { Situation } from './servers.ts';
import type { Unit } from './unit.ts';

export interface OfServer {
  readonly unit: Unit | undefined;
  /** As whom it runs. */
  readonly account: Account | undefined;
}

export interface Start {
  readonly server: 'ejabberd' | 'prosody';
  /** The option. */
  readonly what: string;
  readonly command: string;
  /** One of those that it is for. */
  readonly host: string;
  /** Sockets of our daemon that it may connect to. */
  readonly sockets: readonly string[];
}

/** What the processes are called, and what their environment comes from beside the unit. */
const PROCESSES = {
  // ejabberdctl of Debian and of the installer reads these.
  ejabberd: {
    commands: ['beam.smp'],
    sourced: ['/etc/default/ejabberd', '/opt/ejabberd/conf/ejabberdctl.cfg'],
  },
  prosody: { commands: ['prosody', 'lua5.4', 'lua5.3', 'lua5.2', 'lua5.1'], sourced: [] },
} as const;

export async function* examineStarted(
  { server, what, command, host, sockets }: Start,
  { root, settings, files, asUser, unit, account }: Situation & OfServer,
): AsyncGenerator<Finding> {
  const environment = serverEnvironment({ root, unit, account, ...PROCESSES[server] });
  const isCommandLine = server === 'ejabberd';
  const path = environment.variables.get('PATH') ?? '';
  const program = examineProgram(command, { what, root, account, path, sockets, isCommandLine });
  yield* program.findings;
  const isBroken = program.findings.some(({ level }) => level === 'ERROR');
  if (server === 'ejabberd' && !isBroken) yield* examineAppArmor(root, program.executed);
  // What only carries bytes needs neither Node nor the provider.
  const isDaemon = sockets.some((socket) => command.includes(socket));
  if (!isDaemon) {
    const read = [...program.executed, ...files.map((file) => root.real(file) ?? file)];
    const write = settings?.state.store === 'lmdb' ? [settings.state.folder] : [];
    if (unit !== undefined) yield* examineHardening(unit, { read: [...new Set(read)], write });
    const providers = settings?.hosts.flatMap((each) => each.providers) ?? [];
    yield* examineEnvironment(environment, {
      whose: server,
      hasProxy: providers.some(({ http }) => http.proxy !== undefined),
      command,
      unit: unit?.name ?? `${server}.service`,
    });
  }
  if (asUser === undefined || account === undefined || asUser !== account.name) return;
  yield await tryAsUser({ what, account, environment, command, isCommandLine, host, nobody: NOBODY });
}
