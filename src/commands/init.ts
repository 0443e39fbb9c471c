// `init`: from an issuer and a few answers to a configuration, and to the lines that the XMPP server needs.
import { existsSync, statSync } from 'node:fs';
import { ConfigError, loadConfig } from '../config/index.ts';
import { numberOf } from '../daemon/accounts.ts';
import { ProviderError } from '../oauth/errors.ts';
import { answers, type Flags, MissingFlags } from '../setup/answers.ts';
import { createAsker } from '../setup/ask.ts';
import { isPackaged, type NewFile, SetupError, writeFiles } from '../setup/files.ts';
import { accountFor, DEFAULT_CONFIG, linesFor } from '../setup/servers.ts';
import { starter } from '../setup/starter.ts';
import { EXIT } from './exit.ts';

export interface InitOptions extends Flags {
  /** Whether somebody is there to be asked. */
  readonly terminal: boolean;
  /** Where this package lies. */
  readonly folder: string;
  readonly print: (line: string) => void;
  readonly complain: (line: string) => void;
}

/** The exit code: 0 written, 1 not, 2 something must be said that is not. */
export async function init(options: InitOptions): Promise<number> {
  const { output, terminal, folder, print, complain } = options;
  const asker = terminal ? createAsker() : undefined;
  try {
    // Before anybody has typed anything in vain.
    if (existsSync(output))
      throw new SetupError(
        `${output} exists, and nothing is written over: move it away, or name another file by --output`,
      );
    const { discovery, wishes, secret } = await answers(options, asker);
    asker?.close();
    const { yaml, notes } = starter(discovery, wishes);
    const files: NewFile[] = [{ file: output, text: yaml, kind: 'configuration' }];
    if (secret !== undefined && wishes.secretFile !== undefined)
      files.push({ file: wishes.secretFile, text: `${secret.reveal()}\n`, kind: 'secret' });
    const packaged = isPackaged(folder);
    const account = accountFor(wishes.server, packaged);
    const { commands } = await writeFiles(files, account);
    const toDo = [...commands, ...(secret === undefined ? await givenAway(wishes.secretFile, account) : [])];

    print(`Written: ${files.map(({ file }) => file).join(', ')}`);
    for (const note of [...notes, ...problemsOf(output)]) print(`Note: ${note}`);
    if (toDo.length > 0) print(`So that ${account} can read it, as root: ${toDo.join(' && ')}`);
    print('');
    const { hosts, server } = wishes;
    linesFor(server, { config: output, hosts, folder, node: process.execPath, packaged }).forEach(print);
    const where = output === DEFAULT_CONFIG ? '' : ` --config ${output}`;
    print('');
    print('Then see whether the provider agrees, and log somebody in:');
    print('');
    print(`extauth-oauth check${where}`);
    print(`extauth-oauth login${where} somebody@${wishes.hosts[0]}`);
    return EXIT.fine;
  } catch (error) {
    if (!(error instanceof SetupError || error instanceof ProviderError)) throw error;
    complain(error.message);
    return error instanceof MissingFlags ? EXIT.usage : EXIT.failed;
  } finally {
    asker?.close();
  }
}

/** A secret that was there before stays as it is; nobody but its owner can read it. */
async function givenAway(file: string | undefined, account: string): Promise<string[]> {
  const owner = file === undefined ? undefined : statSync(file, { throwIfNoEntry: false })?.uid;
  const wanted = await numberOf('user', account).catch(() => undefined);
  return owner === undefined || owner === wanted ? [] : [`chown ${account}: ${file}`];
}

/** What is wrong with files that were there before, such as the secret's. */
function problemsOf(file: string): string[] {
  try {
    loadConfig({ config: file });
    return [];
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.problems.map(({ path, message }) => `${path}: ${message}`);
  }
}
