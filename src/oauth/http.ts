// The HTTP client, the only user of undici. Every wait has an end, every answer a size, redirects are never followed,
// and nothing but what is written here is sent: no proxy from the environment, no Accept-Encoding, no cookies.
import type { Dispatcher } from 'undici';
import Pool from 'undici/lib/dispatcher/pool.js';
import type { Deadline, Secret } from '../verdict.ts';
import { ProviderError } from './errors.ts';
import { exchange } from './exchange.ts';
import { isLoopback } from './loopback.ts';

const { setFlagsFromString } = process.getBuiltinModule('node:v8');
// undici's HTTP parser is WebAssembly: optimising it takes 100 ms of CPU and 5 MB, for what is fast enough without.
setFlagsFromString('--liftoff-only');
// A login leaves little behind. 1 MB for young objects does; V8 would grow to 16, in every worker.
setFlagsFromString('--semi-space-growth-factor=1');
// And what is old is small: collecting it at a quarter more instead of twice as much costs 1 % and saves 4 MiB.
setFlagsFromString('--heap-growing-percent=25');

/** What is asked for, in the field's words. */
export type Purpose =
  | 'metadata'
  | 'keys'
  | 'token endpoint'
  | 'introspection'
  | 'UserInfo'
  | 'revocation'
  | 'directory'
  | 'is it back?';

export interface HttpRequest {
  readonly method: 'GET' | 'POST';
  readonly url: string;
  /** What of the URL is the same for everybody, where it says a user's name: for the log, for metrics and for pauses. */
  readonly endpoint?: string;
  /** For whoever watches. */
  readonly purpose?: Purpose | undefined;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Bytes of the answer, where it must be shorter than others. */
  readonly limit?: number;
}

export interface HttpResponse {
  readonly status: number;
  /** Whose answer it is, for messages. */
  readonly hostname: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** At most `max_response_bytes`. */
  readonly text: string;
}

export interface HttpSettings {
  readonly connect_timeout: number;
  readonly timeout: number;
  readonly retries: number;
  readonly proxy?: string | undefined;
  readonly max_response_bytes: number;
}

/** What one request came to, for whoever watches (`login`, the debug log). */
export interface Exchange {
  readonly method: string;
  readonly url: string;
  readonly purpose: Purpose | undefined;
  readonly status: number | undefined;
  readonly milliseconds: number;
  readonly error: string | undefined;
}

export interface HttpClient {
  /** The answer, whatever its status. Throws a ProviderError when there is none, or the signal's reason when it aborts. */
  send(request: HttpRequest, signal?: AbortSignal): Promise<HttpResponse>;
  close(): void;
}

/** What a new connection and a request take at the least, over any distance. */
const RETRY = 300;
/** Connections to one origin. One login uses one; more means that many logins at a time. */
const CONNECTIONS = 64;
/** Idle connections are closed before most servers and middleboxes would do it: a POST is not repeated. */
const KEEP_ALIVE = 20_000;

export interface TlsSettings {
  /** PEM text of the only certificate authorities to trust; the system's when `undefined`. */
  readonly authorities: string | undefined;
  /** What our client shows of itself (RFC 8705), PEM. */
  readonly certificate: { readonly chain: string; readonly key: Secret } | undefined;
}

export interface HttpOptions {
  readonly observe?: ((exchange: Exchange) => void) | undefined;
  /** To one origin; more requests wait. */
  readonly connections?: number;
}

export function createHttpClient(
  settings: HttpSettings,
  { authorities, certificate }: TlsSettings,
  { observe = () => {}, connections = CONNECTIONS }: HttpOptions = {},
): HttpClient {
  const tls = {
    // Whatever NODE_TLS_REJECT_UNAUTHORIZED says, which the server may have left in our environment.
    rejectUnauthorized: true,
    timeout: settings.connect_timeout,
    ...(authorities === undefined ? {} : { ca: authorities }),
    ...(certificate === undefined ? {} : { cert: certificate.chain, key: certificate.key.reveal() }),
  };
  const pools = new Map<string, Dispatcher | Promise<Dispatcher>>();
  let closed = false;

  function poolFor(origin: string): Dispatcher | Promise<Dispatcher> {
    let pool = pools.get(origin);
    if (pool === undefined) {
      // What is on this machine is not asked for by way of another.
      const near = settings.proxy === undefined || isLoopback(new URL(origin).hostname);
      pool = near ? direct(origin) : proxied(settings.proxy ?? '');
      pools.set(origin, pool);
    }
    return pool;
  }

  const limits = {
    connections,
    keepAliveTimeout: KEEP_ALIVE,
    keepAliveMaxTimeout: KEEP_ALIVE,
    // The one timer per request is ours, from the first byte sent to the last one received.
    headersTimeout: 0,
    bodyTimeout: 0,
    maxHeaderSize: 64 * 1024,
  };

  function direct(origin: string): Dispatcher {
    return new Pool(origin, { ...limits, connect: tls, allowH2: false });
  }

  async function proxied(uri: string): Promise<Dispatcher> {
    const [{ default: ProxyAgent }, { default: Dispatcher }, { default: connect }] = await Promise.all([
      import('undici/lib/dispatcher/proxy-agent.js'),
      import('undici/lib/dispatcher/dispatcher.js'),
      import('undici/lib/api/api-connect.js'),
    ]);
    // undici's index does this, which is not loaded here.
    Dispatcher.prototype.connect = connect;
    const { cert: _cert, key: _key, ...proxyTls } = tls;
    return new ProxyAgent({ ...limits, uri, requestTls: tls, proxyTls });
  }

  async function once(request: HttpRequest, signal: AbortSignal | undefined): Promise<HttpResponse> {
    const { origin, path, host, hostname } = addressOf(request.url);
    const pool = poolFor(origin);
    const dispatcher = pool instanceof Promise ? await pool : pool;
    const started = performance.now();
    let status: number | undefined;
    try {
      const response = await exchange(
        dispatcher,
        {
          origin,
          path,
          method: request.method,
          headers: request.headers,
          body: request.body ?? null,
        },
        {
          host,
          hostname,
          timeout: settings.timeout,
          limit: Math.min(settings.max_response_bytes, request.limit ?? Number.POSITIVE_INFINITY),
        },
        signal,
      );
      status = response.status;
      report(undefined);
      return response;
    } catch (error) {
      report(error instanceof Error ? error.message : String(error));
      throw error;
    }

    function report(error: string | undefined): void {
      const milliseconds = performance.now() - started;
      const { method, url, endpoint = url, purpose } = request;
      observe({ method, url: endpoint, purpose, status, milliseconds, error });
    }
  }

  return {
    async send(request, signal) {
      for (let attempt = 0; ; attempt++) {
        try {
          return await once(request, signal);
        } catch (error) {
          const again =
            request.method === 'GET' &&
            attempt < settings.retries &&
            isConnectionTrouble(error) &&
            hasTimeFor(RETRY, signal);
          if (!again || closed || signal?.aborted) throw error;
        }
      }
    },
    close() {
      closed = true;
      for (const pool of pools.values()) {
        void Promise.resolve(pool).then((dispatcher) => dispatcher.destroy());
      }
      pools.clear();
    },
  };
}

interface Address {
  readonly origin: string;
  readonly path: string;
  /** With the port. */
  readonly host: string;
  readonly hostname: string;
}

/** What URLs are made of. There are a few endpoints, and parsing one takes as long as the rest of sending. */
const addresses = new Map<string, Address>();
const MAX_ADDRESSES = 1000;

function addressOf(url: string): Address {
  let address = addresses.get(url);
  if (address === undefined) {
    const { origin, pathname, search, host, hostname } = new URL(url);
    address = { origin, path: pathname + search, host, hostname };
    if (addresses.size >= MAX_ADDRESSES) addresses.clear();
    addresses.set(url, address);
  }
  return address;
}

/** A try that cannot be answered in time is none. The signal of a login says when it aborts. */
function hasTimeFor(milliseconds: number, signal: AbortSignal | Deadline | undefined): boolean {
  return (
    signal === undefined || !('deadlineAt' in signal) || signal.deadlineAt - performance.now() >= milliseconds
  );
}

function isConnectionTrouble(error: unknown): boolean {
  return error instanceof ProviderError && error.reason === 'provider_unreachable';
}
