// What comes back from a child, in words: its answers, its log, and what it found wrong before it was asked.
import type { Config } from '../config/index.ts';
import type { Answer } from './child.ts';
import { type ChildLog, type LogLine, otherLines } from './child-log.ts';
import { explain } from './reasons.ts';
import type { Steps } from './steps.ts';
import type { Server } from './surroundings.ts';

/** How long the server waits for an answer: extauth.erl's CALL_TIMEOUT, `external_auth_timeout`. */
export const PATIENCE: Readonly<Record<Server, number>> = { ejabberd: 30_000, prosody: 5000 };

/** What the server takes an answer for. */
export function meaning(answer: Answer | undefined, server: Server): string {
  const isFrame = server === 'ejabberd';
  switch (answer) {
    case 'yes':
      return isFrame ? '00 02 00 01: yes' : '1: yes';
    case 'no':
      return isFrame ? '00 02 00 00: no' : '0: no';
    case 'error':
      return '00 02 00 02: neither yes nor no, the call has failed';
    case 'nonsense':
      return 'a frame that is no answer: something else writes to stdout';
    case 'ended':
      return 'none: the program has ended';
    case undefined:
      return `none within ${PATIENCE[server] / 1000} s: the server refuses`;
  }
}

/** What the child found wrong with its surroundings. */
export function tellProblems(log: ChildLog, errors: string, steps: Steps): void {
  for (const line of log.lines().filter(({ level }) => level === 'error')) {
    if (line.event === 'request') continue;
    const { file = '', path = '', message = line.event } = line;
    const what = [file, path === file ? '' : path, message].filter((each) => each !== '').join(' ');
    steps.show({ mark: 'bad', name: line.event.replaceAll('_', ' '), result: what });
  }
  for (const line of otherLines(errors).slice(0, 5))
    steps.show({ mark: 'bad', name: 'stderr', result: line });
}

/** The reason, from the child's line about the login. */
export function tellWhy(
  line: LogLine | undefined,
  { destination, level }: Pick<Config['process']['log'], 'destination' | 'level'>,
  steps: Steps,
): void {
  if (line === undefined) {
    const result =
      level === 'info' || level === 'debug'
        ? `no line about this login: with serve it is in the daemon's log, else \`log.destination\` is ${destination}`
        : `no line about this login: \`log.level\` is ${level}`;
    steps.show({ mark: 'warning', name: 'log', result });
    return;
  }
  const { verdict, reason, method, detail, ms } = line;
  const took = typeof ms === 'number' ? ms : undefined;
  if (verdict === 'accepted') {
    steps.show({ mark: 'good', name: `accepted (${method})`, result: '', took });
    return;
  }
  const known = explain(String(reason));
  if (known !== undefined) steps.show({ mark: 'bad', name: known.step, result: String(detail ?? reason) });
  steps.show({ mark: 'bad', name: `${verdict} (${reason})`, result: '', took });
  if (known !== undefined) steps.show({ mark: 'note', name: 'what to do', result: known.advice });
}
