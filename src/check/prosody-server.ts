// A Prosody as a whole: its configuration, and what it starts or connects to.
import type { Finding } from './finding.ts';
import { examineLpty } from './lpty.ts';
import { examineProsody, hostsBy, optionOf, type Prosody } from './prosody.ts';
import { examineModule } from './prosody-modules.ts';
import { examineDovecot, examineExternal } from './prosody-ways.ts';
import type { Situation } from './servers.ts';
import { examineStarted, type OfServer } from './started.ts';

export async function* examineProsodyServer(
  config: Prosody,
  situation: Situation & OfServer,
): AsyncGenerator<Finding> {
  const { root, settings, token } = situation;
  yield* examineProsody(config, { settings, token });
  const overSocket = hostsBy(config, 'dovecot');
  yield* examineDovecot(config, overSocket, settings);
  if (overSocket.length > 0) yield* examineModule(root, config, 'auth_dovecot');

  const external = hostsBy(config, 'external');
  if (external.length === 0) return;
  const modules = external.map((host) => `auth_${optionOf(config, 'authentication', host)}`);
  for (const module of new Set(modules)) yield* examineModule(root, config, module);
  yield* examineExternal(config, external, settings);
  yield* examineLpty(root);
  const commands = new Map(
    external.map((host) => [optionOf(config, 'external_auth_command', host), host] as const),
  );
  for (const [command, host] of commands) {
    if (typeof command !== 'string') continue;
    const start = { server: 'prosody', what: 'external_auth_command', command, host, sockets: [] } as const;
    // That it is not our wrapper has been said.
    for await (const finding of examineStarted(start, situation))
      if (!(finding.level === 'warning' && finding.what === start.what)) yield finding;
  }
}
