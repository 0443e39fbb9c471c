// ejabberd.yml against what external authentication needs of it. Why, in numbers: ejabberd 23.01, seen on the wire.
import type { Config } from '../config/load.ts';
import { findHost } from '../config/patterns.ts';
import { type EjabberdConfig, flagOf, listOf, type readEjabberdConfig } from '../servers/ejabberd-config.ts';
import { type Finding, fault, ok, warning } from './finding.ts';

export type Ejabberd = Awaited<ReturnType<typeof readEjabberdConfig>>;

/** Hosts whose logins are asked for outside. */
export function externalHosts(config: EjabberdConfig): readonly string[] {
  return config.hosts.filter((host) => methodsOf(config, host).includes('external'));
}

function methodsOf(config: EjabberdConfig, host: string | undefined): readonly string[] {
  const methods = listOf(config.option('auth_method', host)).map(String);
  return methods.length > 0 ? methods : ['internal'];
}

/** The command line of each host that has one: of most, the same. */
export function programsOf(
  config: EjabberdConfig,
  hosts: readonly string[],
): ReadonlyMap<string, readonly string[]> {
  const programs = new Map<string, string[]>();
  for (const host of hosts) {
    const program = config.option('extauth_program', host);
    if (isCommand(program)) programs.set(program, [...(programs.get(program) ?? []), host]);
  }
  return programs;
}

function isCommand(value: unknown): value is string {
  return typeof value === 'string' && value.trim() !== '';
}

/** An option that some hosts set in their own way is said once for each way, with the hosts. */
function* each(
  config: EjabberdConfig,
  hosts: readonly string[],
  judge: (host: string) => Finding | undefined,
): Generator<Finding> {
  const said = new Map<string, { finding: Finding; hosts: string[] }>();
  for (const host of hosts) {
    const finding = judge(host);
    if (finding === undefined) continue;
    const key = JSON.stringify(finding);
    const same = said.get(key) ?? { finding, hosts: [] };
    same.hosts.push(host);
    said.set(key, same);
  }
  for (const { finding, hosts: those } of said.values()) {
    const all = those.length === config.hosts.length;
    yield all ? finding : { ...finding, found: `${finding.found} (${those.join(', ')})` };
  }
}

export function* examineEjabberd(config: EjabberdConfig, settings: Config | undefined): Generator<Finding> {
  const external = externalHosts(config);
  // Where nothing is external yet, everything is said of the hosts that there are.
  const hosts = external.length > 0 ? external : config.hosts;
  yield* methods(config, external);
  yield* strangers(external, settings);
  yield* each(config, hosts, (host) =>
    isCommand(config.option('extauth_program', host))
      ? undefined
      : fault('ejabberd extauth_program', 'is not set', {
          why: 'ejabberd starts nothing that it could ask',
          line: 'extauth_program: "/usr/bin/node /usr/lib/node_modules/extauth-oauth/bin/extauth-oauth.js"',
        }),
  );
  yield* each(config, hosts, (host) => cache(config, host));
  yield* each(config, [...hosts], (host) => registration(config, host));
  if (
    config.option('extauth_cache') !== undefined ||
    config.hosts.some((host) => config.isOverridden('extauth_cache', host))
  )
    yield warning('ejabberd extauth_cache', 'is an option of before 17.06, and has no effect', {
      why: 'who wrote it meant to switch the cache on or off: auth_use_cache does, and it is on by default',
      line: 'auth_use_cache: false      # in the place of extauth_cache',
    });
  yield* each(config, hosts, (host) => oauthMechanism(config, host));
  if (String(config.option('auth_password_format')) === 'scram')
    yield ok(
      'ejabberd auth_password_format',
      'scram has no effect on external hosts: they have no stored passwords',
    );
}

function* methods(config: EjabberdConfig, external: readonly string[]): Generator<Finding> {
  const line = 'auth_method: [external]';
  if (external.length === 0) {
    yield warning(
      'ejabberd auth_method',
      `${methodsOf(config, undefined).join(', ')}: no host asks this program`,
      {
        why: 'logins are judged by something else',
        line,
      },
    );
    return;
  }
  for (const host of config.hosts) {
    const own = methodsOf(config, host);
    if (!own.includes('external')) {
      yield warning(
        'ejabberd auth_method',
        `${own.join(', ')} for ${host} (host_config): its logins are not asked for here`,
        {
          why: 'tokens and passwords of the provider are refused there, and those that ejabberd has stored accepted',
          line: `host_config: { "${host}": { auth_method: [external] } }`,
        },
      );
    }
  }
  yield* each(config, external, (host) => {
    const others = methodsOf(config, host).filter(
      (method) => method !== 'external' && method !== 'anonymous',
    );
    return others.length === 0
      ? undefined
      : warning(
          'ejabberd auth_method',
          `external, and ${others.join(', ')}: what is refused here is asked there`,
          {
            why: 'an account that has been closed at the provider goes on with an old password that is stored there',
            line,
          },
        );
  });
}

/** Hosts that ejabberd asks about, and that our configuration does not list. */
function* strangers(external: readonly string[], settings: Config | undefined): Generator<Finding> {
  const patterns = settings?.hosts.map(({ pattern }) => pattern) ?? [''];
  for (const host of external) {
    if (patterns.includes('') || findHost(patterns, host) !== undefined) continue;
    yield fault('hosts', `ejabberd asks about ${host}, which is not listed here`, {
      why: 'every login there is refused (unknown_host)',
      line: `hosts: { "${host}": {} }`,
    });
  }
}

function usesCache(config: EjabberdConfig, host: string): boolean {
  const own = flagOf(config.option('auth_use_cache', host));
  return own ?? flagOf(config.option('use_cache', host)) ?? true;
}

function cache(config: EjabberdConfig, host: string): Finding | undefined {
  if (!usesCache(config, host)) return undefined;
  const set = config.option('auth_use_cache', host) !== undefined;
  return fault('ejabberd auth_use_cache', set ? 'is true' : 'is not set, and true by default', {
    why: "ejabberd remembers passwords by itself: a user's second token is refused, a revoked one accepted, and before 26.07 whoever is remembered can log in as anybody",
    line: 'auth_use_cache: false',
  });
}

function registration(config: EjabberdConfig, host: string): Finding | undefined {
  const modules = config.option('modules', host);
  const module =
    typeof modules === 'object' && modules !== null
      ? (modules as Record<string, unknown>).mod_register
      : undefined;
  if (module === undefined) return undefined;
  const access = String((module as { access?: unknown } | null)?.access ?? 'all');
  if (access === 'none') return undefined;
  const found = 'is loaded: users may ask to make accounts, to change passwords and to remove accounts';
  const line = 'mod_register: { access: none }      # or leave it out of modules';
  return usesCache(config, host)
    ? fault('ejabberd mod_register', found, {
        why: 'with the cache on, a new password that was refused is accepted from then on, and names can be locked',
        line,
      })
    : warning('ejabberd mod_register', found, {
        why: 'accounts and passwords are the provider\'s: clients are told "done" when nothing was',
        line,
      });
}

function oauthMechanism(config: EjabberdConfig, host: string): Finding | undefined {
  const off = listOf(config.option('disable_sasl_mechanisms', host)).map((name) =>
    String(name).toUpperCase(),
  );
  return off.includes('X-OAUTH2')
    ? undefined
    : warning(
        'ejabberd X-OAUTH2',
        'is offered to clients: it takes tokens of ejabberd itself, not of the provider',
        {
          why: 'a client that prefers it cannot log in; and who has a token of ejabberd logs in past the provider',
          line: 'disable_sasl_mechanisms: ["X-OAUTH2", "DIGEST-MD5"]',
        },
      );
}
