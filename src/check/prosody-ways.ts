// The two ways from Prosody to us, each with what it cannot do without. What comes of it otherwise was seen with Prosody
// 0.12.3, lpty 1.0.1 and Debian's mod_auth_dovecot.
import type { Config } from '../config/load.ts';
import type { LuaValue } from '../servers/prosody-config.ts';
import { type Finding, fault, warning } from './finding.ts';
import { shownCommand } from './program.ts';
import { optionOf, type Prosody } from './prosody.ts';
import { modulesOf } from './prosody-modules.ts';

/** Of mod_auth_external, and ours on a terminal: seconds. */
const EXTERNAL_TIMEOUT = 5;
const DEADLINE = 4;

/** What several hosts have in common is said once. */
export function* examineExternal(
  config: Prosody,
  hosts: readonly string[],
  settings: Config | undefined,
): Generator<Finding> {
  const said = new Set<string>();
  for (const host of hosts)
    for (const finding of examineTerminal(config, host, settings)) {
      const text = JSON.stringify(finding);
      if (!said.has(text)) yield finding;
      said.add(text);
    }
}

function* examineTerminal(config: Prosody, host: string, settings: Config | undefined): Generator<Finding> {
  const get = (name: string): LuaValue | undefined => optionOf(config, name, host);
  const protocol = get('external_auth_protocol') ?? 'generic';
  if (protocol !== 'generic')
    yield fault('prosody external_auth_protocol', `is ${String(protocol)}, which a terminal cannot carry`, {
      why: 'queries do not arrive; and a login with a password of 780 bytes, by anybody, stops the server under systemd',
      line: 'external_auth_protocol = "generic"',
    });
  const command = get('external_auth_command');
  if (command === undefined)
    yield fault('prosody external_auth_command', 'is not set', {
      why: 'there is nothing that Prosody could ask',
      line: 'external_auth_command = "/usr/lib/node_modules/extauth-oauth/bin/extauth-oauth-prosody"',
    });
  else if (!/(?:^|\/)extauth-oauth-prosody$/.test(String(command)))
    yield fault(
      'prosody external_auth_command',
      `${shownCommand(String(command))} is not our wrapper, extauth-oauth-prosody`,
      {
        why: 'until a terminal is made raw, it echoes queries: Prosody takes that for answers, and accepts wrong passwords',
        line: 'external_auth_command = "/usr/lib/node_modules/extauth-oauth/bin/extauth-oauth-prosody"',
      },
    );
  if (get('external_auth_blocking') === false)
    yield fault('prosody external_auth_blocking', 'is false', {
      why: 'answers are lost as soon as anybody else is connected, and logins hang for ever',
      line: 'external_auth_blocking = true',
    });
  const timeout = Number(get('external_auth_timeout') ?? EXTERNAL_TIMEOUT);
  const deadline = (settings?.process.deadline ?? DEADLINE * 1000) / 1000;
  if (timeout < deadline + 1)
    yield fault(
      'prosody external_auth_timeout',
      `is ${timeout} s, and an answer may take ${deadline} s (deadline)`,
      {
        why: 'an answer after the timeout is taken for the answer to the next query, whoever that is about',
        line: `external_auth_timeout = ${Math.ceil(deadline + 1)}`,
      },
    );
  const modules = modulesOf(config, host);
  const [register] = ['register', 'user_account_management'].filter((name) => modules.includes(name));
  if (register !== undefined)
    yield fault('prosody modules_enabled', `has "${register}", by which users change passwords`, {
      why: 'a new password with a line break in it is a query of its own: who is logged in gets others accepted with wrong passwords',
      line: `-- take "${register}" out of modules_enabled`,
    });
}

export function* examineDovecot(
  config: Prosody,
  hosts: readonly string[],
  settings: Config | undefined,
): Generator<Finding> {
  const listen = (settings?.process.listen ?? []).filter(({ protocol }) => protocol === 'dovecot');
  const users = new Map<string, string[]>();
  for (const host of hosts) {
    const get = (name: string): LuaValue | undefined => optionOf(config, name, host);
    const socket = String(get('dovecot_auth_socket') ?? '/var/run/dovecot/auth-login');
    users.set(socket, [...(users.get(socket) ?? []), host]);
    const ours = listen.find(({ path }) => path === socket);
    if (settings !== undefined && ours === undefined) {
      const meant = listen.find((each) => each.host === host && each.path !== undefined) ?? listen[0];
      yield fault(
        'prosody dovecot_auth_socket',
        `${socket} (${host}) is no socket of ours: listen does not name it`,
        {
          why: 'nobody answers there, or somebody else',
          line:
            meant?.path === undefined
              ? `listen: [{ protocol: dovecot, path: ${socket}, host: ${host}, group: prosody }]`
              : `dovecot_auth_socket = "${meant.path}"`,
        },
      );
    } else if (ours?.host !== undefined && ours.host !== host) {
      yield fault('prosody dovecot_auth_socket', `${socket} is that of ${ours.host}, and ${host} uses it`, {
        why: `users of ${host} are looked for among those of ${ours.host}`,
        line: `VirtualHost "${host}"\n	dovecot_auth_socket = "/run/extauth-oauth/${host}.sock"`,
      });
    }
    for (const name of ['auth_append_host', 'handle_appended'])
      if (get(name) === true)
        yield fault(`prosody ${name}`, `is true for ${host}`, {
          why: 'Prosody logs in the name that was typed, whatever the provider says',
          line: `-- leave ${name} out`,
        });
    if (modulesOf(config, host).includes('legacyauth'))
      yield fault('prosody modules_enabled', 'has "legacyauth"', {
        why: 'with mod_auth_dovecot it lets everybody in with any password',
        line: '-- take "legacyauth" out of modules_enabled',
      });
  }
  for (const [socket, those] of users) {
    if (those.length < 2 || settings?.hosts.length === 1) continue;
    yield warning('prosody dovecot_auth_socket', `${socket} is that of ${those.join(' and ')} alike`, {
      why: 'the protocol does not say which host somebody logs in to: each needs a socket of its own',
      line: `VirtualHost "${those[1]}"\n	dovecot_auth_socket = "/run/extauth-oauth/${those[1]}.sock"`,
    });
  }
}
