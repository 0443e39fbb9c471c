// The daemon: one process for a whole machine, for as long as nobody ends it. What `run` does on a pipe it does on every
// connection, and it speaks the Dovecot authentication protocol, too.
import { randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';
import { createAnswer } from '../answer.ts';
import { createSaslAnswer, mechanismsFor } from '../answer-sasl.ts';
import { readSystemd } from '../config/environment.ts';
import type { Config } from '../config/index.ts';
import type { ProcessOptions } from '../config/schema.ts';
import { type Connection, createConnection } from '../daemon/connection.ts';
import { loadLibc } from '../daemon/libc.ts';
import { createListeners, type Listener, type Served } from '../daemon/listeners.ts';
import { createMetricsServer } from '../daemon/metrics-server.ts';
import { createNotify } from '../daemon/notify.ts';
import { ListenError } from '../daemon/sockets.ts';
import type { SaslFault } from '../dovecot/outcome.ts';
import { createDovecotSession } from '../dovecot/session.ts';
import { createSession } from '../extauth/session.ts';
import { whereIn } from '../judge.ts';
import type { Level } from '../log.ts';
import type { Metrics } from '../metrics.ts';
import { createReport } from '../report.ts';
import { atMost, finishWork, start } from '../running.ts';
import { refused, unavailable, type Verdict } from '../verdict.ts';
import { EXIT } from './exit.ts';

export interface ServeOptions {
  readonly config?: string | undefined;
  readonly logLevel?: Level | 'silent' | undefined;
}

/** ejabberd waits 30 s for an answer, MongooseIM 10 s; Prosody stands still meanwhile, for everybody. */
const EXTAUTH_DEADLINE = 8000;
const DOVECOT_DEADLINE = 4000;
/** What may be left for after the last answer: revocation. */
const LAST_WORK = 1000;

/** Resolves with the exit code when it cannot begin; else it ends the process itself. */
export async function serve({ config, logLevel }: ServeOptions): Promise<number> {
  const now = (): number => performance.now();
  let metrics: Metrics | undefined;
  /** Takes over when the first configuration is known to have sockets. */
  let follow = (_config: Config): void => {};
  const running = start({
    config,
    logLevel,
    onConfig: (fresh) => follow(fresh),
    observe: (exchange) => metrics?.observe(exchange),
  });
  const { log, live, service, onInternalError } = running;
  const { report, counts } = createReport({
    log,
    now,
    measure: (...measured) => metrics?.measure(...measured),
  });
  const libc = once(loadLibc);
  const systemd = readSystemd();
  const notify = await createNotify({
    systemd,
    loadLibc: libc,
    onProblem: (message) => log.seldom(message, 'error', 'systemd', { message }),
  });
  const listeners = createListeners({
    accept,
    onTurnedAway: ({ name }, why, peer) =>
      log.seldom(`turned away ${name} ${why} ${peer?.uid}`, 'warn', 'turned_away', {
        socket: name,
        message: why,
        uid: peer?.uid,
        pid: peer?.pid,
      }),
    passed: new Map(systemd.sockets),
    loadLibc: libc,
    now,
  });
  const metricsServer = createMetricsServer(() => metrics, now);
  const common = { service, report, onInternalError, now };
  const extauth = createAnswer({ ...common, patience: EXTAUTH_DEADLINE });
  const cookie = randomBytes(16).toString('hex');
  let connected = 0;
  let ending = false;
  let applied = Promise.resolve(true);

  const first = live.current();
  if (first === undefined) return giveUp(EXIT.config);
  if (first.process.listen === undefined) {
    const message = 'is missing: serve needs at least one socket to listen at';
    log.write('error', 'configuration', { file: first.file, path: 'listen', message });
    return giveUp(EXIT.config);
  }
  // Before anybody can connect: who sees that we are here may send us a signal.
  process.on('SIGTERM', () => void end('SIGTERM'));
  process.on('SIGINT', () => void end('SIGINT'));
  process.on('SIGHUP', () => {
    notify.reloading();
    log.reopen();
    live.reload();
    // Also when not all of it could be done: systemd waits for it.
    void applied.then(sayReady);
  });
  const opened = apply(first.process);
  follow = ({ process: options }) => void apply(options);
  if (!(await opened)) return ending ? new Promise(() => {}) : giveUp(EXIT.failed);
  sayReady();
  running.warmUp();
  return new Promise(() => {});

  async function giveUp(code: number): Promise<number> {
    await listeners.close();
    await log.close();
    process.exit(code);
  }

  /** One configuration after the other. Resolves with whether every socket is open. */
  function apply(options: ProcessOptions): Promise<boolean> {
    applied = applied.then(() => applyNow(options)).catch(onFailure);
    return applied;
  }

  /** One that has failed must not keep all others from being tried. */
  function onFailure({ name, stack }: Error): boolean {
    onInternalError(name, whereIn(stack));
    return false;
  }

  async function applyNow({ listen, metrics: exposed }: ProcessOptions): Promise<boolean> {
    if (ending) return false;
    if (listen === undefined) {
      const message = 'is missing: the sockets stay as they are';
      log.write('error', 'configuration', { path: 'listen', message });
      return false;
    }
    try {
      if (exposed !== undefined && metrics === undefined) {
        const { createMetrics } = await import('../metrics.ts');
        metrics = createMetrics({
          stateUp: running.stateUp,
          hosts: () => service()?.hosts,
          connections: () =>
            listeners.list().map(({ name, connections }) => [name, connections.size] as const),
        });
      }
      const served: Served[] = [...listen];
      if (exposed !== undefined) served.push({ ...exposed, protocol: 'metrics' });
      await listeners.apply(served);
      for (const name of listeners.unserved()) {
        const message = `systemd has opened a socket called ${name}, and nothing under listen has this name: who connects there waits for ever`;
        log.write('error', 'listen', { message });
      }
      log.write('info', 'listening', {
        sockets: listeners
          .list()
          .map(({ name }) => name)
          .join(', '),
      });
      return true;
    } catch (error) {
      if (!(error instanceof ListenError)) throw error;
      log.write('error', 'listen', { message: error.message });
      return false;
    }
  }

  function sayReady(): void {
    notify.ready(`listening at ${listeners.list().length} sockets`);
  }

  function accept(socket: Socket, listener: Listener, onClose: () => void): Connection {
    const connection = ++connected;
    const { name } = listener;
    log.write('debug', 'connected', { socket: name, connection });
    const onClosed = (): void => {
      log.write('debug', 'disconnected', { socket: name, connection });
      onClose();
    };
    const onStranger = (why: string): void =>
      log.seldom(`hung up ${name} ${why}`, 'warn', 'hung_up', { socket: name, message: why });
    switch (listener.options().protocol) {
      case 'metrics':
        return metricsServer.accept(socket, onClosed);
      case 'extauth':
        return createConnection(socket, {
          now,
          onClose: onClosed,
          onStranger,
          converse: (flow) =>
            createSession({
              ...flow,
              answer: extauth,
              protocol: live.current()?.process.protocol ?? 'auto',
              now,
            }),
        });
      case 'dovecot':
        return createConnection(socket, {
          now,
          onClose: onClosed,
          onStranger,
          converse: ({ close, ...flow }) =>
            createDovecotSession({
              ...flow,
              answer: createSaslAnswer({ ...common, patience: DOVECOT_DEADLINE, listener: listener.options }),
              mechanisms: () => mechanismsFor(listener.options(), service()),
              close(why) {
                onStranger(why);
                close();
              },
              onFault: (fault, arrivedAt) => tellFault(fault, arrivedAt, listener),
              now,
              ids: { pid: process.pid, connection, cookie },
            }),
        });
    }
  }

  function tellFault(fault: SaslFault, arrivedAt: number, listener: Listener): void {
    const host = listener.options().host ?? '';
    report({ op: 'auth', host, user: '', arrivedAt }, FAULTS[fault], 'no');
  }

  async function end(why: string): Promise<void> {
    if (ending) return;
    ending = true;
    notify.stopping();
    metricsServer.close();
    // What is being opened must be closed, too.
    const closed = applied.then(() => listeners.close());
    await atMost(service()?.deadline ?? EXTAUTH_DEADLINE, closed);
    log.write('info', 'stopped', { why, ...counts() });
    const [, whole] = await Promise.all([log.close(), finishWork(running, LAST_WORK)]);
    // exit() would wait for a thread that is stuck in an LMDB.
    if (!whole) process.kill(process.pid, 'SIGKILL');
    process.exit(EXIT.fine);
  }
}

const FAULTS: Readonly<Record<SaslFault, Verdict>> = {
  malformed: refused('malformed'),
  mechanism: refused('unsupported', 'the mechanism is not one of those that are announced (mechanisms)'),
  busy: unavailable('provider_busy', 'too many logins at a time over one connection'),
};

function once<Value>(work: () => Promise<Value>): () => Promise<Value> {
  let result: Promise<Value> | undefined;
  return () => {
    result ??= work();
    return result;
  };
}
