// The small value types that configuration options are made of.
import * as v from 'valibot';
import { algorithms } from '../oauth/jwk.ts';

const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

const NOT_A_DURATION = 'must be a duration such as 500ms, 4s, 5m or 1h';

/** `500ms`, `4s`, `5m`, `1h`; `0` needs no unit. Milliseconds come out. */
export const duration = v.pipe(
  v.union([v.literal(0), v.string()], NOT_A_DURATION),
  v.check((value) => /^(?:\d{1,9}(?:ms|s|m|h)|0)$/.test(String(value)), NOT_A_DURATION),
  v.transform((value): number => {
    const [, count = '0', unit = ''] = /^(\d+)(.*)$/.exec(String(value)) ?? [];
    return Number(count) * (UNITS[unit] ?? 1);
  }),
);

export const text = v.pipe(v.string('must be text (put it in quotes)'), v.minLength(1, 'must not be empty'));

export const flag = v.boolean('must be true or false');

/** One text or a list of them; a list comes out. */
export const texts = v.pipe(
  v.union([text, v.pipe(v.array(text), v.minLength(1))], 'must be text or a list of texts'),
  v.transform((value): readonly string[] => (typeof value === 'string' ? [value] : value)),
);

/** Names of hosts, without scheme, port or path. */
export const hostNames = v.pipe(
  texts,
  v.check(
    (names) => names.every((name) => /^[^/:@\s]+$|^\[[\da-fA-F:.]+\]$/.test(name)),
    'must be host names: no https://, no port',
  ),
  v.transform((names): readonly string[] => names.map((name) => name.toLowerCase())),
);

export const url = v.pipe(
  text,
  v.check((value) => {
    const parsed = URL.canParse(value) ? new URL(value) : undefined;
    return parsed?.protocol === 'https:' || parsed?.protocol === 'http:';
  }, 'must be a URL that begins with https://'),
  v.check(
    (value) => !URL.canParse(value) || new URL(value).username + new URL(value).password === '',
    'must not hold a user name or password',
  ),
  v.check((value) => !value.includes('#'), 'must not have a fragment (#...)'),
);

export const absolutePath = v.pipe(
  text,
  v.check(
    (value) => value.startsWith('/'),
    'must be an absolute path: the working directory is not ours to choose',
  ),
);

const scalar = v.union([v.string(), v.number(), v.boolean()], 'must be text, a number, true or false');

/** The first word of an Authorization header: a token (RFC 9110 section 11.1). */
export const authScheme = v.pipe(
  text,
  v.regex(/^[\w!#$%&'*+.^`|~-]+$/, 'must be one word, such as Bearer or token'),
);

/** Claims by name or dotted path, each with the value, or the values of which one, that it must have. */
export const claimRules = v.pipe(
  v.custom<Record<string, unknown>>(
    (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
    'must be a mapping of claims to values',
  ),
  v.record(
    text,
    v.union([scalar, v.pipe(v.array(scalar), v.minLength(1))], 'must be a value or a list of values'),
    'must be a mapping of claims to values',
  ),
  v.transform((rules): ReadonlyMap<string, readonly (string | number | boolean)[]> => {
    const entries = Object.entries(rules).map(([path, value]) => [path, [value].flat()] as const);
    return new Map(entries);
  }),
);

/** Signature algorithms, asymmetric ones only. */
export const algorithmNames = v.pipe(
  texts,
  v.rawCheck(({ dataset, addIssue }) => {
    if (!dataset.typed) return;
    for (const name of dataset.value) {
      if (algorithms.includes(name)) continue;
      addIssue({
        message: /^(?:HS\d+|none)$/i.test(name)
          ? `must not have ${name}: ${/^none$/i.test(name) ? 'anybody' : 'whoever can check such a token'} could make one`
          : `must be of ${algorithms.join(', ')}`,
      });
    }
  }),
);

/** One of a few words. `false` and `true` of YAML count as the words. */
export function word<const Words extends readonly [string, ...string[]]>(...words: Words) {
  return v.picklist(
    words,
    `must be ${list(words.filter((each) => each !== ''))}${words.includes('' as never) ? ', or left out' : ''}`,
  );
}

function list(words: readonly string[]): string {
  return words.length === 1 ? `${words[0]}` : `${words.slice(0, -1).join(', ')} or ${words.at(-1)}`;
}

/** A time that is waited: neither none at all, nor longer than any server does. */
export const waiting = v.pipe(
  duration,
  v.minValue(50, 'must be at least 50ms'),
  v.maxValue(29_000, 'must be less than 30s, when ejabberd gives up'),
);

/** Whole numbers within bounds. */
export function count(least: number, most: number) {
  const message = `must be a whole number from ${least} to ${most}`;
  return v.pipe(v.number(message), v.integer(message), v.minValue(least, message), v.maxValue(most, message));
}

const NOT_A_BUDGET = 'must be a number and a time such as 5/15m, or none';

/** `5/15m`: so many in so long; `none`: as many as there are. */
export const budget = v.pipe(
  v.string(NOT_A_BUDGET),
  v.regex(/^(?:none|[1-9]\d{0,3}\/\d{1,9}(?:ms|s|m|h))$/, NOT_A_BUDGET),
  v.transform((value) => {
    if (value === 'none') return undefined;
    const [count, window] = value.split('/');
    return { count: Number(count), window: v.parse(duration, window) };
  }),
);
