// Where in the claims something stands: a claim's own name, or else a dotted path into them.
import { type JsonObject, member } from '../oauth/json.ts';

/** The value at `path`, or `undefined`. Names with dots in them, such as URLs, are found by their whole name first. */
export function claimAt(claims: JsonObject, path: string): unknown {
  return member(claims, path) ?? walk(claims, path.split('.'));
}

export function walk(claims: JsonObject, path: readonly string[]): unknown {
  let value: unknown = claims;
  for (const name of path) {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
    value = member(value as JsonObject, name);
  }
  return value;
}

/** The first of `paths` that the claims have. */
export function firstPresent(
  claims: JsonObject,
  paths: readonly string[],
): { readonly path: string; readonly value: unknown } | undefined {
  for (const path of paths) {
    const value = claimAt(claims, path);
    if (value !== undefined && value !== null) return { path, value };
  }
  return undefined;
}
