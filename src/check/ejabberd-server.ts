// An ejabberd as a whole: its configuration, and the program it starts.
import { type Ejabberd, examineEjabberd, externalHosts, programsOf } from './ejabberd.ts';
import { examineListeners, examinePool } from './ejabberd-limits.ts';
import type { Finding } from './finding.ts';
import type { Situation } from './servers.ts';
import { examineStarted, type OfServer } from './started.ts';

export async function* examineEjabberdServer(
  config: Ejabberd,
  situation: Situation & OfServer,
): AsyncGenerator<Finding> {
  const { root, settings, token } = situation;
  yield* examineEjabberd(config, settings);
  yield* examineListeners(config, token);
  const sockets = (settings?.process.listen ?? []).flatMap(({ path, protocol }) =>
    path !== undefined && protocol === 'extauth' ? [path] : [],
  );
  const external = externalHosts(config);
  yield* examinePool(config, { root, sockets });
  const programs = programsOf(config, external.length > 0 ? external : config.hosts);
  for (const [command, [host = '']] of programs)
    yield* examineStarted({ server: 'ejabberd', what: 'extauth_program', command, host, sockets }, situation);
}
