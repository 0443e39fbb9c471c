// From mod_auth_oauth_external's options in a prosody.cfg.lua to ours. Same names, without the prefix; what differs is
// said. Pure: what it is given has been read, and what it gives is written by others.
import type { LuaValue, ProsodyConfig, ProsodyOption } from '../servers/prosody-config.ts';
import { Secret } from '../verdict.ts';
import { SetupError } from './files.ts';
import { type Draft, draftOf, PREFIX } from './migrate-options.ts';
import { isHost, optionsFor, type Server } from './servers.ts';
import { type Entry, toYaml } from './yaml.ts';

export interface Migration {
  /** The virtual hosts that the module serves; empty when the file names none and the server can do without. */
  readonly hosts: readonly string[];
  readonly yaml: string;
  readonly secrets: readonly { readonly file: string; readonly secret: Secret }[];
  /** What is different from now on, or could not be taken over. */
  readonly notes: readonly string[];
  /** Lines of the server's files that have had their time: `file:line  name`. */
  readonly obsolete: readonly string[];
}

/** Where a virtual host must be named and none is known. */
const EXAMPLE = 'chat.example.org';

type Options = ReadonlyMap<string, ProsodyOption>;

/** `undefined`: there is nothing of the module in it. `folder`: where the secrets go. */
export function migrate(
  config: ProsodyConfig,
  { server, folder }: { readonly server: Server; readonly folder: string },
): Migration | undefined {
  const everywhere = [config.global, ...config.hosts.values()];
  const found = everywhere.flatMap((options) =>
    [...options].filter(([name, option]) => isOurs(name, option)),
  );
  if (found.length === 0) return undefined;

  const hosts = hostsOf(config);
  for (const host of hosts)
    if (!isHost(host)) throw new SetupError(`VirtualHost ${JSON.stringify(host)}: no host has such a name`);
  const notes: string[] = [];
  const drafts = hosts.map((host) => [host, draftOf(effective(config, host))] as const);
  const secrets = new Map<string, string>();
  const shared = allAlike(drafts.map(([, draft]) => draft));
  const entries: Entry[] = [];
  if (hosts.length === 0) {
    const draft = draftOf(config.global);
    tell(draft, '');
    entries.push(...withSecret(draft, ''));
    notes.push(
      `no VirtualHost says authentication = "oauth_external": the settings hold for whichever host asks`,
    );
  } else if (shared !== undefined) {
    tell(shared, '');
    entries.push(...withSecret(shared, ''), {
      why: 'The virtual hosts; others are refused. What one of them needs differently is written below it.',
      key: 'hosts',
      value: { entries: hosts.map((key) => ({ key, value: { entries: [] } })) },
    });
  } else {
    entries.push({
      why: 'The virtual hosts; others are refused. Each has all of its settings: what it had of its own and what was global.',
      key: 'hosts',
      value: {
        entries: drafts.map(([host, draft]) => {
          tell(draft, `${host}: `);
          return { key: host, value: { entries: withSecret(draft, host) } };
        }),
      },
    });
  }
  const named = hosts.length > 0 || server !== 'prosody-dovecot' ? hosts : [EXAMPLE];
  if (named !== hosts)
    notes.push(`${EXAMPLE} stands for each of your virtual hosts: a socket is for one of them`);
  entries.unshift(...optionsFor(server, named));
  return {
    hosts: named,
    yaml: toYaml(
      entries,
      `Made by \`extauth-oauth migrate\` from ${config.files[0]}. Try it: extauth-oauth check`,
    ),
    secrets: [...secrets].map(([secret, file]) => ({ file, secret: new Secret(secret) })),
    notes: [...new Set(notes)],
    obsolete: found.map(([name, { file, line }]) => `${file}:${line}  ${name}`),
  };

  function tell(draft: Draft, where: string): void {
    notes.push(...draft.notes.map((note) => where + note));
  }

  /** One file for each secret; the first has the plain name. */
  function withSecret({ entries: own, secret }: Draft, host: string): Entry[] {
    if (secret === undefined) return [...own];
    const file = secrets.get(secret) ?? `${folder}/client_secret${secrets.size === 0 ? '' : `.${host}`}`;
    secrets.set(secret, file);
    const at = own.findIndex(({ key }) => key === 'client_id') + 1;
    return [...own.slice(0, at), { key: 'client_secret_file', value: file }, ...own.slice(at)];
  }
}

function isOurs(name: string, { value }: ProsodyOption): boolean {
  return name.startsWith(PREFIX) || (name === 'authentication' && value === 'oauth_external');
}

/** Those that the module is switched on for; if it is for none, those that have options of it. */
function hostsOf({ global, hosts }: ProsodyConfig): string[] {
  const names = [...hosts];
  const on = names.filter(([, own]) => settingOf(own, global, 'authentication') === 'oauth_external');
  if (on.length > 0) return on.map(([name]) => name);
  return names
    .filter(([, own]) => [...own.keys()].some((name) => name.startsWith(PREFIX)))
    .map(([name]) => name);
}

function settingOf(own: Options, global: Options, name: string): LuaValue | undefined {
  return (own.get(name) ?? global.get(name))?.value;
}

/** As Prosody sees it: the host's own option, else the global one. */
function effective({ global, hosts }: ProsodyConfig, host: string): Options {
  return new Map([...global, ...(hosts.get(host) ?? [])]);
}

function allAlike(drafts: readonly Draft[]): Draft | undefined {
  const [first, ...others] = drafts;
  const same = (draft: Draft): boolean => JSON.stringify(draft.entries) === JSON.stringify(first?.entries);
  return others.every((each) => same(each) && each.secret === first?.secret) ? first : undefined;
}
