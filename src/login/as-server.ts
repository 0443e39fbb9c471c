// `login --as`: the login goes through a child that is started and asked as the XMPP server would do it. What works in
// this process and not there lies between the two: the user, the environment, the files, the program's line.
import {
  accessSync,
  chmodSync,
  chownSync,
  constants,
  existsSync,
  mkdtempSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { readAs } from '../check/become.ts';
import { shownCommand } from '../check/program.ts';
import { type Config, loadConfig } from '../config/index.ts';
import { createLog } from '../log.ts';
import { readPlainFile } from '../plain-file.ts';
import type { Secret } from '../verdict.ts';
import { type Child, commandOf, quoted, startChild } from './child.ts';
import { type LogLine, readText, watchLog } from './child-log.ts';
import { programOf } from './program.ts';
import { localpartOf, type TypedJid } from './request.ts';
import type { Steps } from './steps.ts';
import { type Server, type Surroundings, surroundingsOf } from './surroundings.ts';
import { meaning, PATIENCE, tellProblems, tellWhy } from './tell.ts';

export interface LoginAsOptions {
  readonly server: Server;
  /** Its line in the server's configuration; our own program when left out. */
  readonly program: string | undefined;
  readonly config: string | undefined;
  readonly jid: TypedJid;
  readonly readSecret: () => Promise<Secret | undefined>;
  readonly steps: Steps;
}

/** The most that the server sends. */
const MAX_REQUEST: Readonly<Record<Server, number>> = { ejabberd: 65_535, prosody: 1000 };
/** The log is written shortly after the answer. */
const LOG_WITHIN = 1000;

/** Whether the server would let the user in. */
export async function loginAs(options: LoginAsOptions): Promise<boolean> {
  const { server, config, steps } = options;
  const real = surroundingsOf(server);
  if (real.user === undefined && process.geteuid?.() === 0) {
    const result = `its user is not in /etc/passwd, and nothing of the server's is run as root: start this as that user`;
    steps.show({ mark: 'bad', name: server, result });
    return false;
  }
  const found = { ...real, cwd: canEnter(real.cwd) ? real.cwd : '/' };
  if (server === 'prosody' && !isInPath('script', found.env.PATH)) {
    const result =
      "there is no script in PATH, which lends the terminal: util-linux, Debian's package bsdutils";
    steps.show({ mark: 'bad', name: 'terminal', result });
    return false;
  }
  const where = privateFile(server, found);
  const surroundings = {
    ...found,
    env: {
      ...found.env,
      ...(config === undefined ? {} : { EXTAUTH_OAUTH_CONFIG: config }),
      ...(where === undefined ? {} : { EXTAUTH_OAUTH_STDERR: where.file }),
    },
  };
  tellWhere(server, found, steps);
  try {
    return await loginThrough({ ...options, surroundings, errorsFile: where?.file });
  } catch (error) {
    const { code, path = '' } = error as NodeJS.ErrnoException;
    if (code === undefined || !('syscall' in (error as object))) throw error;
    steps.show({ mark: 'bad', name: 'start', result: `${path} cannot be started: ${code}` });
    return false;
  } finally {
    where?.remove();
  }
}

function tellWhere(server: Server, { user, cwd, from, hasOwnFiles }: Surroundings, steps: Steps): void {
  const me = process.geteuid?.();
  const isYours = user === undefined || (me !== 0 && me !== user.uid);
  const who = isYours ? 'you' : user.name;
  const files = hasOwnFiles && me === 0 ? ' and its view of the files' : '';
  steps.show({
    mark: 'good',
    name: server,
    result: `as ${who}, in ${cwd}, with the environment of ${from}${files}`,
  });
  const warn = (result: string): void => steps.show({ mark: 'warning', name: 'not the same', result });
  if (user === undefined) warn(`there is no user ${server} on this machine`);
  else if (isYours) warn(`only root can become ${server}`);
  if (hasOwnFiles && me !== 0)
    warn('the server sees other files (ProtectHome, PrivateTmp), and only root can look with it');
}

interface Through extends LoginAsOptions {
  readonly surroundings: Surroundings;
  readonly errorsFile: string | undefined;
}

async function loginThrough(options: Through): Promise<boolean> {
  const { server, jid, readSecret, steps, surroundings, errorsFile } = options;
  const settings = settingsFor(options);
  const host = settings?.hosts.find(({ pattern }) => pattern === jid.host) ?? settings?.hosts[0];
  const localpart = localpartOf(jid.typed, host?.providers[0].jid_escape ?? 'xep0106');
  if (localpart === undefined) {
    steps.show({ mark: 'bad', name: 'localpart', result: `${server} takes no such name, and asks nobody` });
    return false;
  }
  const secret = await readSecret();
  if (secret === undefined) return false;
  const shown = `auth:${localpart}:${jid.host}:`;
  const request = shown + secret.reveal();
  const impossible = neverSent(server, request, secret);
  if (impossible !== undefined) {
    steps.show({ mark: 'bad', name: 'request', result: `${server} refuses without asking: ${impossible}` });
    return false;
  }

  const { program, from } = await programOf(options);
  const child = { server, program, surroundings };
  // What stands in the server's file may be a secret; what was typed is shown as it is run.
  const command = from === '' ? commandOf(child).map(quoted).join(' ') : `${shownCommand(program)} (${from})`;
  steps.show({ mark: 'good', name: 'program', result: command });
  steps.begin();
  const started = await startChild(child);
  const errors = (): string => started.errors() + (errorsFile === undefined ? '' : readText(errorsFile));
  const { destination = 'auto', users = 'plain', level = 'info' } = settings?.process.log ?? {};
  const logFile = { path: destination, account: surroundings.user };
  const log = watchLog(errors, destination.startsWith('/') ? logFile : undefined);
  const name = createLog({ level: 'silent', destination: 'auto', users }).user(localpart, jid.host);
  const isOurs = (line: LogLine): boolean =>
    line.event === 'request' && line.op === 'auth' && line.host === jid.host && line.user === name;
  try {
    const isUp = await untilUp(started, options, `isuser:${localpart}:${jid.host}`);
    if (!isUp) {
      // Nothing secret has been sent yet. On a terminal, what a shell complains of comes there.
      tellProblems(log, errors() + (server === 'prosody' ? withoutEcho(started.rest()) : ''), steps);
      return false;
    }
    steps.show({ mark: 'good', name: 'request', result: `${shown}(the secret), ${FORMAT[server]}` });
    steps.begin();
    const answer = await started.ask(request, PATIENCE[server]);
    steps.timed({ mark: answer === 'yes' ? 'good' : 'bad', name: 'answer', result: meaning(answer, server) });
    for (const until = Date.now() + LOG_WITHIN; Date.now() < until && !log.lines().some(isOurs); )
      await sleep(20);
    if (started.rest() !== '') {
      const result = 'more came than the answer: the server takes it for the answer to the next login';
      steps.show({ mark: 'bad', name: 'too much', result });
    }
    tellProblems(log, errors(), steps);
    tellWhy(log.lines().find(isOurs), { destination, level }, steps);
    return answer === 'yes';
  } finally {
    await started.end();
  }
}

const FORMAT: Readonly<Record<Server, string>> = {
  ejabberd: 'in a frame: two bytes of length, then the request',
  prosody: 'as a line',
};

/** Why the server does not even ask. */
function neverSent(server: Server, request: string, secret: Secret): string | undefined {
  const text = secret.reveal();
  if (text === '' || text.includes('\0')) return 'the secret is empty, or has a NUL in it';
  // biome-ignore lint/suspicious/noControlCharactersInRegex: SASLprep refuses them
  if (server === 'prosody' && /[\x00-\x1f\x7f]/.test(text)) return 'the secret has a control character in it';
  const most = MAX_REQUEST[server];
  if (Buffer.byteLength(request) <= most) return undefined;
  const way = server === 'prosody' ? 'mod_auth_external' : 'a frame';
  return `the request is longer than the ${most} bytes of ${way}`;
}

/** Prosody loses the first query on a new terminal; a program that answers afterwards is in step. */
async function untilUp(child: Child, { server, steps }: Through, probe: string): Promise<boolean> {
  const tries = server === 'ejabberd' ? 1 : 8;
  const within = PATIENCE.ejabberd / (server === 'ejabberd' ? 1 : 30);
  for (let n = 1; n <= tries; n++) {
    const answer = await child.ask(probe, within);
    if (answer === undefined) continue;
    const isUp = answer === 'yes' || answer === 'no';
    const lost =
      n > 1
        ? `; of a new terminal the first query is lost, which costs one login for each start of Prosody`
        : '';
    const result = isUp ? `it answers (isuser: ${answer})${lost}` : meaning(answer, server);
    steps.timed({ mark: isUp ? 'good' : 'bad', name: 'start', result });
    return isUp;
  }
  steps.timed({ mark: 'bad', name: 'start', result: meaning(undefined, server) });
  return false;
}

/** The child's own settings, as far as it can see them: to know where its log goes. What is wrong with them, it says itself. */
function settingsFor({ config, surroundings: { env, user } }: Through): Config | undefined {
  // Whose files they are, and who else may read them, is for the child to judge.
  const read = (file: string) => ({ text: readPlainFile(file).toString(), mode: 0o400, owner: 0 });
  try {
    return readAs(user, () => loadConfig({ config, env: { ...env } }, { read }));
  } catch {
    return undefined;
  }
}

/** On Prosody's terminal stderr is the answer channel: the wrapper writes it to a file, and for us to one of our own. */
function privateFile(
  server: Server,
  { user, hasOwnFiles }: Surroundings,
): { file: string; remove: () => void } | undefined {
  if (server !== 'prosody') return undefined;
  const isRoot = process.geteuid?.() === 0;
  // PrivateTmp= hides /tmp, and nothing hides /run.
  const folder = mkdtempSync(join(hasOwnFiles ? '/run' : tmpdir(), 'extauth-oauth-login-'));
  const file = join(folder, 'stderr');
  writeFileSync(file, '', { mode: 0o600 });
  if (isRoot && user !== undefined) {
    chownSync(file, user.uid, user.gids[0] ?? user.uid);
    // The folder stays ours: its owner could put another file in the place of this one.
    chmodSync(folder, 0o711);
  }
  return { file, remove: () => rmSync(folder, { recursive: true, force: true }) };
}

/** Before it is raw, a terminal shows what it was sent. */
function withoutEcho(text: string): string {
  return text.replace(/^isuser:.*$/gm, '');
}

function canEnter(folder: string): boolean {
  try {
    accessSync(folder, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function isInPath(name: string, path = ''): boolean {
  return path.split(':').some((folder) => existsSync(join(folder, name)));
}
