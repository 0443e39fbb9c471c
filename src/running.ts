// What `run` and `serve` have in common: the configuration that follows its files, the virtual hosts made of it, and the
// log that is told of everything.
import type { Service } from './answer.ts';
import { type Config, type ConfigError, type LiveConfig, liveConfig } from './config/index.ts';
import type { PauseChange } from './guard/gate.ts';
import type { HostOptions } from './host.ts';
import { createHosts } from './hosts.ts';
import { whereIn } from './judge.ts';
import { createLog, type Level, type Log } from './log.ts';
import type { Kept } from './state/index.ts';

export interface RunningOptions {
  readonly config?: string | undefined;
  readonly logLevel?: Level | 'silent' | undefined;
  /** A usable configuration, at the start and after each change. */
  readonly onConfig?: (config: Config, log: Log) => void;
  readonly observe?: HostOptions['observe'];
}

export interface Running {
  readonly log: Log;
  readonly live: LiveConfig;
  /** `undefined` as long as there has been no usable configuration. */
  service(): Service | undefined;
  /** What is wrong with the configuration, as long as there has been no usable one. */
  problem(): ConfigError | undefined;
  onInternalError(name: string, where: string | undefined): void;
  /** Loads what logins need and asks the providers, in a moment. */
  warmUp(): void;
  /** Whether the shared store is there; `undefined` where there is none, or nobody has looked. */
  stateUp(): boolean | undefined;
  /** Resolves when what was left for after the answers is done. */
  finished(): Promise<unknown>;
  /** Rejects when the store cannot be closed now. */
  closeState(): Promise<void>;
}

/** Loading what a login needs must not delay the first answer, but need not wait for the first login either. */
const WARM_UP_AFTER = 250;
/** Logins under way keep the connections they have: no deadline is longer. */
const CLOSE_AFTER = 32_000;

export function start({ config, logLevel, onConfig = () => {}, observe }: RunningOptions): Running {
  const log = createLog({ level: logLevel ?? 'info', destination: 'auto', users: 'plain' });
  surviveEverything(log);
  const background = new Set<Promise<void>>();
  let service: Service | undefined;
  let problem: ConfigError | undefined;
  let kept: { place: string; get: () => Promise<Kept>; close: () => Promise<void> } | undefined;
  let stateUp: boolean | undefined;
  const live = liveConfig({ surroundings: { config }, onConfig: use, onProblem });

  function use(fresh: Config): void {
    const { level, destination, users } = fresh.process.log;
    log.configure({ level: logLevel ?? level, destination, users });
    const replaced = service?.hosts;
    problem = undefined;
    service = {
      hosts: createHosts(fresh, { afterwards, observe: tellExchange, warn, onPause, state: stateOf(fresh) }),
      setpassReply: fresh.process.setpass_reply,
      deadline: fresh.process.deadline,
    };
    log.write('info', 'configured', { file: fresh.file, hosts: fresh.hosts.length });
    for (const { path, message, unsafe } of fresh.warnings) {
      log.write(unsafe ? 'warn' : 'info', 'configuration', { path, message });
    }
    onConfig(fresh, log);
    if (replaced === undefined) return;
    setTimeout(() => replaced.close(), CLOSE_AFTER).unref();
    warmUp();
  }

  /** What is kept outlives a configuration, unless it is kept elsewhere now. */
  function stateOf({ state: settings, process: { cache } }: Config): () => Promise<Kept> {
    const place = placeOf(settings);
    if (kept?.place === place) return kept.get;
    const replaced = kept;
    let opened: Promise<Kept> | undefined;
    // With the first login, or shortly after the start.
    const get = (): Promise<Kept> => {
      opened ??= import('./state/index.ts').then(
        ({ createKept }) => createKept(settings, { maxEntries: cache.max_entries, onChange: onState }),
        (error: unknown) => {
          opened = undefined;
          throw error;
        },
      );
      return opened;
    };
    kept = { place, get, close: async () => (await opened)?.state.close() };
    if (replaced !== undefined) setTimeout(() => void replaced.close().catch(() => {}), CLOSE_AFTER).unref();
    return get;
  }

  function onState({ up, why }: { readonly up: boolean; readonly why: string }): void {
    if (up) log.write('info', 'state_store', { up, message: why });
    else log.write('error', 'state_store', { up, message: why, kept: 'memory takes over (state)' });
    stateUp = up;
  }

  function onPause({ endpoint, paused, why, since }: PauseChange): void {
    if (paused) log.write('warn', 'provider_paused', { endpoint, message: why });
    else log.write('info', 'provider_back', { endpoint, message: why, ms: Math.round(since) });
  }

  function onProblem(error: ConfigError): void {
    if (service === undefined) problem = error;
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

  function tellExchange(exchange: Parameters<NonNullable<HostOptions['observe']>>[0]): void {
    const { method, url, status, milliseconds, error } = exchange;
    log.write('debug', 'exchange', { method, url, status, ms: Math.round(milliseconds), error });
    observe?.(exchange);
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

  return {
    log,
    live,
    service: () => service,
    problem: () => problem,
    onInternalError(name, where) {
      log.seldom(`internal ${where}`, 'error', 'internal_error', { name, where });
    },
    warmUp,
    stateUp: () => stateUp,
    finished: () => Promise.all(background),
    closeState: async () => kept?.close(),
  };
}

/** One state from another, with the secrets that lead to it. */
function placeOf(settings: Config['state']): string {
  if (settings.store !== 'redis') return JSON.stringify(settings);
  const { address, key, password, sentinelPassword, ca } = settings;
  const secrets = [address.password, password, sentinelPassword].map((each) => each?.reveal());
  return JSON.stringify([address, key.toString('hex'), secrets, ca]);
}

/** Milliseconds for closing what is kept: a write may have to wait for another process. */
const CLOSE_WITHIN = 250;

/** Lets the background finish, for so many milliseconds, and closes the state. False when that is stuck. */
export async function finishWork({ finished, closeState }: Running, within: number): Promise<boolean> {
  await atMost(within, finished());
  let closed = false;
  const closing = closeState().then(
    () => {
      closed = true;
    },
    () => {},
  );
  await atMost(CLOSE_WITHIN, closing);
  return closed;
}

export async function atMost(milliseconds: number, work: Promise<unknown>): Promise<void> {
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
