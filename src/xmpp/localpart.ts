// The provider's name for a user and the XMPP server's localpart, both ways. Pure. What comes out of `toLocalpart` is
// prepared, so it holds no "/", "@", space or control character and is at most 1023 bytes long.
import { escapeLocalpart, type JidEscape, unescapeLocalpart } from './escape.ts';
import { fold, nodeprep } from './nodeprep.ts';

export interface LocalpartRules {
  /** What may change on the way: nothing, only A to Z to a to z, or all that Nodeprep folds. */
  readonly username_case: 'exact' | 'ascii' | 'nodeprep';
  readonly jid_escape: JidEscape;
}

/**
 * The localpart that the XMPP server makes of the provider's name; `undefined` when the rules give it none.
 *
 * The server prepares what was escaped. That must be the same as escaping what was folded: otherwise folding has made or
 * broken an escape sequence, and `root\2Fadmin` or `root＼2fadmin` would be the user `root/admin`.
 */
export function toLocalpart(providerName: string, rules: LocalpartRules): string | undefined {
  if (PLAIN.test(providerName)) return providerName;
  const { username_case, jid_escape } = rules;
  const escaped = escapeLocalpart(providerName, jid_escape);
  const prepared = escaped === undefined ? undefined : nodeprep(escaped);
  if (prepared === undefined) return undefined;

  const folded = foldAs(username_case, providerName);
  return folded !== undefined && escapeLocalpart(folded, jid_escape) === prepared ? prepared : undefined;
}

/** Nothing here to escape or to fold: the localpart by every rule. */
const PLAIN = /^[a-z0-9_.-]{1,1023}$/;

/** The name to ask the provider for when this localpart logs in. Both dialects read alike. */
export function toProviderName(localpart: string): string {
  return unescapeLocalpart(localpart);
}

function foldAs(username_case: LocalpartRules['username_case'], name: string): string | undefined {
  switch (username_case) {
    case 'exact':
      return name;
    case 'ascii':
      return name.replace(/[A-Z]/g, (letter) => letter.toLowerCase());
    case 'nodeprep':
      return fold(name);
  }
}
