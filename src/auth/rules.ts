// The operator's own rules about a token: which scopes it must have, and what its claims must say. Pure.
import { type JsonObject, member } from '../oauth/json.ts';
import { type Refused, refused } from '../verdict.ts';
import { claimAt } from './claim-path.ts';

export interface OwnRules {
  readonly required_scopes?: readonly string[] | undefined;
  readonly require?: ReadonlyMap<string, readonly (string | number | boolean)[]> | undefined;
}

/** `undefined` when `claims` keep all of them. Whoever vouches for the claims must do so for each of them. */
export function judgeRules(
  claims: JsonObject,
  { required_scopes = [], require }: OwnRules,
): Refused | undefined {
  if (required_scopes.length > 0) {
    const granted = scopesOf(claims);
    const missing = required_scopes.find((scope) => !granted.has(scope));
    if (missing !== undefined)
      return refused('scope_missing', `the token does not have the scope ${missing} (required_scopes)`);
  }
  for (const [path, allowed] of require ?? []) {
    const value = claimAt(claims, path);
    // A list contains one of them, anything else is one of them; of the same type, so that "1" is not 1.
    const values: readonly unknown[] = Array.isArray(value) ? value : [value];
    if (!values.some((each) => allowed.includes(each as string)))
      return refused('rule_failed', `${path} is not what require wants`);
  }
  return undefined;
}

/** Whether the claims say everything that the rules ask about, whatever the answer. */
export function saysEnough(claims: JsonObject, { required_scopes = [], require }: OwnRules): boolean {
  return (
    (required_scopes.length === 0 || scopesOf(claims).size > 0) &&
    [...(require?.keys() ?? [])].every((path) => claimAt(claims, path) !== undefined)
  );
}

/** RFC 8693 section 4.2: `scope`, text with spaces; others have a list, or call it `scp`. */
export function scopesOf(claims: JsonObject): ReadonlySet<unknown> {
  const scopes = ['scope', 'scp'].flatMap((name) => {
    const value = member(claims, name);
    return typeof value === 'string' ? value.split(' ') : Array.isArray(value) ? value : [];
  });
  return new Set(scopes.filter((scope) => scope !== ''));
}
