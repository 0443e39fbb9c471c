// What each XMPP server needs: options of ours, and the lines for its own configuration, as in examples/ and the README.
import type { Entry } from './yaml.ts';

export const servers = ['ejabberd', 'prosody', 'prosody-dovecot', 'mongooseim'] as const;
export type Server = (typeof servers)[number];

/** A virtual host's name: it becomes part of file names, of lines for a shell and of Lua. */
export function isHost(name: string): boolean {
  return /^[\p{L}\p{N}][\p{L}\p{M}\p{N}._-]*$/u.test(name);
}

/** Whose the secret must be: who reads it is the server that starts us, or the daemon. */
export function accountFor(server: Server, packaged: boolean): string {
  // Debian's package of ours gives the daemon an account of its own; without it, it runs as Prosody does.
  if (server === 'prosody-dovecot') return packaged ? 'extauth-oauth' : 'prosody';
  return server;
}

export interface Place {
  readonly config: string;
  readonly hosts: readonly string[];
  /** Where this package lies. */
  readonly folder: string;
  readonly node: string;
  /** Installed as Debian's package: with commands in /usr/bin, and with the units where they belong. */
  readonly packaged: boolean;
  /** What Prosody's plugin_paths are so far. */
  readonly pluginPaths?: readonly string[] | undefined;
}

/** Where it is looked for without being told. */
export const DEFAULT_CONFIG = '/etc/extauth-oauth/config.yml';
const SOCKETS = '/run/extauth-oauth';
const DOVECOT_MODULE = '/usr/lib/prosody/modules/mod_auth_dovecot';

/** Our options for it. */
export function optionsFor(server: Server, hosts: readonly string[]): Entry[] {
  switch (server) {
    case 'ejabberd':
      return [];
    case 'mongooseim':
      return [
        {
          why: 'MongooseIM takes yes and no for an answer, and nothing else.',
          key: 'setpass_reply',
          value: 'false',
        },
      ];
    case 'prosody':
      return [
        {
          why: "On Prosody's terminal nothing may be written but answers, so the log has a file, where Prosody has its own.",
          key: 'log',
          value: { entries: [{ key: 'destination', value: '/var/log/prosody/extauth-oauth.log' }] },
        },
      ];
    case 'prosody-dovecot':
      return [
        {
          why: 'The sockets of `extauth-oauth serve`, one for each virtual host: Prosody does not say which one somebody logs in to. systemd opens them (the socket units).',
          key: 'listen',
          value: {
            list: hosts.map((host) => [
              { key: 'name', value: host },
              { key: 'path', value: `${SOCKETS}/${host}.sock` },
              { key: 'protocol', value: 'dovecot' },
              { key: 'host', value: host },
            ]),
          },
        },
      ];
  }
}

/** What is to be written where, with headings. */
export function linesFor(server: Server, place: Place): string[] {
  switch (server) {
    case 'ejabberd':
      return ejabberd(place);
    case 'mongooseim':
      return mongooseim(place);
    case 'prosody':
      return prosodyTerminal(place);
    case 'prosody-dovecot':
      return prosodyDovecot(place);
  }
}

function command({ config, folder, node, packaged }: Place): string {
  const where = config === DEFAULT_CONFIG ? '' : `env EXTAUTH_OAUTH_CONFIG=${config} `;
  return where + (packaged ? '/usr/bin/extauth-oauth' : `${node} ${folder}/bin/extauth-oauth.js`);
}

function ejabberd(place: Place): string[] {
  const several = place.hosts.length > 0 ? ' (for these hosts alone: under host_config)' : '';
  return [
    `In ejabberd.yml${several}:`,
    '',
    'auth_method: [external]',
    `extauth_program: ${JSON.stringify(command(place))}`,
    'extauth_pool_size: 8',
    'auth_use_cache: false',
    'disable_sasl_mechanisms: ["X-OAUTH2", "DIGEST-MD5"]',
    '',
    'There, too, in each listener with `module: ejabberd_c2s`:',
    '',
    '    starttls_required: true',
    '    max_stanza_size: 65536',
    '    backlog: 1000',
    '',
    'With ejabberd 26.07, and tokens of more than 5.8 KB: pre_auth_max_stanza_size: 65536, too.',
    "And no mod_register: passwords are the provider's. Then: systemctl restart ejabberd",
  ];
}

function mongooseim(place: Place): string[] {
  return [
    'In mongooseim.toml, in place of the other methods of [auth]:',
    '',
    '[auth.external]',
    `  program = ${JSON.stringify(command(place))}`,
    '  instances = 8',
    '',
    'Then restart MongooseIM.',
  ];
}

function prosodyTerminal({ config, hosts, folder, packaged }: Place): string[] {
  const elsewhere =
    config === DEFAULT_CONFIG
      ? []
      : ['', 'By `systemctl edit prosody`:', '', '[Service]', `Environment=EXTAUTH_OAUTH_CONFIG=${config}`];
  return [
    'In prosody.cfg.lua (needs mod_auth_external_insecure of prosody-modules, and lpty 1.0.1):',
    '',
    ...(hosts.length === 0 ? ['authentication = "external_insecure"'] : []),
    'external_auth_protocol = "generic"',
    `external_auth_command = "${packaged ? '/usr' : folder}/bin/extauth-oauth-prosody"`,
    'external_auth_timeout = 5',
    'external_auth_blocking = true',
    'external_auth_processes = 1',
    'c2s_require_encryption = true',
    'allow_registration = false',
    ...hosts.flatMap((host) => ['', `VirtualHost "${host}"`, '\tauthentication = "external_insecure"']),
    '',
    'And take "register" out of modules_enabled.',
    ...elsewhere,
    '',
    'Then: systemctl restart prosody',
  ];
}

function prosodyDovecot({ config, hosts, folder, node, packaged, pluginPaths }: Place): string[] {
  const paths = [...(pluginPaths ?? []), DOVECOT_MODULE].map((path) => JSON.stringify(path)).join(', ');
  const sockets = hosts.map((host) => `extauth-oauth-prosody@${host}.socket`);
  return [
    "In prosody.cfg.lua (the module is in Debian's prosody-modules):",
    '',
    `plugin_paths = { ${paths} }`,
    ...(hosts.length === 0 ? ['authentication = "dovecot"'] : []),
    'c2s_unauthed_stanza_size_limit = 24000',
    'c2s_require_encryption = true',
    'allow_registration = false',
    ...hosts.flatMap((host) => [
      '',
      `VirtualHost "${host}"`,
      '\tauthentication = "dovecot"',
      `\tdovecot_auth_socket = "${SOCKETS}/${host}.sock"`,
    ]),
    '',
    'Never load "legacyauth" with it: it lets everybody in. No "register" in modules_enabled, either.',
    '',
    'The daemon, as root:',
    '',
    ...(packaged
      ? []
      : [
          `cp ${folder}/examples/systemd/extauth-oauth.service ${folder}/examples/systemd/extauth-oauth-prosody@.socket /etc/systemd/system/`,
        ]),
    'mkdir -p /etc/systemd/system/extauth-oauth.service.d',
    "cat > /etc/systemd/system/extauth-oauth.service.d/local.conf <<'END'",
    '[Service]',
    '# The daemon reads the secret where the configuration says.',
    'LoadCredential=',
    ...(packaged ? [] : ['DynamicUser=no', 'User=prosody']),
    ...(packaged && config === DEFAULT_CONFIG
      ? []
      : [
          'ExecStart=',
          packaged
            ? `ExecStart=/usr/bin/extauth-oauth serve --config ${config}`
            : `ExecStart=${node} ${folder}/bin/extauth-oauth.js serve --config ${config}`,
        ]),
    'END',
    'systemctl daemon-reload',
    `systemctl enable --now ${sockets.join(' ')}`,
    'systemctl enable --now extauth-oauth.service',
    'systemctl restart prosody',
  ];
}
