// JID escaping (XEP-0106): ten characters that a localpart cannot hold, or that the escaping itself needs, written as a
// backslash and two lower-case hex digits. Done as Prosody's util.jid does it, which follows the rules of the document
// where its examples (9 to 11) do not. Pure.

/**
 * `xep0106` escapes a backslash only in front of something that looks like an escape sequence (Prosody since 0.12);
 * `prosody-0.11` escapes every backslash.
 */
export type JidEscape = 'xep0106' | 'prosody-0.11';

const NOT_ALLOWED = /[ "&'/:<>@]/g;
const SEQUENCE = /\\(20|22|26|27|2f|3a|3c|3e|40|5c)/g;

/** The name as a localpart, not yet prepared; `undefined` when it begins or ends with a space (XEP-0106 section 4.1, 6). */
export function escapeLocalpart(name: string, dialect: JidEscape): string | undefined {
  if (name.startsWith(' ') || name.endsWith(' ')) return undefined;
  const unambiguous =
    dialect === 'xep0106' ? name.replace(SEQUENCE, '\\5c$1') : name.replaceAll('\\', '\\5c');
  return unambiguous.replace(NOT_ALLOWED, (char) => `\\${char.charCodeAt(0).toString(16)}`);
}

/** The name that a localpart stands for. One pass: what comes out is not read again. The same in both dialects. */
export function unescapeLocalpart(localpart: string): string {
  return localpart.replace(SEQUENCE, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}
