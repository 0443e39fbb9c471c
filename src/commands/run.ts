// The bridge: stdin, stdout and one session, for as long as the XMPP server keeps the pipe open. Never ends because of
// input or configuration: ejabberd gives up on a program that keeps ending, Prosody on one that ends with an error.
import { createAnswer } from '../answer.ts';
import { isFreshTerminal } from '../config/environment.ts';
import type { Config } from '../config/index.ts';
import { createSession, type Session } from '../extauth/session.ts';
import {
  closeInheritedDescriptors,
  closeStandardDescriptors,
  discardUnreadEcho,
  isTerminal,
  openInput,
  openOutput,
  watchParent,
} from '../extauth/stdio.ts';
import { createTerminalSession } from '../extauth/terminal.ts';
import type { Level, Log } from '../log.ts';
import { createReport } from '../report.ts';
import { atMost, finishWork, start } from '../running.ts';

export interface RunOptions {
  readonly config?: string | undefined;
  readonly logLevel?: Level | 'silent' | undefined;
  /** What was wrong with the command line; the bridge stays up all the same. */
  readonly usageProblem?: string | undefined;
}

/** Prosody gives up after 5 s, MongooseIM after 10 s, ejabberd after 30 s. */
const TERMINAL_DEADLINE = 4000;
const PIPE_DEADLINE = 8000;

/** After the end of input, what was read completely is still answered within this. */
const LAST_ANSWERS = 1000;
/** And what goes on in the background may take so long. */
const LAST_WORK = 100;

export function run({ config, logLevel, usageProblem }: RunOptions): void {
  const terminal = isTerminal(0);
  if (terminal && isFreshTerminal()) discardUnreadEcho();
  if (terminal) closeInheritedDescriptors();
  const now = (): number => performance.now();
  const running = start({ config, logLevel, onConfig: sayWhatTerminalsCannot });
  const { log, live } = running;

  function sayWhatTerminalsCannot({ process: { protocol } }: Config, log: Log): void {
    if (!terminal || protocol !== 'ejabberd') return;
    const message = 'a terminal cannot carry frames: speaking lines';
    log.write('warn', 'configuration', { path: 'protocol', message });
  }

  if (usageProblem !== undefined) log.write('error', 'usage', { message: usageProblem });

  let ending = false;
  // Input stands still while there is too much of it, and while the answers are not taken: either is reason enough.
  let holds = 0;
  const hold = (): void => {
    if (holds++ === 0) input.pause();
  };
  const release = (): void => {
    if (--holds === 0) input.resume();
  };

  const { report, counts } = createReport({ log, now });
  const { service, onInternalError } = running;
  const patience = terminal ? TERMINAL_DEADLINE : PIPE_DEADLINE;
  const answer = createAnswer({ service, patience, report, onInternalError, now });
  const output = openOutput(1, {
    onFull: hold,
    onDrained: release,
    onBroken: () => end('nobody reads the answers any more'),
  });
  const protocol = live.current()?.process.protocol ?? 'auto';
  const session: Session = terminal
    ? createTerminalSession({
        answer,
        write: output.write,
        now,
        fresh: isFreshTerminal(),
        onInterrupt: () => end('interrupted'),
      })
    : createSession({
        answer,
        protocol,
        write: output.write,
        pause: hold,
        resume: release,
        close: () => end('an answer came too late to be written'),
        now,
      });
  const input = openInput(0, { onChunk: (chunk) => session.feed(chunk), onEnd: () => end('end of input') });
  if (terminal) watchParent(() => end('the server has ended'));

  process.on('SIGTERM', () => end('SIGTERM'));
  process.on('SIGINT', () => end('SIGINT'));
  process.on('SIGHUP', () => {
    log.reopen();
    live.reload();
  });
  running.warmUp();

  function end(why: string): void {
    if (ending) return;
    ending = true;
    void finish(why);
  }

  async function finish(why: string): Promise<void> {
    await atMost(
      LAST_ANSWERS,
      session.idle().then(() => output.drained()),
    );
    log.write('info', 'stopped', { why, ...counts() });
    const [flushed, closed] = await Promise.all([log.close(), finishWork(running, LAST_WORK)]);
    // exit() waits for every thread: one that is stuck in a write to a stderr that nobody reads, in a name server that does
    // not answer, or in an LMDB that a stopped process holds, would keep us for seconds or for ever.
    const stuck = !flushed || process.getActiveResourcesInfo().includes('GetAddrInfoReqWrap');
    if (!closed || (stuck && !terminal)) process.kill(process.pid, 'SIGKILL');
    // Node puts a terminal back as it was, and crashes when that has been hung up; what is closed, it leaves alone.
    if (terminal) closeStandardDescriptors();
    // Always 0: Prosody never starts a program again that ended otherwise.
    process.exit(0);
  }
}
