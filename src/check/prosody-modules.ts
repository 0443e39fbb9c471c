// Modules of Prosody: where it looks for one (util/pluginloader.lua of 0.12), and which are loaded for a host.
import type { LuaValue } from '../servers/prosody-config.ts';
import { type Finding, fault } from './finding.ts';
import type { Prosody } from './prosody.ts';
import type { Root } from './root.ts';

/** Of Debian's package, and where `prosodyctl install` puts what it installs. */
const OWN_FOLDERS = ['/usr/lib/prosody/modules', '/var/lib/prosody/custom_plugins'];

const REMEDY: Readonly<Record<string, string>> = {
  auth_dovecot: 'apt install prosody-modules',
  auth_external_insecure:
    'cp prosody-modules/mod_auth_external_insecure/*.lua /usr/local/lib/prosody/modules/      # https://hg.prosody.im/prosody-modules',
};

/** `name`: without `mod_`. */
export function* examineModule(root: Root, config: Prosody, name: string): Generator<Finding> {
  const folders = [...textsOf(config.global.get('plugin_paths')?.value), ...OWN_FOLDERS];
  const file = `mod_${name}.lua`;
  const names = [`mod_${name}/${name}/${file}`, `mod_${name}/${file}`, `${name}/${file}`, file];
  const isThere = folders.some((folder) =>
    names.some((each) => root.stat(`${folder}/${each}`)?.isFile() === true),
  );
  if (isThere) return;
  yield fault('prosody plugin_paths', `there is no mod_${name} in ${folders.join(', ')}`, {
    why: 'the module does not load, and nobody can log in',
    line: REMEDY[name] ?? `plugin_paths = { "/the/folder/of/mod_${name}" }`,
  });
}

/** What is loaded for a host: the global list and its own, less what is switched off. */
export function modulesOf(config: Prosody, host: string): readonly string[] {
  const own = config.hosts.get(host);
  const listed = (name: string): string[] => [
    ...textsOf(config.global.get(name)?.value),
    ...textsOf(own?.get(name)?.value),
  ];
  const off = listed('modules_disabled');
  return listed('modules_enabled').filter((name) => !off.includes(name));
}

/** One or a list, as Prosody reads both. */
function textsOf(value: LuaValue | undefined): string[] {
  if (Array.isArray(value)) return value.map(String);
  if (typeof value === 'object' && value !== null) return Object.values(value).map(String);
  return typeof value === 'string' ? [value] : [];
}
