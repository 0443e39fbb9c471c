// A unit of systemd as it is in force: the file, and the drop-ins over it.
import type { Root } from './root.ts';

export interface Unit {
  /** As systemd calls it. */
  readonly name: string;
  readonly files: readonly string[];
  /** The last word on a setting of [Service]. */
  value(key: string): string | undefined;
  /** Everything that is said of a setting which adds up; an empty one starts again. */
  values(key: string): readonly string[];
}

/** The first place in which a unit is found counts, drop-ins of all count (systemd.unit(5)). */
const PLACES = [
  '/etc/systemd/system',
  '/run/systemd/system',
  '/usr/local/lib/systemd/system',
  '/usr/lib/systemd/system',
  '/lib/systemd/system',
];

/** `undefined` where there is no such unit. */
export function readUnit(root: Root, name: string): Unit | undefined {
  const main = PLACES.map((place) => `${place}/${name}`).find((file) => root.stat(file)?.isFile());
  if (main === undefined) return undefined;
  const dropIns = new Map<string, string>();
  for (const folder of ['service.d', `${name}.d`]) {
    // A drop-in of /etc replaces one of the same name further down.
    for (const place of [...PLACES].reverse())
      for (const file of root.list(`${place}/${folder}`))
        if (file.endsWith('.conf')) dropIns.set(file, `${place}/${folder}/${file}`);
  }
  const ordered = [...dropIns].sort(([one], [other]) => (one < other ? -1 : 1)).map(([, file]) => file);
  const files = [main, ...new Set(ordered)];
  const settings = files.flatMap((file) => serviceSettings(root.read(file) ?? ''));

  function values(key: string): string[] {
    let found: string[] = [];
    for (const [name, value] of settings) {
      if (name !== key) continue;
      found = value === '' ? [] : [...found, value];
    }
    return found;
  }
  return { name, files, values, value: (key) => values(key).at(-1) };
}

function serviceSettings(text: string): [key: string, value: string][] {
  const found: [string, string][] = [];
  let section = '';
  for (const line of text.replace(/\\\r?\n/g, ' ').split('\n')) {
    const trimmed = line.trim();
    if (trimmed === '' || /^[#;]/.test(trimmed)) continue;
    const header = /^\[(.+)\]$/.exec(trimmed)?.[1];
    if (header !== undefined) section = header;
    const equals = trimmed.indexOf('=');
    if (header === undefined && section === 'Service' && equals > 0)
      found.push([trimmed.slice(0, equals).trim(), trimmed.slice(equals + 1).trim()]);
  }
  return found;
}

/** systemd's yes. */
export function isOn(value: string | undefined): boolean {
  return value !== undefined && /^(?:1|yes|y|true|t|on)$/i.test(value);
}
