// What fits through ejabberd: bytes of a password, connections at once, workers in memory.
import type { EjabberdConfig, EjabberdOptions } from '../servers/ejabberd-config.ts';
import { externalHosts } from './ejabberd.ts';
import { type Finding, fault, ok, warning } from './finding.ts';
import type { Root } from './root.ts';

/**
 * extauth's frame holds 65,535 bytes with name and host (2 * 1,023), and PLAIN is base64: a stanza of this size cannot carry
 * more. What is longer ends every worker, before anybody has logged in.
 */
const SAFE_STANZA = 80_000;
/** What to write: 49,000-byte passwords still pass. */
const ADVISED_STANZA = 65_536;
/** For who has not logged in yet, since some version after 24.12, and in 26.07. */
const DEFAULT_BEFORE_LOGIN = 8192;
/** The stanza around PLAIN's base64, with names. */
const AROUND = 300;
/** Of ejabberd 23.01; 200 simultaneous clients took up to 42 s with it. */
const DEFAULT_BACKLOG = 5;
const SMALL_BACKLOG = 128;

/** `token`: bytes of a sample token, where there is one. */
export function* examineListeners(config: EjabberdConfig, token: number | undefined): Generator<Finding> {
  const listeners = config.listeners.filter(({ module }) => String(module) === 'ejabberd_c2s');
  const at = ({ port }: EjabberdOptions): string => `ejabberd listen ${String(port ?? 5222)}`;
  for (const listener of listeners) {
    const size = sizeOf(listener.max_stanza_size);
    const before = Math.min(size, sizeOf(listener.pre_auth_max_stanza_size));
    const what = `${at(listener)} max_stanza_size`;
    if (before > SAFE_STANZA) {
      const found = before === Number.POSITIVE_INFINITY ? 'is not set: there is no limit' : `is ${before}`;
      yield fault(what, found, {
        why: 'one login with a password of more than 65,535 bytes ends every worker, and some dozens of them switch external authentication off until ejabberd is restarted: anybody can do that',
        line: `max_stanza_size: ${ADVISED_STANZA}`,
      });
    } else if (token !== undefined && base64(token) + AROUND > before) {
      yield fault(what, `is ${before}: the sample token of ${token} bytes does not fit`, {
        why: 'a login with it ends with "XML stanza is too big"',
        line: `max_stanza_size: ${ADVISED_STANZA}`,
      });
    } else if (
      token !== undefined &&
      listener.pre_auth_max_stanza_size === undefined &&
      base64(token) + AROUND > DEFAULT_BEFORE_LOGIN
    ) {
      yield warning(
        `${at(listener)} pre_auth_max_stanza_size`,
        `is not set: ${DEFAULT_BEFORE_LOGIN} in ejabberd 26.07, and the sample token of ${token} bytes does not fit`,
        {
          why: 'a login with it ends with "policy-violation" there (24.12 and before have no such limit, and take the option for a mistake)',
          line: `pre_auth_max_stanza_size: ${ADVISED_STANZA}`,
        },
      );
    }
    const backlog = Number(listener.backlog ?? DEFAULT_BACKLOG);
    if (backlog < SMALL_BACKLOG)
      yield warning(
        `${at(listener)} backlog`,
        listener.backlog === undefined ? `is not set: ${DEFAULT_BACKLOG} connections` : `is ${backlog}`,
        { why: 'when many clients come back at once, most of them wait for seconds', line: 'backlog: 1000' },
      );
  }
}

function sizeOf(value: unknown): number {
  const number = Number(value);
  return value !== undefined && Number.isFinite(number) ? number : Number.POSITIVE_INFINITY;
}

function base64(bytes: number): number {
  return Math.ceil(bytes / 3) * 4;
}

/** What one more worker takes of the machine's memory, in MB (Pss: what all share counts once). */
const WORKER_MB = 20;
/** Of the machine's memory, for workers. */
const SHARE = 0.25;

/** `sockets`: of our daemon; workers that carry bytes to it weigh next to nothing. */
export function* examinePool(
  config: EjabberdConfig,
  { root, sockets }: { readonly root: Root; readonly sockets: readonly string[] },
): Generator<Finding> {
  const hosts = externalHosts(config).filter((host) => {
    const command = String(config.option('extauth_program', host));
    return !sockets.some((socket) => command.includes(socket));
  });
  if (hosts.length === 0) return;
  const cpus = [...(root.read('/proc/cpuinfo') ?? '').matchAll(/^processor\s*:/gm)].length || 1;
  const sizes = hosts.map((host) => Number(config.option('extauth_pool_size', host) ?? cpus));
  const workers = sizes.reduce((sum, size) => sum + size, 0);
  const total = Number(/^MemTotal:\s+(\d+) kB/m.exec(root.read('/proc/meminfo') ?? '')?.[1] ?? 0) / 1024;
  const needed = workers * WORKER_MB;
  const found = `${workers} ${workers === 1 ? 'worker' : 'workers'} for ${hosts.length} ${hosts.length === 1 ? 'host' : 'hosts'}: about ${needed} MB`;
  yield total > 0 && needed > total * SHARE
    ? warning('ejabberd extauth_pool_size', `${found} of ${Math.round(total)} MB`, {
        why: 'workers that the kernel has to swap out answer late, or are killed',
        line: `extauth_program: "sh -c 'sleep 2; exec socat -t0 - UNIX-CONNECT:/run/extauth-oauth/extauth.sock,retry=20,interval=1'"      # with extauth-oauth serve: 1 MB a worker`,
      })
    : ok('ejabberd extauth_pool_size', found);
}
