// A Prosody as a whole: its configuration, and what it starts or connects to.
import { tryAsUser } from './as-user.ts';
import { needsOf, type OfServer } from './ejabberd-server.ts';
import { examineEnvironment, serverEnvironment } from './environment.ts';
import type { Finding } from './finding.ts';
import { examineHardening } from './hardening.ts';
import { examineLpty } from './lpty.ts';
import { examineProgram } from './program.ts';
import { examineProsody, hostsBy, optionOf, type Prosody } from './prosody.ts';
import { examineDovecot, examineExternal } from './prosody-ways.ts';
import { NOBODY } from './provider.ts';
import type { Situation } from './servers.ts';

export async function* examineProsodyServer(
  config: Prosody,
  { root, settings, files, token, asUser, unit, account }: Situation & OfServer,
): AsyncGenerator<Finding> {
  yield* examineProsody(config, { settings, token });
  yield* examineDovecot(config, hostsBy(config, 'dovecot'), settings);
  const external = hostsBy(config, 'external');
  const [host] = external;
  if (host === undefined) return;
  yield* examineExternal(config, external, settings);
  yield* examineLpty(root);
  const command = optionOf(config, 'external_auth_command', host);
  if (typeof command !== 'string') return;
  const environment = serverEnvironment({
    root,
    unit,
    account,
    commands: ['prosody', 'lua5.4', 'lua5.3', 'lua5.2', 'lua5.1'],
  });
  const program = examineProgram(command, {
    what: 'external_auth_command',
    root,
    account,
    path: environment.variables.get('PATH') ?? '',
    sockets: [],
    isCommandLine: false,
  });
  // That it is not our wrapper has been said.
  yield* program.findings.filter(({ level }) => level === 'ERROR');
  if (unit !== undefined)
    yield* examineHardening(unit, needsOf({ program: program.executed, files, settings, root }));
  yield* examineEnvironment(environment, {
    whose: 'prosody',
    hasProxy:
      settings?.hosts.some(({ providers }) => providers.some(({ http }) => http.proxy !== undefined)) ??
      false,
    command,
    unit: unit?.name ?? 'prosody.service',
  });
  if (asUser !== undefined && account !== undefined && asUser === account.name)
    yield await tryAsUser({
      what: 'external_auth_command',
      account,
      environment,
      command,
      isCommandLine: false,
      host,
      nobody: NOBODY,
    });
}
