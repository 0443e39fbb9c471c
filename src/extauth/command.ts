// One extauth request: `operation:user:host[:secret]`. Only the colons that separate are separators: a password may
// hold any number of them, and a host may be an IPv6 literal in brackets (RFC 7622 3.2).
import { isUtf8 } from 'node:buffer';

export type Operation =
  | 'auth'
  | 'isuser'
  | 'setpass'
  | 'tryregister'
  | 'removeuser'
  | 'removeuser3'
  | 'certauth';

export interface Command {
  readonly op: Operation;
  readonly user: string;
  /** The virtual host, in lower case: servers differ in what they pass. */
  readonly host: string;
  /** Absent for `isuser` and `removeuser`, which have none. */
  readonly secret?: string;
}

const WITH_SECRET: Readonly<Record<Operation, boolean>> = {
  auth: true,
  isuser: false,
  setpass: true,
  tryregister: true,
  removeuser: false,
  removeuser3: true,
  certauth: true,
};

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const CONTROL = /[\x00-\x1f\x7f]/;

/** The request in `bytes`, or `undefined` when it is not one: unknown, cut short, not UTF-8, or with a NUL in it. */
export function parseCommand(bytes: Buffer): Command | undefined {
  if (!isUtf8(bytes)) return undefined;
  const text = bytes.toString('utf8');
  if (text.includes('\0')) return undefined;

  const colon = text.indexOf(':');
  const op = text.slice(0, colon === -1 ? 0 : colon);
  if (!isOperation(op)) return undefined;
  const userEnd = text.indexOf(':', colon + 1);
  if (userEnd === -1) return undefined;
  const user = text.slice(colon + 1, userEnd);
  const hostStart = userEnd + 1;
  const hostEnd = WITH_SECRET[op] ? endOfHost(text, hostStart) : text.length;
  if (hostEnd === undefined || user === '' || hostEnd === hostStart) return undefined;
  const host = text.slice(hostStart, hostEnd).toLowerCase();
  // No server passes them, so somebody has got two requests into one.
  if (CONTROL.test(user) || CONTROL.test(host)) return undefined;

  if (!WITH_SECRET[op]) return { op, user, host };
  if (hostEnd >= text.length - 1) return undefined;
  return { op, user, host, secret: text.slice(hostEnd + 1) };
}

function isOperation(op: string): op is Operation {
  return Object.hasOwn(WITH_SECRET, op);
}

/** Where the host ends: at a colon or at the end of the text. `undefined` when a bracket is not closed as it should be. */
function endOfHost(text: string, start: number): number | undefined {
  if (text[start] !== '[') {
    const colon = text.indexOf(':', start);
    return colon === -1 ? text.length : colon;
  }
  const bracket = text.indexOf(']', start);
  if (bracket === -1) return undefined;
  const end = bracket + 1;
  return end === text.length || text[end] === ':' ? end : undefined;
}
