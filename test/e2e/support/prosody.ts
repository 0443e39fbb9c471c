// Starts the installed Prosody in the foreground on loopback, with a configuration and folders of its own and Debian's
// mod_auth_dovecot on one socket for each virtual host. Nothing of a system-wide instance is touched.
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { atExit } from '../../support/at-exit.ts';
import { root, temporaryFolder } from '../../support/bridge.ts';
import { accepts, freePorts, within } from './ejabberd.ts';

const startTimeout = 20_000;
const stopTimeout = 5000;

/** The module lies one folder deeper than Prosody looks. */
const dovecotModule = '/usr/lib/prosody/modules/mod_auth_dovecot';

/** What ends a test run early. */
const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

export interface ProsodyHost {
  /** The virtual host. */
  name: string;
  /** `dovecot_auth_socket`. */
  socket: string;
  /** More lines for its section. */
  settings?: readonly string[];
}

export interface ProsodyOptions {
  hosts: readonly ProsodyHost[];
  /** More lines for the section of the whole server. */
  settings?: readonly string[];
  /** Modules beside those that a login needs. */
  modules?: readonly string[];
  logLevel?: 'debug' | 'info';
}

export interface Prosody {
  /** The c2s listener on 127.0.0.1. */
  readonly port: number;
  readonly pid: number;
  /** Everything it has written so far: its log file and its output. */
  log(): string;
  /** SIGTERM; resolves when it has ended, and kills it when it does not. */
  stop(): Promise<void>;
}

/** Starts Prosody and resolves when it accepts connections, which is after every module has been loaded. */
export async function startProsody({
  hosts,
  settings = [],
  modules = [],
  logLevel = 'info',
}: ProsodyOptions): Promise<Prosody> {
  if (!existsSync(dovecotModule)) {
    throw new Error(`${dovecotModule} not found: these tests need the package "prosody-modules"`);
  }
  const folder = temporaryFolder();
  const [data, certificates] = ['data', 'certs'].map((name) => {
    mkdirSync(join(folder, name));
    return join(folder, name);
  }) as [string, string];
  const config = join(folder, 'prosody.cfg.lua');
  const logFile = join(folder, 'prosody.log');
  const outputFile = join(folder, 'output.log');
  const [port] = (await freePorts(1)) as [number];
  // What stands before the first virtual host; what comes later takes the place of what came before.
  const [example = ''] = readFileSync(join(root, 'examples/prosody-dovecot.cfg.lua'), 'utf8').split(
    /^VirtualHost /m,
  );
  const lines = [
    example,
    // Containers run the tests as root.
    'run_as_root = true',
    `data_path = ${lua(data)}`,
    `certificates = ${lua(certificates)}`,
    `log = { { to = "file", filename = ${lua(logFile)}, levels = { min = ${lua(logLevel)} } } }`,
    'interfaces = { "127.0.0.1" }',
    `c2s_ports = { ${port} }`,
    'c2s_direct_tls_ports = {}',
    // No certificate, no TLS: the loopback interface is all that there is.
    'c2s_require_encryption = false',
    'allow_unencrypted_plain_auth = true',
    'insecure_sasl_mechanisms = {}',
    'pidfile = nil',
    // Whoever logs in 200 times at once is limited otherwise.
    'modules_disabled = { "s2s", "tls", "limits", "posix" }',
    ...modules.map((name) => `table.insert(modules_enabled, ${lua(name)})`),
    ...settings,
    ...hosts.flatMap(({ name, socket, settings = [] }) => [
      `VirtualHost ${lua(name)}`,
      `dovecot_auth_socket = ${lua(socket)}`,
      ...settings,
    ]),
  ];
  writeFileSync(config, `${lines.join('\n')}\n`);
  writeFileSync(logFile, '');

  const output = openSync(outputFile, 'a', 0o600);
  const child = spawn('prosody', ['-F', '--config', config], {
    cwd: folder,
    env: { PATH: searchPath(), HOME: folder, LANG: 'C.UTF-8' },
    stdio: ['ignore', output, output],
  });
  closeSync(output);
  const ended = endOf(child);
  const log = () => readFileSync(logFile, 'utf8') + readFileSync(outputFile, 'utf8');

  async function stop(): Promise<void> {
    child.kill('SIGTERM');
    if (!(await within(stopTimeout, () => ended.yet()))) child.kill('SIGKILL');
    await ended.promise;
  }

  const started = await within(startTimeout, async () => ended.yet() || (await accepts(port)));
  if (!started || ended.yet()) {
    await stop();
    throw new Error(`Prosody did not start (apt-get install prosody); log:\n${log()}`);
  }
  return { port, pid: child.pid as number, log, stop };
}

/** The end of a child, which this process does not leave behind. */
function endOf(child: ChildProcess): { promise: Promise<void>; yet(): boolean } {
  let ended = false;
  const killNow = () => void child.kill('SIGKILL');
  const endNow = (signal: NodeJS.Signals) => {
    killNow();
    process.kill(process.pid, signal);
  };
  const leave = atExit(killNow);
  for (const signal of signals) process.once(signal, endNow);
  const promise = new Promise<void>((resolve) => {
    const end = () => {
      ended = true;
      leave();
      for (const signal of signals) process.removeListener(signal, endNow);
      resolve();
    };
    child.once('exit', end);
    child.once('error', end);
  });
  return { promise, yet: () => ended };
}

/** A Lua string. */
function lua(text: string): string {
  return JSON.stringify(text);
}

function searchPath(): string {
  return [process.env.PATH, '/usr/bin', '/bin'].filter(Boolean).join(delimiter);
}
