// JSON from outside, narrowed once. An object in which a name occurs twice means different things to different
// readers (RFC 8259 section 4), and is refused wherever a verdict depends on it.

export type JsonObject = { readonly [name: string]: unknown };

export type ParsedJson =
  | { readonly kind: 'object'; readonly value: JsonObject }
  | { readonly kind: 'duplicate' }
  | { readonly kind: 'other' };

/** Reads UTF-8 text that must be one JSON object. */
export function parseJsonObject(text: string): ParsedJson {
  const parsed = parseJson(text);
  if (parsed.kind !== 'list') return parsed;
  return { kind: 'other' };
}

/** Reads UTF-8 text that must be a JSON object, or a list. */
export function parseJson(
  text: string,
): ParsedJson | { readonly kind: 'list'; readonly value: readonly unknown[] } {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return { kind: 'other' };
  }
  if (typeof value !== 'object' || value === null) return { kind: 'other' };
  if (mayRepeatNames(text, value) && hasDuplicateNames(text)) return { kind: 'duplicate' };
  return Array.isArray(value) ? { kind: 'list', value } : { kind: 'object', value: value as JsonObject };
}

/** The member `name` of `object` itself, never something inherited. */
export function member(object: JsonObject, name: string): unknown {
  return Object.hasOwn(object, name) ? object[name] : undefined;
}

/**
 * Every name that was written ends in a quote and a colon. Where there are no more of these than members, and no colon has
 * white space before it that could hide one, no name can have been written twice.
 */
function mayRepeatNames(text: string, value: object): boolean {
  return SPACED_COLONS.some((part) => text.includes(part)) || count(text, '":') !== countMembers(value);
}

const SPACED_COLONS = [' :', '\t:', '\r:', '\n:'];

function count(text: string, part: string): number {
  let found = 0;
  for (let at = text.indexOf(part); at !== -1; at = text.indexOf(part, at + 1)) found++;
  return found;
}

/** Of the object and of all inside it. No recursion: the text says how deep it is, and may say a million. */
function countMembers(value: object): number {
  let members = 0;
  const open: object[] = [value];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const isList = Array.isArray(next);
    for (const name in next) {
      if (!isList) members++;
      const inner: unknown = (next as Record<string, unknown>)[name];
      if (typeof inner === 'object' && inner !== null) open.push(inner);
    }
  }
  return members;
}

const TOKENS = /"(?:[^"\\]|\\.)*"|[{}:,[\]]/g;

/** Walks text that JSON.parse has taken. A string is a name when a colon follows it. */
function hasDuplicateNames(text: string): boolean {
  const open: (Set<string> | undefined)[] = [];
  let last = '';
  for (const [token] of text.matchAll(TOKENS)) {
    if (token === '{') open.push(new Set());
    else if (token === '[') open.push(undefined);
    else if (token === '}' || token === ']') open.pop();
    else if (token === ':') {
      const names = open.at(-1);
      const name = last.includes('\\') ? String(JSON.parse(last)) : last.slice(1, -1);
      if (names?.has(name)) return true;
      names?.add(name);
    }
    last = token;
  }
  return false;
}
