// prosody.cfg.lua against what external authentication needs of it, by either of the two ways: a program on a terminal
// (mod_auth_external_insecure), or a socket (mod_auth_dovecot).
import type { Config } from '../config/load.ts';
import { findHost } from '../config/patterns.ts';
import type { LuaValue, readProsodyConfig } from '../servers/prosody-config.ts';
import { type Finding, fault, warning } from './finding.ts';

export type Prosody = ReturnType<typeof readProsodyConfig>;

export type Way = 'external' | 'dovecot';

/** What holds for a host. */
export function optionOf(config: Prosody, name: string, host: string): LuaValue | undefined {
  return (config.hosts.get(host)?.get(name) ?? config.global.get(name))?.value;
}

export function wayOf(config: Prosody, host: string): Way | undefined {
  const name = optionOf(config, 'authentication', host);
  if (name === 'external' || name === 'external_insecure') return 'external';
  return name === 'dovecot' ? 'dovecot' : undefined;
}

export function hostsBy(config: Prosody, way: Way): readonly string[] {
  return [...config.hosts.keys()].filter((host) => wayOf(config, host) === way);
}

export interface ProsodyOptions {
  readonly settings: Config | undefined;
  /** Bytes of a sample token. */
  readonly token: number | undefined;
}

/** What both ways have in common. */
export function* examineProsody(config: Prosody, { settings, token }: ProsodyOptions): Generator<Finding> {
  for (const { file, line, why } of config.notUnderstood.slice(0, 5))
    yield warning(
      'prosody',
      `${file}, line ${line}, is not understood (${why}): what it sets is not looked at`,
    );
  const asked = [...config.hosts.keys()].filter((host) => wayOf(config, host) !== undefined);
  if (asked.length === 0) {
    const name = String(config.global.get('authentication')?.value ?? 'internal_hashed');
    yield warning('prosody authentication', `${name}: no VirtualHost asks this program`, {
      why: 'logins are judged by something else',
      line: 'authentication = "dovecot"      -- with extauth-oauth serve; or "external_insecure"',
    });
    return;
  }
  for (const host of config.hosts.keys()) {
    if (wayOf(config, host) !== undefined) continue;
    yield warning(
      'prosody authentication',
      `${String(optionOf(config, 'authentication', host))} for ${host}`,
      {
        why: 'its logins are not asked for here: tokens and passwords of the provider are refused there',
        line: `VirtualHost "${host}"\n	authentication = "dovecot"`,
      },
    );
  }
  const patterns = settings?.hosts.map(({ pattern }) => pattern) ?? [''];
  for (const host of asked) {
    if (patterns.includes('') || findHost(patterns, host) !== undefined) continue;
    yield fault('hosts', `Prosody asks about ${host}, which is not listed here`, {
      why: 'every login there is refused (unknown_host)',
      line: `hosts: { "${host}": {} }`,
    });
  }
  for (const way of ['external', 'dovecot'] as const) {
    const [host] = hostsBy(config, way);
    if (host === undefined || token === undefined) continue;
    yield* tokenSize(config, host, { token, way });
  }
}

/** Prosody's own default, for who has not logged in. */
const UNAUTHED_STANZA = 10_000;
/** The stanza around PLAIN's base64, with names. */
const AROUND = 300;
/** mod_auth_external's query less the word, a user and a host. */
const EXTERNAL_QUERY = 1000;

function* tokenSize(
  config: Prosody,
  host: string,
  { token, way }: { readonly token: number; readonly way: Way },
): Generator<Finding> {
  if (way === 'external') {
    if (token > EXTERNAL_QUERY - 'auth:::'.length - host.length)
      yield fault('prosody token size', `the sample token of ${token} bytes does not fit`, {
        why: `mod_auth_external takes ${EXTERNAL_QUERY} bytes with user and host, and refuses what is longer without a word in the log`,
        line: 'authentication = "dovecot"      -- with extauth-oauth serve: no such limit',
      });
    return;
  }
  const limit = Number(optionOf(config, 'c2s_unauthed_stanza_size_limit', host) ?? UNAUTHED_STANZA);
  if (Math.ceil(token / 3) * 4 + AROUND > limit)
    yield fault(
      'prosody c2s_unauthed_stanza_size_limit',
      `is ${limit}: the sample token of ${token} bytes does not fit`,
      {
        why: 'a login with it ends with "XML stanza is too big"',
        line: 'c2s_unauthed_stanza_size_limit = 24000',
      },
    );
}
