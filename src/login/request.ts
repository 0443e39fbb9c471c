// Who wants to log in, as it was typed: the JID, made what an XMPP server makes of it, and the secret, which no terminal shows.
import { createInterface } from 'node:readline';
import { Writable } from 'node:stream';
import { text as readAll } from 'node:stream/consumers';
import { Secret } from '../verdict.ts';
import { toLocalpart } from '../xmpp/localpart.ts';
import { nodeprep } from '../xmpp/nodeprep.ts';

export interface TypedJid {
  readonly typed: string;
  readonly host: string;
}

/** `undefined` for what is no user's bare JID. */
export function parseJid(jid: string): TypedJid | undefined {
  const at = jid.lastIndexOf('@');
  if (at <= 0 || at === jid.length - 1) return undefined;
  return { typed: jid.slice(0, at), host: jid.slice(at + 1).toLowerCase() };
}

/** The localpart that a server hands on for this name; `undefined` when it takes no such name. */
export function localpartOf(typed: string, jid_escape: 'xep0106' | 'prosody-0.11'): string | undefined {
  return nodeprep(typed) ?? toLocalpart(typed, { username_case: 'nodeprep', jid_escape });
}

/** What is wrong with reading the secret from where it is to be read. */
export function secretProblem(stdin: boolean): string | undefined {
  if (stdin !== process.stdin.isTTY) return undefined;
  return stdin
    ? 'This is a terminal, which would show the secret: leave --stdin out, and it is asked for'
    : 'The secret is asked for on the terminal, and this is none: use --stdin';
}

/** The secret; `undefined` when whoever was asked has given up. */
export async function readSecret(stdin: boolean): Promise<Secret | undefined> {
  const text = stdin ? (await readAll(process.stdin)).replace(/\r?\n$/, '') : await askOnTerminal();
  return text === undefined ? undefined : new Secret(text);
}

/** Reads one line from the terminal without showing it. The prompt goes to stderr: stdout may be a file. */
function askOnTerminal(): Promise<string | undefined> {
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() });
  const lines = createInterface({ input: process.stdin, output: nowhere, terminal: true, historySize: 0 });
  // Not before the terminal has stopped to show what is typed, or pasted by a program that waits for this.
  process.stderr.write('Password or token (not shown): ');
  return new Promise((resolve) => {
    const done = (secret: string | undefined): void => {
      process.stderr.write('\n');
      resolve(secret);
    };
    lines.question('', (secret) => {
      done(secret);
      lines.close();
    });
    lines.on('SIGINT', () => lines.close());
    // ^C and ^D; after an answer it changes nothing.
    lines.on('close', () => setImmediate(() => resolve(undefined)));
  });
}
