// The one test that leaves nothing out: our program is started as the server's user, in the server's environment, as the
// server starts it, and asked whether a user exists. Only root can become somebody else.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import type { Account } from './access.ts';
import { become } from './become.ts';
import type { Environment } from './environment.ts';
import { type Finding, fault, ok } from './finding.ts';
import { shownCommand } from './program.ts';

export interface Trial {
  readonly what: string;
  readonly account: Account;
  readonly environment: Environment;
  /** A shell's command line, or one file. */
  readonly command: string;
  readonly isCommandLine: boolean;
  /** A host that the server asks about. */
  readonly host: string;
  /** Of the check: a name that no user has. */
  readonly nobody: string;
}

/** Many times a cold start on a slow machine; the example for socat sleeps 2 s first. */
const WITHIN = 15_000;
const MAX_OUTPUT = 4096;

export async function tryAsUser(trial: Trial): Promise<Finding> {
  const { what, account, environment, command, isCommandLine } = trial;
  if (process.geteuid?.() !== 0 && process.geteuid?.() !== account.uid)
    return fault(what, `only root can try it as ${account.name}`, {
      line: `sudo extauth-oauth check --as-user ${account.name}`,
    });
  const { file, args, env, preamble } = become({
    account: process.geteuid?.() === account.uid ? undefined : account,
    environment: Object.fromEntries(environment.variables),
    command: isCommandLine ? `exec ${command}` : `exec '${command.replaceAll("'", "'\\''")}'`,
  });
  const query = `isuser:${trial.nobody}:${trial.host}`;
  const started = performance.now();
  const question = isCommandLine ? frame(query) : Buffer.from(`${query}\n`);
  const { stdout, stderr, end } = await run(file, args, {
    env,
    cwd: existsSync(account.home) ? account.home : '/',
    input: Buffer.concat([Buffer.from(preamble), question]),
  });
  const milliseconds = Math.round(performance.now() - started);
  const good = isCommandLine
    ? stdout.length === 4 && stdout.readUInt32BE() >= 0x00020000 && stdout.readUInt32BE() <= 0x00020001
    : /^[01]\n$/.test(stdout.toString('latin1'));
  if (good)
    return ok(
      what,
      `started as ${account.name} it answers after ${milliseconds} ms (environment of ${environment.from})`,
    );
  return fault(what, `started as ${account.name} it ${end}, and does not answer${reason(stderr)}`, {
    why: 'every login is refused',
    line: `setpriv --reuid ${account.name} --regid ${account.gids[0]} --init-groups ${shownCommand(command)}`,
  });
}

interface Ended {
  readonly stdout: Buffer;
  readonly stderr: string;
  readonly end: string;
}

function run(
  file: string,
  args: readonly string[],
  { env, cwd, input }: { env: NodeJS.ProcessEnv; cwd: string; input: Buffer },
): Promise<Ended> {
  return new Promise((resolve) => {
    // In a session of its own: whoever runs as the server's user must not type at root's terminal.
    const child = spawn(file, args, { env, cwd, stdio: 'pipe', detached: true });
    const timer = setTimeout(() => child.kill('SIGKILL'), WITHIN);
    let stdout = Buffer.alloc(0);
    let stderr = '';
    child.stdin.on('error', () => {});
    child.stdout.on('data', (chunk: Buffer) => {
      if (stdout.length < MAX_OUTPUT) stdout = Buffer.concat([stdout, chunk]);
      // socat lives as long as its input; nobody writes on.
      child.stdin.end();
    });
    child.stderr.on('data', (chunk: Buffer) => {
      if (stderr.length < MAX_OUTPUT) stderr += chunk.toString('utf8');
    });
    child.on('error', (error) => finish(`cannot be started (${(error as NodeJS.ErrnoException).code})`));
    child.on('close', (code, signal) =>
      finish(signal === null ? `ends with exit code ${code}` : `ends by ${signal}`),
    );
    child.stdin.write(input);
    function finish(end: string): void {
      clearTimeout(timer);
      resolve({ stdout, stderr, end });
    }
  });
}

function frame(text: string): Buffer {
  const body = Buffer.from(text);
  const head = Buffer.alloc(2);
  head.writeUInt16BE(body.length);
  return Buffer.concat([head, body]);
}

/** Of the shell, setpriv, the loader or Node: whatever else the program writes is its own affair, and may be a secret. */
const SAYS_WHY = /^(?:\/\S+|sh|env|setpriv|node)(?:: |:\d+: )|^(?:\w*Error|# Fatal error)\b/;

function reason(stderr: string): string {
  const line = stderr.split('\n').find((each) => SAYS_WHY.test(each));
  return line === undefined ? '' : `: ${line.trim().slice(0, 200)}`;
}
