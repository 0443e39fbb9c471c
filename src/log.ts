// The log: one JSON object a line, written in the background by sonic-boom. (pino, which is made of the same part, takes
// 25 ms and 4 MiB to load and four times as long for a line; nothing of what it adds is used here.) Nothing here may cost
// a login: lines are collected, kept within bounds, and lost when there is nowhere to write them.
import { constants, fstatSync, openSync } from 'node:fs';
import sonicBoom from 'sonic-boom';
import { isTerminal } from './extauth/stdio.ts';

export type Level = 'debug' | 'info' | 'warn' | 'error';

export interface LogSettings {
  readonly level: Level | 'silent';
  /** `auto` and `stderr`, or an absolute path. */
  readonly destination: string;
  readonly users: 'plain' | 'hashed';
}

/** What is not defined is left out. */
export type Fields = Readonly<Record<string, string | number | boolean | undefined>>;

export interface Log {
  write(level: Level, event: string, fields?: Fields): void;
  /** The same with members that are JSON already: `"op":"auth",...`. For lines of which there is one a request. */
  writeJson(level: Level, event: string, members: string): void;
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

/** Lines are collected for so long, or until there is so much: one write for many. */
const COLLECT_FOR = 100;
const COLLECT = 64 * 1024;
/** UTF-8 of a UTF-16 code unit. */
const MOST_BYTES = 3;
/** What waits for a slow destination; beyond that, lines are lost. */
const MAX_BUFFERED = 1024 * 1024;
/** A file that cannot be opened is tried again after so long. */
const REOPEN_AFTER = 5000;
const REPEAT_AFTER = 60_000;
const MAX_KEYS = 1000;
/** How long the end of the process waits for its last lines. */
const CLOSE_WITHIN = 100;

const LEVELS: Readonly<Record<LogSettings['level'], number>> = {
  debug: 1,
  info: 2,
  warn: 3,
  error: 4,
  silent: 5,
};

export function createLog(initial: LogSettings): Log {
  let settings = initial;
  // Bytes, not a text that grows: its pieces would be copied by each collection of garbage until they are written.
  let collected = Buffer.alloc(0);
  let length = 0;
  let timer: NodeJS.Timeout | undefined;
  let destination: sonicBoom.SonicBoom | undefined;
  let retryAt = 0;
  let millisecond = 0;
  let timestamp = '';
  const lastWritten = new Map<string, number>();

  function write(level: Level, event: string, fields: Fields = {}): void {
    if (LEVELS[level] >= LEVELS[settings.level]) writeJson(level, event, JSON.stringify(fields).slice(1, -1));
  }

  function writeJson(level: Level, event: string, members: string): void {
    if (LEVELS[level] < LEVELS[settings.level]) return;
    const now = Date.now();
    if (now !== millisecond) {
      millisecond = now;
      timestamp = new Date(now).toISOString();
    }
    const more = members === '' ? '' : ',';
    const line = `{"time":"${timestamp}","level":"${level}","event":"${event}"${more}${members}}\n`;
    const most = line.length * MOST_BYTES;
    if (length > 0 && length + most > collected.length) hand();
    if (most > collected.length) collected = Buffer.allocUnsafeSlow(Math.max(COLLECT, most));
    length += collected.write(line, length);
    if (timer === undefined) {
      timer = setTimeout(hand, COLLECT_FOR);
      timer.unref();
    }
  }

  /** Hands what has been collected to the destination, opening it first. */
  function hand(): void {
    clearTimeout(timer);
    timer = undefined;
    if (destination === undefined && Date.now() >= retryAt) destination = open(settings.destination);
    if (destination === undefined) {
      if (retryAt <= Date.now()) retryAt = Date.now() + REOPEN_AFTER;
    } else {
      destination.write(collected.toString('utf8', 0, length));
    }
    length = 0;
  }

  function reopen(): void {
    // What was collected before belongs to the old file.
    if (length > 0 && destination !== undefined) hand();
    destination?.end();
    destination = undefined;
    retryAt = 0;
  }

  return {
    write,
    writeJson,
    seldom(key, level, event, fields) {
      const now = Date.now();
      if (now - (lastWritten.get(key) ?? 0) < REPEAT_AFTER) return;
      if (lastWritten.size >= MAX_KEYS) lastWritten.clear();
      lastWritten.set(key, now);
      write(level, event, fields);
    },
    configure(next) {
      const moved = next.destination !== settings.destination;
      if (moved) reopen();
      settings = next;
    },
    reopen,
    user: (name, host) =>
      settings.users === 'plain' ? printable(name) : `#${sha256(`${host}\0${name}`).slice(0, 16)}`,
    async close() {
      if (length > 0) hand();
      const open = destination;
      if (open === undefined) return true;
      const flushed = new Promise<boolean>((resolve) => open.flush(() => resolve(true)));
      return Promise.race([
        flushed,
        new Promise<boolean>((resolve) => setTimeout(resolve, CLOSE_WITHIN, false)),
      ]);
    },
  };
}

/** `undefined` when there is nowhere to write. */
function open(target: string): sonicBoom.SonicBoom | undefined {
  try {
    const fd = target === 'auto' || target === 'stderr' ? openStderr() : openFile(target);
    if (fd === undefined) return undefined;
    const destination = new sonicBoom.SonicBoom({ fd, sync: false, minLength: 1, maxLength: MAX_BUFFERED });
    // The disk is full, say: sonic-boom keeps the lines and tries again with the next ones.
    destination.on('error', () => {});
    return destination;
  } catch {
    return undefined;
  }
}

/** Never waits, not even for the reader of a named pipe. */
function openFile(file: string): number {
  const { O_WRONLY, O_APPEND, O_CREAT, O_NONBLOCK } = constants;
  return openSync(file, O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK, 0o640);
}

function openStderr(): number | undefined {
  // A terminal that answers are read from: a log line there is taken for an answer.
  if (isTerminal(0) && isTerminal(2)) return undefined;
  // A pipe that nobody empties must not block a write, and with it the end of the process: through a description of our
  // own it says EAGAIN instead.
  try {
    if (fstatSync(2).isFIFO()) return openSync('/proc/self/fd/2', constants.O_WRONLY | constants.O_NONBLOCK);
  } catch {
    // The pipe is another user's: ours to write to, and not to open.
  }
  return 2;
}

/** node:crypto takes 7 ms to load, and is needed for hashed names only. */
function sha256(text: string): string {
  return process.getBuiltinModule('node:crypto').createHash('sha256').update(text).digest('hex');
}

/** `text` as JSON. Most names need no escaping, and JSON.stringify takes its time to find out. */
export function quoted(text: string): string {
  return UNESCAPED.test(text) ? `"${text}"` : JSON.stringify(printable(text));
}

/** Printable ASCII but for the two characters that JSON escapes. */
const UNESCAPED = /^[\x20\x21\x23-\x5b\x5d-\x7e]*$/;

const PLAIN = /^[\x20-\x7e]*$/;

/** JSON escapes the C0 controls; DEL, the C1 controls, line separators and bidi overrides fool a terminal all the same. */
export function printable(text: string): string {
  if (PLAIN.test(text)) return text;
  return text.replace(
    /[\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
