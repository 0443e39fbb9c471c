// What is said of an option that there is not: which one may have been meant.
import leven from 'leven';
import { listenOptions, metricsSchema } from './listen.ts';
import { lookupOptions } from './lookup.ts';
import { hostOptions, processOptions } from './schema.ts';

/** The options that may stand where an unknown one stood: inside `listen`, `metrics`, `http`, `log` and the like. */
export function knownKeys(path: readonly string[]): string[] {
  const group = path.at(-2);
  if (path[0] === 'listen') return Object.keys(listenOptions);
  if (group === 'user_lookup') return Object.keys(lookupOptions);
  if (group === 'metrics') return Object.keys(metricsSchema.entries);
  if (group === 'log' || group === 'cache' || group === 'limits')
    return Object.keys(processOptions[group].wrapped.entries);
  return Object.keys(hostOptions.http.wrapped.entries);
}

export function unknownOption(key: string, known: readonly string[]): string {
  const [group, ...rest] = key.split('.');
  if (['http', 'log', 'cache', 'limits', 'user_lookup'].includes(group ?? '') && rest.length > 0) {
    return `unknown option; write it nested: ${group}: { ${rest.join('.')}: ... }`;
  }
  const near = known
    .map((name) => ({ name, distance: leven(key.toLowerCase(), name) }))
    .filter(({ name, distance }) => distance <= Math.max(2, name.length / 3))
    .sort((a, b) => a.distance - b.distance)[0];
  return near === undefined ? 'unknown option' : `unknown option; did you mean ${near.name}?`;
}
