// ejabberd.yml as ejabberd reads it: files included, macros replaced, options of one host over those of all. (What is said
// here of its rules is from ejabberd 23.01 and its library yconf.)
import { existsSync } from 'node:fs';
import { dirname, isAbsolute, join } from 'node:path';
import { readPlainFile } from '../plain-file.ts';
import { ServerConfigError } from './errors.ts';

export type EjabberdValue = unknown;
export type EjabberdOptions = Readonly<Record<string, EjabberdValue>>;

export interface EjabberdConfig {
  /** Read, included ones with them. */
  readonly files: readonly string[];
  /** Virtual hosts, in lower case. */
  readonly hosts: readonly string[];
  /** What holds for `host`, or at the top; `undefined` where the option is not set. */
  option(name: string, host?: string): EjabberdValue;
  /** Whether the host says something of its own. */
  isOverridden(name: string, host: string): boolean;
  readonly listeners: readonly EjabberdOptions[];
}

export interface ReadOptions {
  /** Where absolute names begin, if not at `/`. */
  readonly root?: string;
}

/** Includes of includes; more is a circle. */
const MAX_DEPTH = 20;
/** As often as they are included: files that include others twice are a few that stand for millions. */
const MAX_FILES = 1000;

/** `left`: values that may still be looked at. */
type Macros = ReadonlyMap<string, unknown> & { left: number };
type Load = (text: string, options: { readonly json: boolean }) => unknown;

/** Throws a ServerConfigError. */
export async function readEjabberdConfig(
  file: string,
  { root = '/' }: ReadOptions = {},
): Promise<EjabberdConfig> {
  const { load } = await import('js-yaml');
  const files: string[] = [];
  const pairs = readPairs(file, { load, root, files, folder: dirname(file), depth: 0 });
  const macros = Object.assign(new Map<string, unknown>(), { left: MAX_VALUES });
  for (const [name, value] of pairs) {
    // define_keyword is for inside of texts only; macros are for both since 24.12.
    if (name !== 'define_macro' && name !== 'define_keyword') continue;
    for (const [macro, meaning] of entriesOf(value)) macros.set(macro, meaning);
  }
  const top: Record<string, unknown> = {};
  const own = new Map<string, Record<string, unknown>>();
  const appended: [host: string, name: string, value: unknown][] = [];
  for (const [name, raw] of pairs) {
    if (name === 'define_macro' || name === 'define_keyword') continue;
    const value = replaceMacros(raw, macros);
    if (name === 'host_config') {
      for (const [host, options] of entriesOf(value))
        own.set(host.toLowerCase(), {
          ...own.get(host.toLowerCase()),
          ...Object.fromEntries(entriesOf(options)),
        });
    } else if (name === 'append_host_config') {
      for (const [host, options] of entriesOf(value))
        for (const [option, more] of entriesOf(options)) appended.push([host.toLowerCase(), option, more]);
    } else {
      top[name] = Object.hasOwn(top, name) ? joined(top[name], value) : value;
    }
  }
  for (const [host, name, more] of appended) {
    const options = own.get(host) ?? {};
    const before = Object.hasOwn(options, name) ? options[name] : top[name];
    own.set(host, { ...options, [name]: joined(before, more) });
  }
  const hosts = listOf(top.hosts).map((host) => String(host).toLowerCase());
  return {
    files,
    hosts: [...new Set(hosts)],
    option(name, host) {
      const options = host === undefined ? undefined : own.get(host);
      return options !== undefined && Object.hasOwn(options, name) ? options[name] : top[name];
    },
    isOverridden: (name, host) => Object.hasOwn(own.get(host) ?? {}, name),
    listeners: listOf(top.listen).filter(isMap),
  };
}

interface Reading {
  readonly load: Load;
  readonly root: string;
  readonly files: string[];
  /** Of the main file. */
  readonly folder: string;
  readonly depth: number;
}

/** Options in their order, those of included files where the include stands. */
function readPairs(file: string, reading: Reading): [name: string, value: unknown][] {
  if (reading.depth > MAX_DEPTH) throw new ServerConfigError({ file, what: 'includes itself' });
  if (reading.files.length >= MAX_FILES) throw new ServerConfigError({ file, what: 'is one file too many' });
  reading.files.push(file);
  const document = parse(file, reading);
  if (document === undefined || document === null) return [];
  if (!isMap(document)) throw new ServerConfigError({ file, what: 'is no mapping of options to values' });
  return Object.entries(document).flatMap(([name, value]) =>
    name === 'include_config_file' ? includes(value, reading) : [[name, value] as [string, unknown]],
  );
}

/** A name, a list of names, or names with options which of the file's options count. */
function includes(value: unknown, reading: Reading): [string, unknown][] {
  const wanted = isMap(value)
    ? Object.entries(value)
    : listOf(value).map((name) => [name, undefined] as const);
  return wanted.flatMap(([name, rules]) => {
    if (isMap(name)) return includes(name, reading);
    const only = listOf(member(rules, 'allow_only')).map(String);
    const not = listOf(member(rules, 'disallow')).map(String);
    const path = String(name);
    const file = isAbsolute(path) ? path : beside(path, reading);
    return readPairs(file, { ...reading, depth: reading.depth + 1 }).filter(([option]) =>
      only.length > 0 ? only.includes(option) : !not.includes(option),
    );
  });
}

/** Where Debian's ejabberd works: what has no absolute name is looked for there. */
const SPOOL = '/var/lib/ejabberd';

/** Other installations work elsewhere; then beside the file is the best guess. */
function beside(path: string, { folder, root }: Reading): string {
  const inSpool = join(SPOOL, path);
  return existsSync(join(root, inSpool)) ? inSpool : join(folder, path);
}

function parse(file: string, { load, root }: Reading): unknown {
  let text: string;
  try {
    text = readPlainFile(join(root, file)).toString();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const found =
      code === 'ENOENT'
        ? 'does not exist'
        : code === 'EACCES'
          ? 'cannot be read by this user'
          : `cannot be read (${code})`;
    throw new ServerConfigError({ file, what: found });
  }
  let document: unknown;
  try {
    document = load(text, { json: true });
  } catch (error) {
    // Without the excerpt: there may be a password in it.
    const { reason, mark } = error as { reason?: string; mark?: { line: number } };
    const what = reason?.split(/[:;"'`<(!*&]/)[0]?.trim() ?? 'unreadable';
    throw new ServerConfigError({ file, line: mark && mark.line + 1, what: `is not valid YAML: ${what}` });
  }
  if (!isSmall(document, { left: MAX_VALUES }))
    throw new ServerConfigError({ file, what: 'stands for too many values' });
  return document;
}

/** An alias may stand for what it stands in. No configuration is so deep. */
const MAX_NESTING = 100;
/** Nor has one so many values: aliases of aliases are a few lines that stand for billions. What is beyond is left as it is. */
const MAX_VALUES = 100_000;

/** Whether a document is no larger than a configuration is, each alias counted as what it stands for. */
function isSmall(value: unknown, room: { left: number }, depth = 0): boolean {
  if (--room.left < 0 || depth > MAX_NESTING) return false;
  if (typeof value !== 'object' || value === null) return true;
  return Object.values(value).every((each) => isSmall(each, room, depth + 1));
}

/** A value that is a macro's name is what the macro means; since 24.12 `@NAME@` is, too, also inside of a text. */
function replaceMacros(value: unknown, macros: Macros, inside: readonly string[] = [], depth = 0): unknown {
  if (macros.size === 0 || depth > MAX_NESTING || --macros.left < 0) return value;
  const meaningOf = (name: string): unknown =>
    replaceMacros(macros.get(name), macros, [...inside, name], depth + 1);
  if (typeof value === 'string') {
    const name = macros.has(value) ? value : /^@([^@\s]+)@$/.exec(value)?.[1];
    if (name !== undefined && macros.has(name) && !inside.includes(name)) return meaningOf(name);
    return value.replace(/@([^@\s]+)@/g, (text, part: string) =>
      macros.has(part) ? String(macros.get(part)) : text,
    );
  }
  if (Array.isArray(value)) return value.map((each) => replaceMacros(each, macros, inside, depth + 1));
  if (!isMap(value)) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, each]) => [name, replaceMacros(each, macros, inside, depth + 1)]),
  );
}

/** Lists grow, mappings are laid over, of everything else the later one counts. */
function joined(before: unknown, more: unknown): unknown {
  if (before === undefined) return more;
  if (Array.isArray(before) || Array.isArray(more)) return [...listOf(before), ...listOf(more)];
  return isMap(before) && isMap(more) ? { ...before, ...more } : more;
}

function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function member(value: unknown, name: string): unknown {
  return isMap(value) ? value[name] : undefined;
}

/** Of a mapping, also one that is written as a list of mappings. */
function entriesOf(value: unknown): [string, unknown][] {
  if (Array.isArray(value)) return value.flatMap(entriesOf);
  return isMap(value) ? Object.entries(value) : [];
}

/** One or a list: ejabberd takes both nearly everywhere. */
export function listOf(value: unknown): readonly unknown[] {
  if (value === undefined || value === null) return [];
  return Array.isArray(value) ? value : [value];
}

/** As ejabberd reads a yes or no; `undefined` for anything else. */
export function flagOf(value: unknown): boolean | undefined {
  if (typeof value === 'boolean') return value;
  if (['true', 'on', 'yes', 'y'].includes(String(value))) return true;
  if (['false', 'off', 'no', 'n'].includes(String(value))) return false;
  return undefined;
}
