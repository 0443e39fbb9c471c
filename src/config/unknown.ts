// What is said of an option that there is not: which one may have been meant.
import leven from 'leven';
import { listenOptions, metricsSchema } from './listen.ts';
import { hostOptions, processOptions } from './schema.ts';

/** The options that may stand where an unknown one stood: inside `listen`, `metrics`, `http` or `log`. */
export function knownKeys(path: readonly string[]): string[] {
  const group = path.at(-2);
  if (path[0] === 'listen') return Object.keys(listenOptions);
  if (group === 'metrics') return Object.keys(metricsSchema.entries);
  if (group === 'log') return Object.keys(processOptions.log.wrapped.entries);
  return Object.keys(hostOptions.http.wrapped.entries);
}

export function unknownOption(key: string, known: readonly string[]): string {
  const [group, ...rest] = key.split('.');
  if ((group === 'http' || group === 'log') && rest.length > 0) {
    return `unknown option; write it nested: ${group}: { ${rest.join('.')}: ... }`;
  }
  const near = known
    .map((name) => ({ name, distance: leven(key.toLowerCase(), name) }))
    .filter(({ name, distance }) => distance <= Math.max(2, name.length / 3))
    .sort((a, b) => a.distance - b.distance)[0];
  return near === undefined ? 'unknown option' : `unknown option; did you mean ${near.name}?`;
}
