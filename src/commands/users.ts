// `users`: who has logged in, and whose the localparts are. Only where the state lasts: the memory of a running server is its own.
import { accountAt } from '../auth/account.ts';
import { type Config, ConfigError, loadConfig } from '../config/index.ts';
import { findHost } from '../config/patterns.ts';
import { createBudget } from '../guard/budget.ts';
import { forgetVerdicts, tellForgotten } from '../guard/forgotten.ts';
import { exists, tryState } from '../state/index.ts';
import type { State } from '../state/state.ts';
import { createUsers, type User, type Users } from '../users/users.ts';
import { nodeprep } from '../xmpp/nodeprep.ts';
import { EXIT } from './exit.ts';

export type UsersTask =
  | { readonly task: 'list'; readonly host: string | undefined }
  | { readonly task: 'show' | 'forget' | 'unpin'; readonly jid: string };

export interface UsersCommandOptions {
  readonly config: string | undefined;
  readonly json: boolean;
  readonly print: (line: string) => void;
  readonly complain: (line: string) => void;
}

/** The exit code: 0 done, 1 there is no such user, or the store does not answer, 2 wrong usage, 78 no usable configuration. */
export async function users(wanted: UsersTask, options: UsersCommandOptions): Promise<number> {
  const { config, complain } = options;
  const jid = wanted.task === 'list' ? undefined : parseJid(wanted.jid);
  if (wanted.task !== 'list' && jid === undefined) {
    complain(`${wanted.jid} is no JID: user@virtual.host`);
    return EXIT.usage;
  }
  let loaded: Config;
  try {
    loaded = loadConfig({ config });
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    for (const { path, message } of error.problems) complain(`${path} ${message}`.trim());
    return EXIT.config;
  }
  const settings = loaded.state;
  if (settings.store === 'memory') {
    complain(
      'state is memory: users are kept in an LMDB or in Redis only (state: lmdb:/var/lib/extauth-oauth)',
    );
    return EXIT.config;
  }
  if (!exists(settings)) {
    complain(
      `nobody has logged in yet: ${settings.store === 'lmdb' ? settings.folder : 'the store'} is empty`,
    );
    return wanted.task === 'list' ? EXIT.fine : EXIT.failed;
  }
  try {
    const state = await tryState(settings);
    if (state === undefined) return EXIT.failed;
    try {
      const known = createUsers({ state, wallClock: Date.now });
      return await perform(wanted, jid, { known, state, config: loaded }, options);
    } finally {
      await state.close();
    }
  } catch (error) {
    complain(error instanceof Error ? error.message : 'the store does not answer');
    return EXIT.failed;
  }
}

interface Kept {
  readonly known: Users;
  readonly state: State;
  readonly config: Config;
}

interface Jid {
  readonly localpart: string;
  readonly host: string;
}

async function perform(
  wanted: UsersTask,
  jid: Jid | undefined,
  { known, state, config }: Kept,
  { json, print, complain }: UsersCommandOptions,
): Promise<number> {
  if (wanted.task === 'list' || jid === undefined) {
    const all = await known.list(wanted.task === 'list' ? wanted.host?.toLowerCase() : undefined);
    if (json) print(JSON.stringify(all, null, 2));
    else
      for (const user of all)
        print(`${addressOf(user).padEnd(WIDTH)} ${user.first} ${user.last} ${pinned(user)}`);
    return EXIT.fine;
  }
  const { host, localpart } = jid;
  const address = `${localpart}@${host}`;
  const unknown = (): number => {
    if (json) print(JSON.stringify({ host, localpart, known: false }));
    else complain(`${address} has not logged in here`);
    return EXIT.failed;
  };
  switch (wanted.task) {
    case 'show': {
      const user = await known.find(host, localpart);
      if (user === undefined) return unknown();
      if (json) print(JSON.stringify(user, null, 2));
      else for (const [name, value] of Object.entries(shown(user))) print(`${name.padEnd(12)} ${value}`);
      return EXIT.fine;
    }
    case 'forget': {
      const wasKnown = await known.forget(host, localpart);
      // Also of who has never come in: wrong passwords that were counted, and refusals.
      if ((await removeTraces(jid, { state, config })) === 0 && !wasKnown) return unknown();
      if (json) print(JSON.stringify({ host, localpart, forgotten: true }));
      else print(`${address} is forgotten: the next who logs in by this name is a new user`);
      return EXIT.fine;
    }
    case 'unpin':
      if (!(await known.unpin(host, localpart))) return unknown();
      // What is remembered of the owner until now would let him in without asking whose the name is.
      await forgetVerdicts(state, jid);
      await tellForgotten(state);
      if (json) print(JSON.stringify({ host, localpart, unpinned: true }));
      else print(`${address} belongs to whoever logs in by this name next`);
      return EXIT.fine;
  }
}

/** How many entries there were besides the user's record. */
async function removeTraces(
  jid: Jid,
  { state, config: { hosts } }: Pick<Kept, 'state' | 'config'>,
): Promise<number> {
  let found = await forgetVerdicts(state, jid);
  const pattern = findHost(
    hosts.map((each) => each.pattern),
    jid.host,
  );
  const settings = hosts.find((each) => each.pattern === pattern);
  // Of a host that is not listed any more nobody knows the provider, and what was counted ends with its window.
  if (settings !== undefined) {
    const account = accountAt(settings.providers[0], jid.localpart, jid.host);
    found += await createBudget({ limit: undefined, state }).forget(account);
  }
  await tellForgotten(state);
  return found;
}

const WIDTH = 40;

const addressOf = ({ localpart, host }: User): string => `${localpart}@${host}`;
const shown = (user: User): Record<string, string> => ({
  user: addressOf(user),
  'first login': user.first,
  'last login': user.last,
  issuer: user.pin?.issuer ?? 'not pinned',
  subject: user.pin === undefined ? 'not pinned' : oneLine(user.pin.sub),
});
const pinned = ({ pin }: User): string =>
  pin === undefined ? 'not pinned' : `${oneLine(pin.sub)} of ${oneLine(pin.issuer)}`;
/** A line is a user. */
const oneLine = (text: string): string => text.replace(/[\t\n]/g, ' ');

function parseJid(text: string): Jid | undefined {
  const at = text.lastIndexOf('@');
  const host = text.slice(at + 1).toLowerCase();
  const localpart = at > 0 ? nodeprep(text.slice(0, at)) : undefined;
  return localpart === undefined || host === '' ? undefined : { localpart, host };
}
