// The doctor's round: our configuration and files first, then the providers, a token if there is one, and the servers that
// ask us.
import type { Config } from '../config/load.ts';
import { type Account, accountOf } from './access.ts';
import { examineConfiguration } from './configuration.ts';
import { type Finding, fault } from './finding.ts';
import { examineHardening } from './hardening.ts';
import { examineProvider, NOBODY } from './provider.ts';
import { createRoot, type Root } from './root.ts';
import { examineToken } from './sample.ts';
import { examineFiles } from './secrets.ts';
import { examineServers, type Found, findServers } from './servers.ts';
import { examineSockets } from './sockets.ts';
import { examineState } from './store.ts';
import { readUnit } from './unit.ts';
import { examineUsers } from './users.ts';

export interface Round {
  readonly config: string | undefined;
  /** A folder that stands for `/` where the server is looked at: a container's, a test's. */
  readonly root: string | undefined;
  readonly ejabberd: string | undefined;
  readonly prosody: string | undefined;
  readonly asUser: string | undefined;
  readonly token: string | undefined;
}

export async function* examineAll(round: Round): AsyncGenerator<Finding> {
  const root = createRoot(round.root);
  const { findings, settings, files } = examineConfiguration(round.config);
  yield* findings;
  const servers = await findServers({
    root,
    folder: round.root ?? '/',
    ejabberd: round.ejabberd,
    prosody: round.prosody,
  });
  const { users, unknown } = usersOf(servers, round.asUser, root);
  yield* unknown;
  if (settings !== undefined) yield* examineOurs(settings, { root, users, files, token: round.token });
  const token = round.token?.length;
  yield* examineServers(servers, { root, settings, files, token, asUser: round.asUser });
}

async function* examineOurs(
  settings: Config,
  {
    root,
    users,
    files,
    token,
  }: { root: Root; users: readonly Account[]; files: readonly string[]; token: string | undefined },
): AsyncGenerator<Finding> {
  // Our own files and sockets are those of this machine, whatever stands for it elsewhere.
  const here = createRoot();
  yield* examineFiles(files, { root: here, users });
  yield* examineState(settings.state, users);
  yield* examineSockets(settings.process, { root: here, users });
  const unit = settings.process.listen === undefined ? undefined : readUnit(root, 'extauth-oauth.service');
  const write = settings.state.store === 'lmdb' ? [settings.state.folder] : [];
  if (unit !== undefined) yield* examineHardening(unit, { read: files, write });
  for (const host of settings.hosts) {
    yield* named(host.pattern, examineUsers(host, { state: settings.state, nobody: NOBODY }));
    for (const provider of host.providers) {
      const whose = [host.pattern, host.providers.length > 1 ? (provider.issuer ?? '') : ''];
      yield* named(whose.filter((part) => part !== '').join(' '), examineProvider(host, provider));
    }
  }
  if (token !== undefined) yield* examineToken(token, settings);
}

/** As whom we are run: by the servers that ask outside, or as somebody who was named. */
function usersOf(
  { servers }: Found,
  asUser: string | undefined,
  root: Root,
): { readonly users: readonly Account[]; readonly unknown: readonly Finding[] } {
  const asking = servers.filter(({ asksOutside, isNamed }) => asksOutside || isNamed);
  const users = new Map(
    asking.flatMap(({ account }) => (account === undefined ? [] : [[account.name, account]])),
  );
  if (asUser === undefined) return { users: [...users.values()], unknown: [] };
  const account = accountOf(root, asUser);
  if (account === undefined)
    return { users: [...users.values()], unknown: [fault('--as-user', `there is no user ${asUser}`)] };
  const unknown = users.has(account.name)
    ? []
    : [fault('--as-user', `no server that runs as ${asUser} asks this program: there is nothing to try`)];
  return { users: [...users.set(account.name, account).values()], unknown };
}

async function* named(whose: string, findings: AsyncIterable<Finding>): AsyncGenerator<Finding> {
  for await (const finding of findings)
    yield whose === '' ? finding : { ...finding, what: `${whose}: ${finding.what}` };
}
