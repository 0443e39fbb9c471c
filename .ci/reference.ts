// Every option as data: its name, default and values from the schema in src/config, its meaning from the comment beside it
// there. The README's table, the manual page and the JSON Schema are made of this.
import { readFileSync } from 'node:fs';
import { toJsonSchema } from '@valibot/to-json-schema';
import type { GenericSchema } from 'valibot';
import { cache, http, limits, log } from '../src/config/groups.ts';
import { listenOptions, socketOptions } from '../src/config/listen.ts';
import { lookupOptions } from '../src/config/lookup.ts';
import { hostOptions, processOptions } from '../src/config/schema.ts';
import { absolutePath, duration, url } from '../src/config/values.ts';

export type Json = Record<string, unknown>;

export interface Option {
  /** As the README writes it: `http.timeout`. */
  readonly name: string;
  /** Markdown. */
  readonly meaning: string;
  /** Markdown; empty where there is none. */
  readonly fallback: string;
  readonly values: readonly string[];
  readonly json: Json;
}

type Entries = Readonly<Record<string, GenericSchema>>;

interface Place {
  readonly file: string;
  /** The constant that holds the options there. */
  readonly holder: string;
  readonly entries: Entries;
}

const place = (file: string, holder: string, entries: object): Place => ({
  file: `src/config/${file}.ts`,
  holder,
  entries: entries as Entries,
});

/** The options of `listen` that `metrics` does not have. */
const withoutShared = Object.fromEntries(
  Object.entries(listenOptions).filter(([key]) => !Object.hasOwn(socketOptions, key)),
);

/** What stands under a name of its own. */
const GROUPS: Readonly<Record<string, readonly Place[]>> = {
  http: [place('groups', 'http', http)],
  cache: [place('groups', 'cache', cache)],
  limits: [place('groups', 'limits', limits)],
  log: [place('groups', 'log', log)],
  user_lookup: [place('lookup', 'lookupOptions', lookupOptions)],
  listen: [place('listen', 'listenOptions', withoutShared), place('listen', 'socketOptions', socketOptions)],
};
const HOST = place('schema', 'hostOptions', hostOptions);
const PROCESS = place('schema', 'processOptions', processOptions);

/** Not an option with a schema of its own: the names in it are free. */
export const HOSTS: Option = {
  name: 'hosts',
  meaning:
    'Virtual hosts, or `*.example.org`, each with options of its own; once it is there, no other host gets in. A host that names a provider of its own inherits no endpoint and no secret.',
  fallback: 'every host',
  values: [],
  json: {},
};

/** Options of the virtual hosts, with `http` and `user_lookup` at their places. */
export const ofHosts = (): Option[] => optionsOf('', [HOST]);
/** Options of the whole process. */
export const ofProcess = (): Option[] => optionsOf('', [PROCESS]);
export const ofGroup = (group: string): Option[] =>
  Object.hasOwn(GROUPS, group) ? optionsOf(`${group}.`, GROUPS[group] ?? []) : [];

/** All of them, in the order of the README. */
export function reference(): Option[] {
  const expand = (option: Option): Option[] => {
    const inner = ofGroup(option.name);
    // A list, a mapping that is off when it is missing: worth a row of their own.
    const own = inner.length === 0 || ['listen', 'user_lookup'].includes(option.name);
    return [...(own ? [option] : []), ...inner];
  };
  const hosts = ofHosts().filter(({ name }) => name !== 'http');
  return [...hosts.flatMap(expand), HOSTS, ...ofProcess().flatMap(expand), ...ofGroup('http')];
}

function optionsOf(prefix: string, places: readonly Place[]): Option[] {
  return places.flatMap(({ file, holder, entries }) => {
    const comments = commentsOf(file, holder);
    return Object.entries(entries).map(([key, schema]): Option => {
      const comment = comments.get(key);
      if (comment === undefined)
        throw new Error(`${file}: ${holder}.${key} has no comment that says what it is`);
      const [meaning = '', found] = comment.split(' @default ');
      const json = jsonOf(schema);
      const values = valuesOf(json);
      return { name: `${prefix}${key}`, meaning, fallback: found ?? defaultOf(json), values, json };
    });
  });
}

/** The doc comments of `const holder = { ... }` by the key that each stands before. */
function commentsOf(file: string, holder: string): Map<string, string> {
  const source = readFileSync(new URL(`../${file}`, import.meta.url), 'utf8');
  const body = new RegExp(`^(?:export )?const ${holder} = \\{\\n([\\s\\S]*?)^\\}`, 'm').exec(source)?.[1];
  if (body === undefined) throw new Error(`${file} has no const ${holder}`);
  const found = body.matchAll(/^ {2}\/\*\*((?:(?!\*\/)[\s\S])*)\*\/\n {2}(\w+)[:,]/gm);
  const plain = (comment: string): string =>
    comment
      .replace(/^\s*\* ?/gm, ' ')
      .replace(/\s+/g, ' ')
      .trim();
  return new Map([...found].map(([, comment = '', key = '']) => [key, plain(comment)]));
}

function jsonOf(schema: GenericSchema): Json {
  const { $schema: _, ...json } = toJsonSchema(schema, { typeMode: 'input', errorMode: 'ignore' }) as Json;
  if (Array.isArray(json.required) && json.required.length === 0) delete json.required;
  // What a check says in code.
  if (madeOf(schema, duration))
    return { ...json, anyOf: [{ const: 0 }, { type: 'string', pattern: '^(?:\\d{1,9}(?:ms|s|m|h)|0)$' }] };
  if (madeOf(schema, url)) return { ...json, pattern: '^[hH][tT][tT][pP][sS]?://[^#]+$' };
  if (madeOf(schema, absolutePath)) return { ...json, pattern: '^/' };
  return json;
}

function madeOf(schema: object, base: object): boolean {
  if (schema === base) return true;
  const { pipe = [], wrapped } = schema as { pipe?: readonly object[]; wrapped?: object };
  if (wrapped !== undefined) return madeOf(wrapped, base);
  return pipe[0] !== undefined && pipe[0] !== schema && madeOf(pipe[0], base);
}

function valuesOf(json: Json): string[] {
  const choices = [json, json.items, ...((json.anyOf as unknown[]) ?? [])] as (Json | undefined)[];
  const found = choices.flatMap((choice) => (Array.isArray(choice?.enum) ? choice.enum : []));
  return found.filter((value): value is string => typeof value === 'string' && value !== '');
}

function defaultOf(json: Json): string {
  const { default: value } = json;
  if (value === undefined || value === '' || typeof value === 'object') return '';
  // YAML would take it for a number.
  if (/^0\d+$/.test(String(value))) return `\`"${value}"\``;
  // A time or a number as it is, a word of ours as code.
  return /^\d+(?:ms|s|m|h)?$|^(?:true|false)$/.test(String(value)) ? String(value) : `\`${value}\``;
}
