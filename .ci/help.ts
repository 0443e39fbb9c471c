// What --help says of every command, taken apart: the manual page says the same.
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

export interface Entry {
  readonly term: string;
  readonly text: string;
}

export interface Help {
  /** Such as `extauth-oauth login <jid>`. */
  readonly usage: string;
  readonly about: string;
  readonly commands: readonly Entry[];
  readonly options: readonly Entry[];
}

const program = fileURLToPath(new URL('../bin/extauth-oauth.js', import.meta.url));

/** Of the program, and of each of its commands. */
export async function readHelp(): Promise<{ readonly program: Help; readonly commands: readonly Help[] }> {
  const top = await helpOf([]);
  const names = top.commands.map(({ term }) => term.split(' ')[1] ?? '');
  const commands = await Promise.all(names.map((name) => helpOf([name])));
  const common = new Set(top.options.map(({ term }) => term));
  const own = commands.map((command) => ({
    ...command,
    options: command.options.filter(({ term }) => !common.has(term)),
  }));
  return { program: top, commands: own };
}

async function helpOf(command: readonly string[]): Promise<Help> {
  const { stdout } = await promisify(execFile)(process.execPath, [program, ...command, '--help']);
  const [usage = '', about = '', ...sections] = stdout.trim().split('\n\n');
  const section = (title: string): Entry[] => {
    const [, ...lines] = sections.find((text) => text.startsWith(`${title}:\n`))?.split('\n') ?? [];
    return entriesOf(lines);
  };
  return {
    usage,
    about: about.replaceAll('\n', ' '),
    commands: section('Commands'),
    options: [...section('Positionals'), ...section('Options')],
  };
}

/** A term, two spaces or more, and a text that goes on below itself. */
function entriesOf(lines: readonly string[]): Entry[] {
  const entries: Entry[] = [];
  for (const line of lines) {
    const [, term, text] = /^ {2,6}(\S.*?) {2,}(\S.*)$/.exec(line) ?? [];
    const last = entries.at(-1);
    if (term !== undefined && text !== undefined) entries.push({ term, text });
    else if (last !== undefined)
      entries[entries.length - 1] = { ...last, text: `${last.text} ${line.trim()}` };
  }
  return entries.map(({ term, text }) => ({ term, text: inWords(text) }));
}

/** yargs says the type and the choices in brackets at the end. */
function inWords(text: string): string {
  const choices = /\[choices: ([^\]]*)\]/.exec(text)?.[1]?.replaceAll('"', '');
  const bare = text.replaceAll(/\s*\[[^\]]*\]/g, '');
  return choices === undefined ? bare : `${bare}: ${choices}`;
}
