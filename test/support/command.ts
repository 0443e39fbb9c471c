// Runs a sub-command to its end, as somebody who types it would.
import { spawn } from 'node:child_process';
import { text } from 'node:stream/consumers';
import { program, temporaryFolder } from './bridge.ts';

export interface Ran {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export async function runCommand(args: readonly string[], { stdin = '' } = {}): Promise<Ran> {
  const child = spawn(process.execPath, [program, ...args], {
    cwd: temporaryFolder(),
    env: { PATH: process.env.PATH ?? '', XDG_CONFIG_HOME: '/nonexistent' },
  });
  const exit = new Promise<number | null>((resolve) => child.on('close', resolve));
  child.stdin.on('error', () => {});
  child.stdin.end(stdin);
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)]);
  return { code: await exit, stdout, stderr };
}
