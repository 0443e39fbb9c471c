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
import { type Callers, examineSockets } from './sockets.ts';
import { examineState } from './store.ts';
import { readUnit } from './unit.ts';
import { examineUsers } from './users.ts';

const DAEMON = 'extauth-oauth.service';

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
    sockets: (settings?.process.listen ?? []).flatMap(({ path }) => path ?? []),
  });
  yield* whoTries(servers, round.asUser, root);
  if (settings !== undefined) {
    const people = peopleOf(servers, settings, root);
    yield* examineOurs(settings, { root, files, token: round.token, ...people });
  }
  const token = round.token?.length;
  yield* examineServers(servers, { root, settings, files, token, asUser: round.asUser });
}

interface Ours extends People {
  readonly root: Root;
  readonly files: readonly string[];
  readonly token: string | undefined;
}

async function* examineOurs(
  settings: Config,
  { root, runners, callers, files, token }: Ours,
): AsyncGenerator<Finding> {
  // Our own files and sockets are those of this machine, whatever stands for it elsewhere.
  const here = createRoot();
  yield* examineFiles(files, { root: here, users: runners });
  yield* examineState(settings.state, runners);
  yield* examineSockets(settings.process, { root: here, callers });
  const unit = settings.process.listen === undefined ? undefined : readUnit(root, DAEMON);
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

interface People {
  /** As whom we are run, and must be able to read what is ours. */
  readonly runners: readonly Account[];
  /** Who connects to our daemon. */
  readonly callers: Callers;
}

function peopleOf({ servers }: Found, settings: Config, root: Root): People {
  const asking = servers.filter(({ asksOutside }) => asksOutside);
  const accounts = (those: typeof asking): Account[] => those.flatMap(({ account }) => account ?? []);
  // One that systemd makes up has no files of its own to be looked at.
  const daemon = settings.process.listen && readUnit(root, DAEMON)?.value('User');
  const own = daemon === undefined ? undefined : accountOf(root, daemon);
  return {
    runners: [...accounts(asking.filter(({ startsUs }) => startsUs)), ...(own === undefined ? [] : [own])],
    callers: {
      extauth: accounts(asking.filter(({ kind, startsUs }) => kind === 'ejabberd' && !startsUs)),
      dovecot: accounts(asking.filter(({ kind, startsUs }) => kind === 'prosody' && !startsUs)),
    },
  };
}

function* whoTries({ servers }: Found, asUser: string | undefined, root: Root): Generator<Finding> {
  if (asUser === undefined) return;
  if (accountOf(root, asUser) === undefined) yield fault('--as-user', `there is no user ${asUser}`);
  else if (!servers.some(({ startsUs, account }) => startsUs && account?.name === asUser))
    yield fault('--as-user', `no server that runs as ${asUser} starts this program: there is nothing to try`);
}

async function* named(whose: string, findings: AsyncIterable<Finding>): AsyncGenerator<Finding> {
  for await (const finding of findings)
    yield whose === '' ? finding : { ...finding, what: `${whose}: ${finding.what}` };
}
