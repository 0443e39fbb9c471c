// The bridge: stdin, stdout and one session, for as long as the XMPP server keeps the pipe open. Never ends because of
// input or configuration: ejabberd gives up on a program that keeps ending, Prosody on one that ends with an error.
import { createAnswer, type Service } from '../answer.ts';
import { isFreshTerminal } from '../config/environment.ts';
import { type Config, type ConfigError, liveConfig } from '../config/index.ts';
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
import { createHosts } from '../host.ts';
import { whereIn } from '../judge.ts';
import { createLog, type Level, type Log } from '../log.ts';

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

/** Loading what a login needs must not delay the first answer, but need not wait for the first login either. */
const WARM_UP_AFTER = 250;

export function run({ config, logLevel, usageProblem }: RunOptions): void {
  const terminal = isTerminal(0);
  if (terminal && isFreshTerminal()) discardUnreadEcho();
  if (terminal) closeInheritedDescriptors();
  const now = (): number => performance.now();
  const log = createLog({ level: logLevel ?? 'info', destination: 'auto', users: 'plain' });
  surviveEverything(log);

  const background = new Set<Promise<void>>();
  let service: Service | undefined;
  const live = liveConfig({ surroundings: { config }, onConfig, onProblem });

  function onConfig(fresh: Config): void {
    const { level, destination, users } = fresh.process.log;
    log.configure({ level: logLevel ?? level, destination, users });
    const replaced = service?.hosts;
    service = {
      hosts: createHosts(fresh, { afterwards, observe, warn }),
      setpassReply: fresh.process.setpass_reply,
      deadline: fresh.process.deadline ?? (terminal ? TERMINAL_DEADLINE : PIPE_DEADLINE),
    };
    log.write('info', 'configured', { file: fresh.file, hosts: fresh.hosts.length });
    for (const { path, message, unsafe } of fresh.warnings) {
      log.write(unsafe ? 'warn' : 'info', 'configuration', { path, message });
    }
    if (terminal && fresh.process.protocol === 'ejabberd') {
      log.write('warn', 'configuration', {
        path: 'protocol',
        message: 'a terminal cannot carry frames: speaking lines',
      });
    }
    // Logins under way keep the connections they have.
    if (replaced !== undefined) {
      setTimeout(() => replaced.close(), PIPE_DEADLINE * 4).unref();
      warmUp();
    }
  }

  function onProblem(error: ConfigError): void {
    const kept =
      service === undefined
        ? 'every login is refused until this is mended'
        : 'the old settings stay in force';
    for (const { path, message } of error.problems) {
      log.seldom(`configuration ${path} ${message}`, 'error', 'configuration', {
        file: error.file,
        path,
        message,
        kept,
      });
    }
  }

  function observe({
    method,
    url,
    status,
    milliseconds,
    error,
  }: Parameters<NonNullable<Parameters<typeof createHosts>[1]['observe']>>[0]): void {
    log.write('debug', 'exchange', { method, url, status, ms: Math.round(milliseconds), error });
  }

  function warn(message: string): void {
    log.seldom(`warning ${message}`, 'warn', 'unsafe', { message });
  }

  /** Runs when the answer has been written. */
  function afterwards(work: () => Promise<void>): void {
    const done = new Promise<void>((resolve) => setImmediate(() => void work().finally(resolve)));
    background.add(done);
    void done.then(() => background.delete(done));
  }

  function warmUp(): void {
    setTimeout(() => void service?.hosts.warmUp(), WARM_UP_AFTER).unref();
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

  const { answer, counts } = createAnswer({ service: () => service, log, now });
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
  warmUp();

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
    const [flushed] = await Promise.all([log.close(), atMost(LAST_WORK, Promise.all(background))]);
    // exit() waits for every thread: one that is stuck in a write to a stderr that nobody reads, or in a name server that
    // does not answer, would keep us for seconds or for ever.
    const stuck = !flushed || process.getActiveResourcesInfo().includes('GetAddrInfoReqWrap');
    if (stuck && !terminal) process.kill(process.pid, 'SIGKILL');
    // Node puts a terminal back as it was, and crashes when that has been hung up; what is closed, it leaves alone.
    if (terminal) closeStandardDescriptors();
    // Always 0: Prosody never starts a program again that ended otherwise.
    process.exit(0);
  }
}

async function atMost(milliseconds: number, work: Promise<unknown>): Promise<void> {
  await Promise.race([work, new Promise((resolve) => setTimeout(resolve, milliseconds))]);
}

/** What nobody caught, and what the runtime wants to say, goes to the log; by default both would go to stderr, or end us. */
function surviveEverything(log: Log): void {
  const report = (event: string, error: unknown): void => {
    const { name, code, stack } = error as { name?: string; code?: string; stack?: string };
    // The message may quote anything.
    const where = whereIn(stack);
    log.seldom(`${event} ${name} ${where}`, 'error', event, { name: name ?? typeof error, code, where });
  };
  process.on('uncaughtException', (error) => report('internal_error', error));
  process.on('unhandledRejection', (error) => report('internal_error', error));
  process.removeAllListeners('warning');
  process.on('warning', ({ name, message }) =>
    log.seldom(`warning ${name}`, 'warn', 'runtime_warning', { name, message }),
  );
}
