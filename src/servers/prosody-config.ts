// prosody.cfg.lua, read as Prosody reads it (core/configmanager.lua), with one difference: it is a program there, and only
// text here. What would have to be run to be known is named in `notUnderstood`.
import { dirname, resolve } from 'node:path';
import type { Expression, Identifier, Statement } from 'luaparse';
import { ServerConfigError } from './errors.ts';
import { type Known, type LuaValue, outline, type Reading, readValue } from './lua.ts';
import { everyNode, lineOf, matching, parseLua } from './lua-file.ts';
import { commandOf, kindOf, opensHost } from './prosody-commands.ts';

export { ServerConfigError } from './errors.ts';
export type { LuaValue } from './lua.ts';

export interface ProsodyOption {
  readonly value: LuaValue;
  readonly file: string;
  readonly line: number;
}

export interface NotUnderstood {
  readonly file: string;
  readonly line: number;
  /** What stands there, without its texts. */
  readonly text: string;
  readonly why: string;
}

export interface ProsodyConfig {
  /** Read, in this order; those of Include with them. */
  readonly files: readonly string[];
  readonly global: ReadonlyMap<string, ProsodyOption>;
  /** VirtualHosts only, with their own options: what they inherit stands in `global`. */
  readonly hosts: ReadonlyMap<string, ReadonlyMap<string, ProsodyOption>>;
  readonly components: readonly string[];
  readonly notUnderstood: readonly NotUnderstood[];
}

type Options = Map<string, ProsodyOption>;
type Scope = Map<string, Known>;

interface Found {
  readonly files: string[];
  readonly global: Options;
  readonly hosts: Map<string, Options>;
  readonly components: Map<string, Options>;
  readonly notUnderstood: NotUnderstood[];
}

/** Throws a ServerConfigError for a file that cannot be read or is no Lua. */
export function readProsodyConfig(file: string): ProsodyConfig {
  const found: Found = {
    files: [],
    global: new Map(),
    hosts: new Map(),
    components: new Map(),
    notUnderstood: [],
  };
  readInto(found, resolve(file), []);
  return { ...found, components: [...found.components.keys()] };
}

/** As often as they are included: a few files that include each other twice stand for billions. */
const MAX_FILES = 1000;

/** Each file begins outside of all hosts, and sees no variable of another. */
function readInto(found: Found, file: string, including: readonly string[]): void {
  if (found.files.length >= MAX_FILES) throw new ServerConfigError({ file, what: 'is one file too many' });
  const { body } = parseLua(file);
  found.files.push(file);
  /** Where options go; undefined when only the running server knows. */
  let target: Options | undefined = found.global;
  /** Options set in this file so far, for who reads them back. */
  const set: Scope = new Map();

  try {
    run(body, [new Map()]);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new ServerConfigError({ file, what: 'is nested too deeply' });
  }

  function run(statements: readonly Statement[], outer: readonly Scope[]): void {
    const scopes = [...outer];
    const local = scopes.at(-1) ?? new Map();
    for (const statement of statements) {
      switch (statement.type) {
        case 'LocalStatement':
          for (const [index, name] of statement.variables.entries()) {
            local.set(name.name, nth(statement.init, index, scopes, statement));
          }
          break;
        case 'AssignmentStatement':
          for (const [index, variable] of statement.variables.entries()) {
            const known = nth(statement.init, index, scopes, statement);
            if (variable.type === 'Identifier')
              assign(variable, known, scopes, statement, statement.init[index]);
            else {
              forget(variable, scopes);
              note(statement, `${outline(variable)} = …`, 'a part of a table is changed');
            }
          }
          break;
        case 'CallStatement':
          call(statement.expression, scopes, statement);
          break;
        case 'DoStatement':
          run(statement.body, [...scopes, new Map()]);
          break;
        case 'ReturnStatement':
          return;
        default:
          skip(statement, scopes);
      }
    }
  }

  /** `a, b = 1, 2`; what has no value is nil. */
  function nth(values: readonly Expression[], index: number, scopes: readonly Scope[], at: Statement): Known {
    const value = values[index];
    if (value !== undefined) return readValue(value, reading(scopes, at));
    const last = values.at(-1);
    const many = last?.type.endsWith('CallExpression') || last?.type === 'VarargLiteral';
    return last !== undefined && many
      ? { unknown: last, why: 'what it gives is known to the running server only' }
      : { value: null };
  }

  function reading(scopes: readonly Scope[], at: Statement): Reading {
    return {
      lookup: (identifier) => {
        const { name } = identifier;
        const scope = scopes.findLast((each) => each.has(name));
        const local = scope?.get(name);
        if (local !== undefined) return local;
        if (name.startsWith('ENV_'))
          return { unknown: identifier, why: 'a variable of the environment of the running server' };
        const option = set.get(name);
        if (option === undefined) return { unknown: identifier, why: 'nothing of this file says what it is' };
        note(
          at,
          name,
          `taken for what was set above, as it is surely meant; but Prosody finds nothing in it: write local ${name} = …`,
        );
        return option;
      },
      drop: (part, why) => note(at, outline(part), `${why}; left out of its table`),
    };
  }

  function assign(
    name: Identifier,
    known: Known,
    scopes: readonly Scope[],
    at: Statement,
    source: Expression | undefined,
  ): void {
    const scope = scopes.findLast((each) => each.has(name.name));
    if (scope !== undefined) {
      scope.set(name.name, known);
      return;
    }
    set.set(name.name, known);
    put(name.name, known, at, source);
  }

  function put(name: string, known: Known, at: Statement, source: Expression | undefined): void {
    if ('unknown' in known) {
      // An earlier value would be a guess.
      target?.delete(name);
      // A word alone may be a text whose quotes were forgotten.
      const isWord = source?.type === 'Identifier' && !source.name.startsWith('ENV_');
      note(
        at,
        `${name} = ${isWord ? '…' : outline(source ?? known.unknown)}`,
        isWord ? known.why : `${outline(known.unknown)}: ${known.why}`,
      );
    } else if (target === undefined) {
      note(at, `${name} = …`, 'which host it is for is known to the running server only');
    } else if (known.value === null) target.delete(name);
    else target.set(name, { value: known.value, file, line: lineOf(at) });
  }

  /** `VirtualHost "x"`, `Component "x" "muc" { … }`, `Include "x"`; everything else is code. */
  function call(expression: Expression, scopes: readonly Scope[], at: Statement): void {
    const { command, name: first, options } = commandOf(expression);
    if (command === undefined || first === undefined) {
      note(at, outline(expression), 'it is code');
      return;
    }
    const name = readValue(first, reading(scopes, at));
    if ('unknown' in name || typeof name.value !== 'string') {
      if (command !== 'include') target = undefined;
      const why = 'unknown' in name ? `${outline(name.unknown)}: ${name.why}` : 'it has no name';
      note(at, outline(expression), why);
      return;
    }
    if (command === 'include') {
      include(name.value, at);
      return;
    }
    const places = command === 'host' ? found.hosts : found.components;
    // Prosody takes nameprep here, which is this for the names that hosts have.
    const host = name.value.toLowerCase();
    const own = places.get(host) ?? new Map();
    places.set(host, own);
    target = own;
    if (options === undefined) return;
    for (const field of options.fields) {
      if (field.type !== 'TableKeyString') continue;
      put(field.key.name, readValue(field.value, reading(scopes, at)), at, field.value);
    }
    target = found.global;
  }

  function include(name: string, at: Statement): void {
    const path = resolve(dirname(file), name);
    try {
      for (const each of /[*?]/.test(name) ? matching(path) : [path]) {
        if ([...including, file].includes(each)) note(at, `Include "${name}"`, 'it includes itself');
        else readInto(found, each, [...including, file]);
      }
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (error instanceof ServerConfigError && error.line !== undefined) throw error;
      const why =
        error instanceof ServerConfigError ? error.message : `${dirname(path)} cannot be listed (${code})`;
      note(at, `Include "${name}"`, why);
    }
  }

  /** Conditions, loops, functions: what they set is not known from here on. */
  function skip(statement: Statement, scopes: readonly Scope[]): void {
    const names = new Set<string>();
    let moves = false;
    everyNode(statement, (node) => {
      if (node.type === 'AssignmentStatement') {
        for (const variable of (node as Extract<Statement, { type: 'AssignmentStatement' }>).variables) {
          const name = forget(variable, scopes);
          if (name !== undefined) names.add(name);
        }
      }
      if (opensHost(node)) moves = true;
    });
    for (const name of names) target?.delete(name);
    if (moves) target = undefined;
    const what = names.size === 0 ? '' : `, which sets ${[...names].join(', ')}`;
    note(statement, kindOf(statement), `it is code${what}`);
  }

  /** The name that is assigned to, whose value is unknown from here on. */
  function forget(variable: Expression, scopes: readonly Scope[]): string | undefined {
    if (variable.type === 'MemberExpression' || variable.type === 'IndexExpression')
      return forget(variable.base, scopes);
    if (variable.type !== 'Identifier') return undefined;
    const scope = scopes.findLast((each) => each.has(variable.name)) ?? set;
    scope.set(variable.name, { unknown: variable, why: 'code changes it' });
    return scope === set ? variable.name : undefined;
  }

  function note(at: Statement, text: string, why: string): void {
    found.notUnderstood.push({ file, line: lineOf(at), text, why });
  }
}
