// An ejabberd as a whole: its configuration, the program it starts, and what the machine lets that program do.

import type { Account } from './access.ts';
import { examineAppArmor } from './apparmor.ts';
import { tryAsUser } from './as-user.ts';
import { type Ejabberd, examineEjabberd, externalHosts, programsOf } from './ejabberd.ts';
import { examineListeners, examinePool } from './ejabberd-limits.ts';
import { examineEnvironment, serverEnvironment } from './environment.ts';
import type { Finding } from './finding.ts';
import { examineHardening } from './hardening.ts';
import { examineProgram } from './program.ts';
import { NOBODY } from './provider.ts';
import type { Situation } from './servers.ts';
import type { Unit } from './unit.ts';

/** By ejabberdctl, of Debian and of the installer. */
const SOURCED = ['/etc/default/ejabberd', '/opt/ejabberd/conf/ejabberdctl.cfg'];

export interface OfServer {
  readonly unit: Unit | undefined;
  readonly account: Account | undefined;
}

export async function* examineEjabberdServer(
  config: Ejabberd,
  { root, settings, files, token, asUser, unit, account }: Situation & OfServer,
): AsyncGenerator<Finding> {
  yield* examineEjabberd(config, settings);
  yield* examineListeners(config, token);
  const environment = serverEnvironment({ root, unit, account, commands: ['beam.smp'], sourced: SOURCED });
  const sockets = (settings?.process.listen ?? []).flatMap(({ path, protocol }) =>
    path !== undefined && protocol === 'extauth' ? [path] : [],
  );
  const hosts = externalHosts(config);
  for (const [command, those] of programsOf(config, hosts.length > 0 ? hosts : config.hosts)) {
    const program = examineProgram(command, {
      what: 'extauth_program',
      root,
      account,
      path: environment.variables.get('PATH') ?? '',
      sockets,
      isCommandLine: true,
    });
    yield* program.findings;
    const isDaemon = sockets.some((socket) => command.includes(socket));
    yield* examinePool(config, { root, isDaemon });
    const broken = program.findings.some(({ level }) => level === 'ERROR');
    if (!broken) yield* examineAppArmor(root, program.executed);
    if (unit !== undefined && !isDaemon)
      yield* examineHardening(unit, needsOf({ program: program.executed, files, settings, root }));
    if (!isDaemon)
      yield* examineEnvironment(environment, {
        whose: 'ejabberd',
        hasProxy:
          settings?.hosts.some(({ providers }) => providers.some(({ http }) => http.proxy !== undefined)) ??
          false,
        command,
        unit: unit?.name ?? 'ejabberd.service',
      });
    const [host = ''] = those;
    const user = asUser !== undefined && asUser === account?.name ? account : undefined;
    if (user !== undefined)
      yield await tryAsUser({
        what: 'extauth_program',
        account: user,
        environment,
        command,
        isCommandLine: true,
        host,
        nobody: NOBODY,
      });
  }
}

/** What our program must be able to reach. */
export function needsOf({
  program,
  files,
  settings,
  root,
}: {
  readonly program: readonly string[];
  readonly files: readonly string[];
  readonly settings: Situation['settings'];
  readonly root: Situation['root'];
}): { readonly read: readonly string[]; readonly write: readonly string[] } {
  const read = [...program, ...files.map((file) => root.real(file) ?? file)];
  const write = settings?.state.store === 'lmdb' ? [settings.state.folder] : [];
  return { read: [...new Set(read)], write };
}
