// Starts the installed Postfix on loopback with folders and a port of its own; its smtpd asks a Dovecot socket who may
// log in. Nothing of a system-wide instance is touched, and mail that it accepts is thrown away.
import { execFile, execFileSync, spawn, spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { atExit } from '../../support/at-exit.ts';
import { within } from './keycloak.ts';

/** Postfix looks through its folders first, which takes a second or two. */
const startTimeout = 30_000;
const stopTimeout = 10_000;

/** What ends a test run early. */
const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

const daemons = '/usr/lib/postfix/sbin';

/** Without these Postfix accepts no mail; what would deliver it anywhere is missing on purpose. */
const services = [
  'pickup    unix       n - n 60  1 pickup',
  'cleanup   unix       n - n -   0 cleanup',
  'qmgr      unix       n - n 300 1 qmgr',
  'rewrite   unix       - - n -   - trivial-rewrite',
  'bounce    unix       - - n -   0 bounce',
  'defer     unix       - - n -   0 bounce',
  'proxymap  unix       - - n -   - proxymap',
  'discard   unix       - - n -   - discard',
  'postlog   unix-dgram n - n -   1 postlogd',
];

export interface PostfixOptions {
  /** Settings of main.cf that replace those below. */
  settings?: Record<string, string>;
}

export interface Postfix {
  /** smtpd on 127.0.0.1. */
  readonly port: number;
  /** Where smtpd expects the Dovecot socket. It connects at the first login of each of its processes, not before. */
  readonly socket: string;
  /** Everything that Postfix has logged so far. */
  log(): string;
  /** `postfix stop`; resolves when it has ended. */
  stop(): Promise<void>;
}

/** Why there can be no Postfix here; false when there can. */
export function whyNoPostfix(): string | false {
  if (findCommand() === undefined) return 'these tests need the package "postfix"';
  if (process.getuid?.() !== 0) return 'Postfix starts as root only';
  return false;
}

/** Starts Postfix and resolves when it accepts connections. */
export async function startPostfix({ settings = {} }: PostfixOptions = {}): Promise<Postfix> {
  const command = findCommand() ?? 'postfix';
  // Its processes run as `postfix`, so that they could not enter a private folder of ours.
  const folder = mkdtempSync(join(tmpdir(), 'extauth-oauth-postfix-'));
  chmodSync(folder, 0o755);
  const [conf, queue, data, auth] = ['conf', 'queue', 'data', 'auth'].map((name) => {
    mkdirSync(join(folder, name), { mode: 0o755 });
    return join(folder, name);
  }) as [string, string, string, string];
  const [uid, gid] = ['-u', '-g'].map((option) => Number(execFileSync('id', [option, 'postfix'])));
  chownSync(data, uid ?? -1, gid ?? -1);
  chownSync(auth, 0, gid ?? -1);
  chmodSync(auth, 0o750);
  const socket = join(auth, 'dovecot.sock');
  const logFile = join(folder, 'mail.log');
  const console = join(folder, 'console.log');

  const port = await freePort();
  const main: Record<string, string> = {
    compatibility_level: '3.6',
    queue_directory: queue,
    data_directory: data,
    daemon_directory: daemons,
    maillog_file: logFile,
    maillog_file_prefixes: folder,
    inet_interfaces: '127.0.0.1',
    inet_protocols: 'ipv4',
    myhostname: 'mail.example',
    mydestination: '',
    mynetworks: '',
    default_transport: 'discard:',
    smtpd_sasl_auth_enable: 'yes',
    smtpd_sasl_type: 'dovecot',
    smtpd_sasl_path: socket,
    // Nothing is forbidden, so that PLAIN is offered without TLS.
    smtpd_sasl_security_options: '',
    smtpd_tls_auth_only: 'no',
    // 0: Postfix counts no connections per client, and its service that would do so is not needed.
    smtpd_client_connection_count_limit: '0',
    smtpd_client_connection_rate_limit: '0',
    smtpd_error_sleep_time: '0s',
    smtpd_soft_error_limit: '1000',
    smtpd_hard_error_limit: '1000',
    // How long it starts no smtpd after one has died, as it does when the socket is not there: 60 s by default.
    service_throttle_time: '1s',
    ...settings,
  };
  writeFileSync(
    join(conf, 'main.cf'),
    Object.entries(main)
      .map(([name, value]) => `${name} = ${value}\n`)
      .join(''),
  );
  const listener = `127.0.0.1:${port} inet n - n - - smtpd`;
  writeFileSync(join(conf, 'master.cf'), `${[listener, ...services].join('\n')}\n`);

  const env = { PATH: searchPath(), LANG: 'C' };
  const output = openSync(console, 'a', 0o600);
  const child = spawn(command, ['-c', conf, 'start-fg'], {
    cwd: folder,
    env,
    stdio: ['ignore', output, output],
  });
  closeSync(output);
  let ended = false;
  const exited = new Promise<void>((resolve) => {
    const end = (): void => {
      ended = true;
      leave();
      for (const signal of signals) process.removeListener(signal, endBySignal);
      resolve();
    };
    child.once('exit', end);
    child.once('error', end);
  });
  /** The last resort: nothing may outlive the test process. */
  const endNow = (): void => {
    // Before it starts anything: it looks through the folders first.
    child.kill('SIGKILL');
    spawnSync(command, ['-c', conf, 'abort'], { env, timeout: stopTimeout });
    rmSync(folder, { recursive: true, force: true });
  };
  const endBySignal = (signal: NodeJS.Signals): void => {
    endNow();
    process.kill(process.pid, signal);
  };
  const leave = atExit(endNow);
  for (const signal of signals) process.once(signal, endBySignal);

  const log = (): string =>
    [logFile, console]
      .filter(existsSync)
      .map((file) => readFileSync(file, 'utf8'))
      .join('\n');

  async function stop(): Promise<void> {
    if (!ended)
      await promisify(execFile)(command, ['-c', conf, 'stop'], { env, timeout: stopTimeout }).catch(endNow);
    await exited;
    rmSync(folder, { recursive: true, force: true });
  }

  const started = await within(startTimeout, () => ended || log().includes('daemon started'));
  if (!started || ended) {
    const said = log();
    await stop();
    throw new Error(`Postfix did not start; log:\n${said}`);
  }
  return { port, socket, log, stop };
}

/** An ordinary user has no sbin in the search path. */
function searchPath(): string {
  return [process.env.PATH, '/usr/sbin', '/sbin'].filter(Boolean).join(delimiter);
}

function findCommand(): string | undefined {
  return searchPath()
    .split(delimiter)
    .map((place) => join(place, 'postfix'))
    .find(existsSync);
}

/** A port that was free a moment ago. */
function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}
