// Which entry under `hosts` a virtual host belongs to. Pure.

/**
 * The pattern that holds for `name`, in lower case: itself, else the longest `*.domain` that it ends in, else `''`, which
 * is all there is where the configuration lists no hosts. `undefined`: it is not listed.
 */
export function findHost(patterns: Iterable<string>, name: string): string | undefined {
  let best: string | undefined;
  for (const pattern of patterns) {
    if (pattern === name) return pattern;
    const fits = pattern === '' || (pattern.startsWith('*.') && name.endsWith(pattern.slice(1)));
    // The longest pattern is the most precise one.
    if (fits && (best === undefined || pattern.length > best.length)) best = pattern;
  }
  return best;
}
