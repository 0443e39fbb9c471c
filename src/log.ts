// The log: JSON lines by pino, which is loaded when there is a first line to write. Nothing here may cost a login: lines
// are written in the background, kept within bounds, and lost when there is nowhere to write them.
import { constants, fstatSync, openSync } from 'node:fs';
import { isatty } from 'node:tty';
import type { Logger } from 'pino';
import type { SonicBoom } from 'sonic-boom';

export type Level = 'debug' | 'info' | 'warn' | 'error';

export interface LogSettings {
  readonly level: Level | 'silent';
  /** `auto` and `stderr`, or an absolute path. */
  readonly destination: string;
  readonly users: 'plain' | 'hashed';
}

export type Fields = Readonly<Record<string, string | number | boolean | undefined>>;

export interface Log {
  write(level: Level, event: string, fields?: Fields): void;
  /** The same, at most once a minute for the same key. */
  seldom(key: string, level: Level, event: string, fields?: Fields): void;
  configure(settings: LogSettings): void;
  /** Opens the file again: logrotate has moved it. */
  reopen(): void;
  /** How a user's name is shown. */
  user(name: string, host: string): string;
  /** Writes out what is left, for a tenth of a second at most. `false`: somebody does not read, and a write is stuck. */
  close(): Promise<boolean>;
}

/** Lines kept while pino is loading or a destination is slow; beyond that they are lost. */
const MAX_WAITING = 1000;
const MAX_BUFFERED = 1024 * 1024;
/** Lines are collected for so long: one write for many. */
const FLUSH_AFTER = 100;
const COLLECT = 8 * 1024;
/** The answers come first: pino takes longer to load than a request to be answered. */
const OPEN_AFTER = 200;
const REPEAT_AFTER = 60_000;
const REOPEN_AFTER = 5000;
/** How long the end of the process waits for its last lines. */
const CLOSE_WITHIN = 100;

const LEVELS: Readonly<Record<LogSettings['level'], number>> = {
  debug: 20,
  info: 30,
  warn: 40,
  error: 50,
  silent: 100,
};

interface Line {
  readonly time: number;
  readonly level: Level;
  readonly fields: Fields;
}

export function createLog(initial: LogSettings): Log {
  let settings = initial;
  let waiting: Line[] = [];
  let logger: Logger | undefined;
  let destination: SonicBoom | undefined;
  let opening: Promise<void> | undefined;
  let flushing: NodeJS.Timeout | undefined;
  let lineTime = 0;
  const lastWritten = new Map<string, number>();

  async function open(): Promise<void> {
    const target = resolveTarget(settings.destination);
    if (target === undefined) {
      waiting = [];
      return;
    }
    const [{ default: pino }, { default: boom }] = await Promise.all([import('pino'), import('sonic-boom')]);
    // pino.destination() would write once more when the process exits, and turn a full disk into another exit code.
    destination = new boom.SonicBoom({
      dest: target,
      sync: false,
      minLength: COLLECT,
      maxLength: MAX_BUFFERED,
      mode: 0o640,
    });
    const mine = destination;
    mine.on('error', () => {
      // Not writable, disk full: these lines are lost. Later ones may do better.
      if (destination !== mine) return;
      setTimeout(() => destination === mine && reopen(), REOPEN_AFTER).unref();
    });
    logger = pino(
      {
        base: null,
        level: 'debug',
        formatters: { level: (label) => ({ level: label }) },
        timestamp: () => `,"time":"${new Date(lineTime).toISOString()}"`,
      },
      mine,
    );
  }

  function drain(): void {
    if (logger === undefined) {
      opening ??= open()
        .catch(() => {
          waiting = [];
        })
        .finally(() => {
          opening = undefined;
          if (logger !== undefined && waiting.length > 0) drain();
        });
      return;
    }
    for (const { time, level, fields } of waiting) {
      lineTime = time;
      logger[level](fields);
    }
    waiting = [];
    // Not periodically: a bridge that has nothing to do must not wake up ten times a second.
    flushing ??= setTimeout(() => {
      flushing = undefined;
      flush(destination, () => {});
    }, FLUSH_AFTER);
    flushing.unref();
  }

  function write(level: Level, event: string, fields: Fields = {}): void {
    if (LEVELS[level] < LEVELS[settings.level]) return;
    if (waiting.length >= MAX_WAITING) return;
    waiting.push({ time: Date.now(), level, fields: { event, ...fields } });
    if (logger !== undefined) drain();
    else if (waiting.length === 1) setTimeout(drain, OPEN_AFTER).unref();
  }

  function reopen(): void {
    const old = destination;
    logger = undefined;
    destination = undefined;
    try {
      old?.end();
    } catch {
      // It never opened.
    }
    if (waiting.length > 0) drain();
  }

  return {
    write,
    seldom(key, level, event, fields) {
      const now = Date.now();
      if (now - (lastWritten.get(key) ?? 0) < REPEAT_AFTER) return;
      if (lastWritten.size > MAX_WAITING) lastWritten.clear();
      lastWritten.set(key, now);
      write(level, event, fields);
    },
    configure(next) {
      const moved = next.destination !== settings.destination;
      settings = next;
      if (moved) reopen();
    },
    reopen,
    user: (name, host) =>
      settings.users === 'plain' ? printable(name) : `#${sha256(`${host}\0${name}`).slice(0, 16)}`,
    async close() {
      if (waiting.length > 0) drain();
      const deadline = Date.now() + CLOSE_WITHIN;
      while (opening !== undefined && Date.now() < deadline) await pause(5);
      const flushed = new Promise<boolean>((resolve) => flush(destination, () => resolve(true)));
      return Promise.race([flushed, pause(CLOSE_WITHIN).then(() => false)]);
    },
  };
}

function flush(destination: SonicBoom | undefined, done: () => void): void {
  try {
    if (destination === undefined) done();
    else destination.flush(() => done());
  } catch {
    done();
  }
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** node:crypto takes 7 ms to load, and is needed for hashed names only. */
function sha256(text: string): string {
  return process.getBuiltinModule('node:crypto').createHash('sha256').update(text).digest('hex');
}

/** Where to write. Never a terminal that answers are read from: a log line there is taken for an answer. */
function resolveTarget(destination: string): string | number | undefined {
  if (destination !== 'auto' && destination !== 'stderr') return destination;
  try {
    if (isatty(0) && isatty(2)) return undefined;
    // A pipe that nobody empties must not block a write, and with it the end of the process: through a description
    // of our own, it says EAGAIN instead.
    return fstatSync(2).isFIFO() ? openSync('/proc/self/fd/2', constants.O_WRONLY | constants.O_NONBLOCK) : 2;
  } catch {
    return undefined;
  }
}

/** JSON escapes the C0 controls; DEL, the C1 controls, line separators and bidi overrides fool a terminal all the same. */
export function printable(text: string): string {
  return text.replace(
    /[\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
