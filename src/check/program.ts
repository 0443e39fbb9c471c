// The program that a server starts: what the command line names, whether it is there, whether it can be run, and whether it
// is us.
import { basename, dirname } from 'node:path';
import { type Account, findInPath, obstacle } from './access.ts';
import { type Finding, fault, warning } from './finding.ts';
import type { Root } from './root.ts';

export interface Program {
  readonly findings: readonly Finding[];
  /** It is this program, or carries bytes to its daemon. */
  readonly isOurs: boolean;
  /** What is executed, without links: the first file of the command, and what that is run by. */
  readonly executed: readonly string[];
  /** A Node among them. */
  readonly node: string | undefined;
}

export interface ProgramOptions {
  /** The option that names it. */
  readonly what: string;
  readonly root: Root;
  readonly account: Account | undefined;
  /** The server's PATH. */
  readonly path: string;
  /** Sockets of our daemon that speak extauth. */
  readonly sockets: readonly string[];
  /** A shell takes it apart (ejabberd), or it is one file (Prosody). */
  readonly isCommandLine: boolean;
}

const NEVER = 'it cannot be started, and every login is refused';
const GIVES_UP =
  'it cannot be started: every login is refused, and ejabberd gives external authentication up until it is restarted';

export function examineProgram(command: string, options: ProgramOptions): Program {
  const { what, root, account, path, isCommandLine } = options;
  const why = isCommandLine ? GIVES_UP : NEVER;
  const findings: Finding[] = [];
  const words = isCommandLine ? commandWords(command) : [command];
  const isOurs =
    words.some((word) => isOur(root, word)) || options.sockets.some((socket) => command.includes(socket));
  const [name = ''] = words;
  const file = name.includes('/') ? name : findInPath(root, name, path);
  const chain = file === undefined ? [] : chainOf(root, file, path);
  const line = isCommandLine
    ? `${what}: "/usr/bin/node /usr/lib/node_modules/extauth-oauth/bin/extauth-oauth.js"`
    : `${what} = "/usr/lib/node_modules/extauth-oauth/bin/extauth-oauth-prosody"`;

  if (file === undefined || root.real(file) === undefined) {
    const found =
      file === undefined
        ? `no ${shownCommand(name)} in the server's PATH (${path})`
        : `${shownCommand(file)} does not exist`;
    findings.push(fault(what, found, { why, line }));
  } else {
    for (const each of chain) findings.push(...examineFile(each));
    // `node /path/extauth-oauth.js`: a script that is read, and not executed.
    for (const word of words.slice(1).filter((each) => /^\/\S+\.(?:js|cjs|mjs|ts|sh|py|pl)$/.test(each))) {
      if (root.real(word) === undefined) findings.push(fault(what, `${word} does not exist`, { why, line }));
      else {
        const stopped = account && obstacle(root, account, word, 'read');
        if (stopped !== undefined)
          findings.push(fault(what, `${account?.name} cannot read ${word}: ${stopped}`, { why }));
      }
    }
    const inner = /^(?:ba|da)?sh$/.test(basename(name))
      ? /\bexec\s+([\w./-]+)/.exec(command)?.[1]
      : undefined;
    if (inner !== undefined && !isCommand(inner))
      findings.push(
        fault(what, `no ${inner} in the server's PATH (${path})`, {
          why,
          line: `apt install ${basename(inner)}`,
        }),
      );
    if (!isOurs && findings.length === 0)
      findings.push(
        warning(what, `${shownCommand(command)}: is not this program`, {
          why: 'logins are judged by something else, whatever is configured here',
          line,
        }),
      );
  }
  const executed = chain.flatMap(({ real }) => (real === undefined ? [] : [real]));
  return { findings, isOurs, executed, node: executed.find((each) => /^node(?:js)?$/.test(basename(each))) };

  function isCommand(word: string): boolean {
    return word.includes('/') ? root.real(word) !== undefined : findInPath(root, word, path) !== undefined;
  }

  function* examineFile({ name, real, by }: Link): Generator<Finding> {
    if (real === undefined) {
      yield fault(what, `${by} is run by ${name}, which is not in the server's PATH (${path})`, {
        why,
        line: isCommandLine
          ? `${what}: "/path/to/${basename(name)} ${by}"`
          : `ln -s /path/to/${basename(name)} /usr/local/bin/`,
      });
      return;
    }
    const stats = root.stat(real);
    if (stats?.isFile() !== true) yield fault(what, `${name} is no file`, { why, line });
    else if ((stats.mode & 0o111) === 0)
      yield fault(what, `${name} is not executable`, { why, line: `chmod +x ${real}` });
    else {
      const stopped = account && obstacle(root, account, real, 'execute');
      if (stopped !== undefined)
        yield fault(what, `${account?.name} cannot run ${name}: ${stopped}`, {
          why,
          line: 'a Node of the system (apt install nodejs), and npm install -g as root: both are for everybody',
        });
    }
  }
}

interface Link {
  readonly name: string;
  readonly real: string | undefined;
  /** What named it in its first line. */
  readonly by: string;
}

/** A script, its interpreter, and what `env` starts in its place. */
function chainOf(root: Root, file: string, path: string): Link[] {
  const real = root.real(file);
  const links: Link[] = [{ name: file, real, by: file }];
  if (real === undefined) return links;
  const [, interpreter, argument] = /^#! *(\S+)(?: +(?:-S +)?(\S+))?/.exec(firstLine(root, real)) ?? [];
  if (interpreter === undefined) return links;
  if (basename(interpreter) !== 'env' || argument === undefined)
    return [...links, { name: interpreter, real: root.real(interpreter), by: file }];
  const found = findInPath(root, argument, path);
  return [...links, { name: found ?? argument, real: found && root.real(found), by: file }];
}

function firstLine(root: Root, file: string): string {
  const stats = root.stat(file);
  // Not the 100 MB of a Node.
  return stats !== undefined && stats.size < 1024 * 1024
    ? ((root.read(file) ?? '').split('\n', 1)[0] ?? '')
    : '';
}

function isOur(root: Root, word: string): boolean {
  const names = [word, root.real(word) ?? ''].map((path) => basename(path));
  if (names.some((name) => /^extauth-oauth(?:-prosody)?(?:\.js)?$/.test(name))) return true;
  const manifest =
    word.startsWith('/') && root.read(`${dirname(dirname(root.real(word) ?? word))}/package.json`);
  return typeof manifest === 'string' && /"name":\s*"extauth-oauth"/.test(manifest);
}

/** The words of a shell's command line without what stands before the command: `env`, variables, `exec`. */
export function commandWords(command: string): readonly string[] {
  const words = [...command.matchAll(/(?:[^\s"'\\]|\\.|"(?:[^"\\]|\\.)*"|'[^']*')+/g)].map(([word]) =>
    word.replace(
      /"((?:[^"\\]|\\.)*)"|'([^']*)'|\\(.)/g,
      (_, double, single, escaped) => double ?? single ?? escaped,
    ),
  );
  for (;;) {
    const [first = ''] = words;
    if (basename(first) === 'env' && words.length > 1) {
      words.shift();
      while (/^-/.test(words[0] ?? '')) if (/^-[uSC]$/.test(words.shift() ?? '')) words.shift();
    } else if (first === 'exec' || /^[A-Za-z_]\w*=/.test(first)) words.shift();
    else return words;
  }
}

/** The program, and the script that it runs: further arguments, and the variables before it, may be secrets. */
export function shownCommand(command: string): string {
  const [name = '', script = '', ...others] = commandWords(command);
  const isFile = /^\/[\w./-]+$/.test(script);
  return [name, isFile ? script : '', others.length > 0 || (script !== '' && !isFile) ? '…' : '']
    .filter((word) => word !== '')
    .join(' ');
}
