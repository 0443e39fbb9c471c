// What the C library can do and Node cannot: say who is at the other end of a Unix socket, and send a datagram over one.
// Called through koffi, which is loaded only where one of the two is asked for.

/** Of Linux: asm-generic/socket.h. */
const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0x80000;
const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
const SO_PEERGROUPS = 59;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
/** struct ucred: three numbers of 32 bits. */
const UCRED = 12;
/** A user may be in 65,536 groups; a socket that says more has more than we believe. */
const MAX_GROUPS = 65_536;

export interface Peer {
  readonly pid: number;
  readonly uid: number;
  /** The groups of the process when it connected: its own one and the supplementary ones. */
  readonly gids: readonly number[];
}

export interface Libc {
  /** Who has connected the Unix socket `fd`. Throws when the kernel does not say. */
  peerOf(fd: number): Peer;
  /** Sends one datagram to the Unix socket at `path`, or at an abstract name that begins with `@`. Never waits; throws. */
  sendDatagram(path: string, text: string): void;
}

/** Throws where this is not Linux, or koffi has no build for the machine. */
export async function loadLibc(): Promise<Libc> {
  if (process.platform !== 'linux') throw new Error('this needs Linux');
  const { default: koffi } = await import('koffi');
  const library = koffi.load(null);
  const getsockopt = library.func(
    'int getsockopt(int fd, int level, int name, _Out_ uint8_t *value, _Inout_ uint32_t *length)',
  );
  const socket = library.func('int socket(int domain, int type, int protocol)');
  const sendto = library.func(
    'intptr_t sendto(int fd, const void *data, size_t size, int flags, const void *address, uint32_t length)',
  );
  const close = library.func('int close(int fd)');

  function option(fd: number, name: number, size: number): Buffer {
    const value = Buffer.alloc(size);
    const length = [size];
    if (getsockopt(fd, SOL_SOCKET, name, value, length) !== 0) throw new Error('the kernel does not say');
    return value.subarray(0, length[0]);
  }

  return {
    peerOf(fd) {
      const credentials = option(fd, SO_PEERCRED, UCRED);
      if (credentials.length !== UCRED) throw new Error('the kernel does not say');
      const [pid = -1, uid = -1, gid = -1] = words(credentials);
      return { pid, uid, gids: [gid, ...words(option(fd, SO_PEERGROUPS, 4 * MAX_GROUPS))] };
    },
    sendDatagram(path, text) {
      const fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0) as number;
      if (fd < 0) throw new Error('no socket to be had');
      try {
        const data = Buffer.from(text);
        const address = unixAddress(path);
        if (
          sendto(fd, data, data.length, MSG_NOSIGNAL | MSG_DONTWAIT, address, address.length) !== data.length
        )
          throw new Error('the datagram was not taken');
      } finally {
        close(fd);
      }
    },
  };
}

/** Unsigned numbers of 32 bits, in this machine's order. */
function words(bytes: Buffer): number[] {
  const copy = new Uint8Array(bytes);
  return [...new Uint32Array(copy.buffer, 0, Math.floor(copy.length / 4))];
}

/** struct sockaddr_un: the family, in this machine's order, and the path; `@` stands for the NUL of an abstract name. */
function unixAddress(path: string): Buffer {
  const name = Buffer.from(path);
  if (name[0] === 0x40) name[0] = 0;
  const family = Buffer.from(new Uint16Array([AF_UNIX]).buffer);
  return Buffer.concat([family, name]);
}
