// How people's terminals want to be written to, by the variables that say so.

export interface Looks {
  /** The locale's characters are UTF-8. */
  readonly utf8: boolean;
  readonly coloured: boolean;
}

/** `isTerminal`: what is written to is one, and no file or pipe. */
export function readLooks(isTerminal: boolean, env: NodeJS.ProcessEnv = process.env): Looks {
  // The first that is set to something decides (POSIX.1-2017 XBD 8.2); NO_COLOR, too, counts when it is not empty.
  const locale = env.LC_ALL || env.LC_CTYPE || env.LANG || '';
  return {
    utf8: /utf-?8/i.test(locale),
    coloured: isTerminal && !env.NO_COLOR && env.TERM !== 'dumb',
  };
}
