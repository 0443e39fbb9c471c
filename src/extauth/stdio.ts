// The process's own stdin and stdout as the ends of a session, and what an inherited terminal needs.
import { closeSync, fstatSync, readdirSync, readFileSync, readlinkSync, writeSync } from 'node:fs';
import { Socket, type SocketConstructorOpts } from 'node:net';

export interface Input {
  pause(): void;
  resume(): void;
  destroy(): void;
}

export interface InputEvents {
  /** One read. The bytes are good until the next one. */
  onChunk(chunk: Uint8Array): void;
  /** End of input, or an error that comes to the same. */
  onEnd(): void;
}

/** node:tty takes 3 ms to load, and most servers give us pipes. */
export function isTerminal(fd: number): boolean {
  try {
    return fstatSync(fd).isCharacterDevice() && process.getBuiltinModule('node:tty').isatty(fd);
  } catch {
    return false;
  }
}

/** Reads `fd` for ever. A pipe or socket is read into one buffer that is used again and again: no stream in between. */
export function openInput(fd: number, { onChunk, onEnd }: InputEvents): Input {
  if (isTerminal(fd)) {
    const terminal = new (process.getBuiltinModule('node:tty').ReadStream)(fd);
    // The wrapper has done it already; whoever starts us without it has a shorter race instead of an endless one.
    terminal.setRawMode(true);
    return listen(terminal, onChunk, onEnd);
  }
  const status = fstatSync(fd);
  if (status.isFIFO() || status.isSocket()) {
    const buffer = Buffer.allocUnsafe(64 * 1024);
    const onread = {
      buffer,
      callback(count: number): boolean {
        onChunk(buffer.subarray(0, count));
        return true;
      },
    };
    // `onread` is documented for `net.connect` and works for every socket; the types know it only there.
    const socket = new Socket({ fd, readable: true, writable: false, onread } as SocketConstructorOpts);
    socket.on('end', onEnd).on('error', onEnd).on('close', onEnd);
    socket.resume();
    return socket;
  }
  // A file or /dev/null.
  return listen(process.stdin, onChunk, onEnd);
}

function listen(
  stream: NodeJS.ReadableStream & { destroy(): void },
  onChunk: InputEvents['onChunk'],
  onEnd: () => void,
): Input {
  stream.on('data', (chunk: Buffer) => onChunk(chunk));
  stream.on('end', onEnd).on('error', onEnd).on('close', onEnd);
  return stream;
}

/** How long to wait before trying again to write to a full pipe. */
const FULL_PIPE_PAUSE = 2;

export interface Output {
  write(bytes: Buffer): void;
  /** Resolves when everything has been written. */
  drained(): Promise<void>;
}

export interface OutputEvents {
  /** The pipe is full: nothing more should be asked until it is not. */
  onFull(): void;
  onDrained(): void;
  /** Nobody reads any more. */
  onBroken(): void;
}

/** Writes to `fd` at once, and keeps the order when the pipe is full. */
export function openOutput(fd: number, { onFull, onDrained, onBroken }: OutputEvents): Output {
  const waiting: Buffer[] = [];
  let onEmpty: (() => void)[] = [];

  function flush(): void {
    for (let bytes = waiting[0]; bytes !== undefined; bytes = waiting[0]) {
      const written = attempt(bytes);
      if (written < bytes.length) {
        waiting[0] = bytes.subarray(written);
        setTimeout(flush, FULL_PIPE_PAUSE);
        return;
      }
      waiting.shift();
    }
    for (const resolve of onEmpty) resolve();
    onEmpty = [];
  }

  function attempt(bytes: Buffer): number {
    try {
      return writeSync(fd, bytes);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return 0;
      onBroken();
      return bytes.length;
    }
  }

  function drained(): Promise<void> {
    return waiting.length === 0 ? Promise.resolve() : new Promise((resolve) => onEmpty.push(resolve));
  }

  return {
    write(bytes) {
      waiting.push(bytes);
      if (waiting.length > 1) return;
      flush();
      if (waiting.length > 0) {
        onFull();
        void drained().then(onDrained);
      }
    },
    drained,
  };
}

/**
 * Closes what Prosody leaks into its child: listening sockets, log and pid files and, worst, the masters of the pseudo-
 * terminals, our own among them, which would keep us from ever seeing that Prosody has gone. Told apart by what they
 * are: Node itself holds none of these kinds when it has just started. POSIX sh can only close descriptors 3 to 9.
 */
export function closeInheritedDescriptors(): void {
  let entries: string[];
  try {
    entries = readdirSync('/proc/self/fd');
  } catch {
    return;
  }
  for (const fd of entries.map(Number).filter((fd) => fd > 2)) {
    try {
      const target = readlinkSync(`/proc/self/fd/${fd}`);
      const status = fstatSync(fd);
      if (status.isSocket() || status.isFile() || target.startsWith('/dev/pt')) closeSync(fd);
    } catch {
      // Closed meanwhile: the listing itself was one of them.
    }
  }
}

/** Closes stdin, stdout and stderr, at the very end. Not only where they are terminals: one that was hung up denies it. */
export function closeStandardDescriptors(): void {
  for (const fd of [0, 1, 2]) {
    try {
      closeSync(fd);
    } catch {
      // Closed already.
    }
  }
}

/** `cat` has read what there is long before. */
const DISCARD_WITHIN = 20;

/**
 * Takes away what a fresh terminal has echoed and nobody has read: of an echo that comes in two pieces Prosody's module
 * takes the first for an answer, and would take the second for the next one. It can only be read from the terminal's
 * master, which we inherit; in a process of its own, because the master blocks. To be called before the masters are closed.
 */
export function discardUnreadEcho(): void {
  try {
    const index = /\/pts\/(\d+)$/.exec(readlinkSync('/proc/self/fd/0'))?.[1];
    const masters = readdirSync('/proc/self/fd').filter((fd) => isMasterOf(index, fd));
    if (masters.length === 0) return;
    const { spawnSync } = process.getBuiltinModule('node:child_process');
    for (const fd of masters) {
      spawnSync('cat', {
        stdio: [Number(fd), 'ignore', 'ignore'],
        timeout: DISCARD_WITHIN,
        killSignal: 'SIGKILL',
      });
    }
  } catch {
    // No /proc: not Linux, and not lpty's descriptors either.
  }
}

function isMasterOf(index: string | undefined, fd: string): boolean {
  try {
    return readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8').includes(`tty-index:\t${index}\n`);
  } catch {
    // Closed meanwhile: the listing itself was one of them.
    return false;
  }
}

/** How often a process on a terminal looks whether its parent is still there: SIGKILL tells nobody. */
const PARENT_CHECK = 500;

/** Calls back once when the process that started us has ended. */
export function watchParent(onGone: () => void): void {
  const parent = process.ppid;
  const timer = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(timer);
    onGone();
  }, PARENT_CHECK);
  timer.unref();
}
