// Lua expressions as far as their values can be known by reading them. Nothing is ever executed: a call, an environment
// variable or a file stays unknown, with the reason, and is shown without the texts in it, which may be secrets.
import type { Expression, Identifier } from 'luaparse';

/** A value of prosody.cfg.lua as far as it can be known without running it. */
export type LuaValue =
  | string
  | number
  | boolean
  | null
  | readonly LuaValue[]
  | { readonly [key: string]: LuaValue };

/** What an expression is, or the part of it that cannot be known, and why. */
export type Known = { readonly value: LuaValue } | { readonly unknown: Expression; readonly why: string };

/** What a name stands for. */
export type Lookup = (name: Identifier) => Known;

/** `drop` hears of each unknown entry of a table, which is left out of it. */
export interface Reading {
  readonly lookup: Lookup;
  readonly drop: (part: Expression, why: string) => void;
}

export function readValue(expression: Expression, reading: Reading): Known {
  switch (expression.type) {
    case 'StringLiteral':
      // The file was read as one character a byte, which is what a Lua string is.
      return { value: Buffer.from(expression.value, 'latin1').toString('utf8') };
    case 'NumericLiteral':
    case 'BooleanLiteral':
      return { value: expression.value };
    case 'NilLiteral':
      return { value: null };
    case 'Identifier':
      return reading.lookup(expression);
    case 'TableConstructorExpression':
      return bounded(table(expression.fields, reading), expression);
    case 'MemberExpression':
    case 'IndexExpression':
      return member(expression, reading);
    case 'UnaryExpression': {
      const of = readValue(expression.argument, reading);
      if ('unknown' in of) return of;
      if (expression.operator === 'not') return { value: !truthy(of.value) };
      if (expression.operator === '-' && typeof of.value === 'number') return { value: -of.value };
      return { unknown: expression, why: `${expression.operator} is not worked out here` };
    }
    case 'BinaryExpression':
      return combined(expression, reading);
    case 'LogicalExpression': {
      const left = readValue(expression.left, reading);
      if ('unknown' in left) return left;
      return truthy(left.value) === (expression.operator === 'or')
        ? left
        : readValue(expression.right, reading);
    }
    case 'CallExpression':
    case 'StringCallExpression':
    case 'TableCallExpression':
      return { unknown: expression, why: 'what it gives is known to the running server only' };
    case 'FunctionDeclaration':
    case 'VarargLiteral':
      return { unknown: expression, why: 'it is code' };
  }
}

function truthy(value: LuaValue): boolean {
  return value !== null && value !== false;
}

type Operation = Extract<Expression, { type: 'BinaryExpression' }>;

/** Characters. A file can double a text line by line. */
const MAX_TEXT = 65_536;

function combined(expression: Operation, reading: Reading): Known {
  const left = readValue(expression.left, reading);
  if ('unknown' in left) return left;
  const right = readValue(expression.right, reading);
  if ('unknown' in right) return right;
  const [a, b] = [left.value, right.value];
  const texts = [a, b].every((each) => typeof each === 'string' || typeof each === 'number');
  if (expression.operator === '..' && texts) {
    const value = `${a}${b}`;
    return value.length <= MAX_TEXT ? { value } : { unknown: expression, why: 'it is too long' };
  }
  if (typeof a === 'number' && typeof b === 'number') {
    switch (expression.operator) {
      case '+':
        return { value: a + b };
      case '-':
        return { value: a - b };
      case '*':
        return { value: a * b };
      case '/':
        return { value: a / b };
    }
  }
  const nothing = a === null ? expression.left : b === null ? expression.right : undefined;
  if (nothing !== undefined) return { unknown: nothing, why: 'it is nil here' };
  return { unknown: expression, why: `${expression.operator} is not worked out for these` };
}

function member(
  expression: Extract<Expression, { type: 'MemberExpression' | 'IndexExpression' }>,
  reading: Reading,
): Known {
  const base = readValue(expression.base, reading);
  // os.getenv and the like: the whole of it is what is not known.
  if ('unknown' in base) return { unknown: expression, why: base.why };
  const key: Known =
    expression.type === 'MemberExpression'
      ? { value: expression.identifier.name }
      : readValue(expression.index, reading);
  if ('unknown' in key) return key;
  const { value } = base;
  if (typeof value !== 'object' || value === null || typeof key.value === 'object')
    return { unknown: expression, why: 'it is no table' };
  // Lua counts from 1.
  if (Array.isArray(value))
    return { value: typeof key.value === 'number' ? (value[key.value - 1] ?? null) : null };
  const found = Object.entries(value).find(([name]) => name === String(key.value));
  return { value: found === undefined ? null : found[1] };
}

/** A list when nothing in it has a name; else a mapping, in which what has no name is `1`, `2` and so on. */
function table(
  fields: Extract<Expression, { type: 'TableConstructorExpression' }>['fields'],
  reading: Reading,
): LuaValue {
  const list: LuaValue[] = [];
  const named: [string, LuaValue][] = [];
  for (const field of fields) {
    const { drop } = reading;
    const of = readValue(field.value, reading);
    if ('unknown' in of) {
      drop(of.unknown, of.why);
      continue;
    }
    if (field.type === 'TableValue') {
      list.push(of.value);
      continue;
    }
    const key: Known =
      field.type === 'TableKeyString' ? { value: field.key.name } : readValue(field.key, reading);
    if ('unknown' in key) drop(key.unknown, key.why);
    else if (of.value !== null) named.push([String(key.value), of.value]);
  }
  if (named.length === 0) return list;
  return Object.fromEntries([...list.map((value, index) => [String(index + 1), value] as const), ...named]);
}

/** Values in a table. One that stands twice in the next, line by line, is a few lines that stand for billions. */
const MAX_VALUES = 100_000;
const sizes = new WeakMap<object, number>();

function bounded(table: LuaValue, expression: Expression): Known {
  const within = Object.values(Object(table)) as LuaValue[];
  const size = within.reduce((sum: number, each) => sum + (sizes.get(Object(each)) ?? 1), 1);
  if (size > MAX_VALUES) return { unknown: expression, why: 'it is too long' };
  sizes.set(Object(table), size);
  return { value: table };
}

/** Calls whose text is the name of something, and never a secret itself. */
const NAMING =
  /^(?:os\.getenv|Lua\.os\.getenv|require|Lua\.require|Credential|FileContents|FileLine|FileLines|io\.open)$/;

/** The expression with `"…"` for each text, so that no secret of the file is shown. */
export function outline(expression: Expression): string {
  switch (expression.type) {
    case 'StringLiteral':
      return '"…"';
    case 'NumericLiteral':
    case 'BooleanLiteral':
    case 'NilLiteral':
      return expression.raw;
    case 'Identifier':
      return expression.name;
    case 'MemberExpression':
      return `${outline(expression.base)}${expression.indexer}${expression.identifier.name}`;
    case 'IndexExpression':
      return `${outline(expression.base)}[${outline(expression.index)}]`;
    case 'UnaryExpression':
      return `${expression.operator} ${outline(expression.argument)}`;
    case 'BinaryExpression':
    case 'LogicalExpression':
      return `${outline(expression.left)} ${expression.operator} ${outline(expression.right)}`;
    case 'CallExpression':
      return call(expression.base, expression.arguments);
    case 'StringCallExpression':
      return call(expression.base, [expression.argument]);
    case 'TableCallExpression':
      return `${outline(expression.base)} {…}`;
    case 'TableConstructorExpression':
      return '{…}';
    case 'FunctionDeclaration':
      return 'function …';
    case 'VarargLiteral':
      return '...';
  }
}

function call(base: Expression, given: readonly Expression[]): string {
  const name = outline(base);
  const shown = given.map((each) =>
    NAMING.test(name) && each.type === 'StringLiteral' ? JSON.stringify(each.value) : outline(each),
  );
  return `${name}(${shown.join(', ')})`;
}
