// The way to the provider: so many requests at a time and no more, and none to an endpoint that does not work. Around an HTTP
// client, of the same type.
import { ProviderError } from '../oauth/errors.ts';
import type { HttpClient, HttpRequest, HttpResponse } from '../oauth/http.ts';
import { type Breaker, createBreaker, type Ended } from './breaker.ts';
import { createQueue, type Queue } from './queue.ts';

export interface PauseChange {
  /** The endpoint, without query. */
  readonly endpoint: string;
  readonly paused: boolean;
  readonly why: string;
  /** Milliseconds that the pause took, at its end. */
  readonly since: number;
}

export interface GateOptions {
  /** Requests at a time to one origin (`limits.provider_concurrency`). */
  readonly concurrency: number;
  /** Milliseconds that a login has in all, where the configuration says. */
  readonly deadline?: number | undefined;
  /** Milliseconds of a monotonic clock. */
  readonly now: () => number;
  readonly random?: () => number;
  readonly onChange?: ((change: PauseChange) => void) | undefined;
}

export interface Gate {
  /** The client, held to what all of this gate's clients have seen that go the same way (proxy, certificates). */
  guard(http: HttpClient, way?: string): HttpClient;
  /** The endpoints that have been asked, and whether they are paused. */
  endpoints(): readonly { readonly endpoint: string; readonly paused: boolean }[];
  close(): void;
}

interface Endpoint {
  readonly id: string;
  readonly name: string;
  readonly breaker: Breaker;
  readonly queue: Queue;
  /** What was wrong the last time. */
  trouble: string;
}

/** Given up by us after this long, or after most of a shorter deadline, it is the endpoint that was slow. */
const SLOW = 1000;
const MOST = 0.8;

export function createGate({
  concurrency,
  deadline = Number.POSITIVE_INFINITY,
  now,
  random = Math.random,
  onChange = () => {},
}: GateOptions): Gate {
  const endpoints = new Map<string, Endpoint>();
  const queues = new Map<string, Queue>();
  const patience = Math.min(SLOW, deadline * MOST);

  function endpointOf(url: string, http: HttpClient, way: string): Endpoint {
    const id = `${url} ${way}`;
    const found = endpoints.get(id);
    if (found !== undefined) return found;
    const { origin, pathname } = new URL(url);
    const name = origin + pathname;
    const queue = queues.get(origin) ?? createQueue(concurrency);
    queues.set(origin, queue);
    const breaker = createBreaker({
      now,
      random,
      // Without a secret, and without asking for anything: that there is an answer says enough.
      probe: () =>
        http.send({ method: 'GET', url, purpose: 'is it back?', headers: { accept: 'application/json' } }),
      onChange(change) {
        // Whoever waits for a turn would wait in vain.
        if (change.paused) queue.refuse(id, () => paused(endpoint, 0));
        onChange({
          endpoint: name,
          ...change,
          why: change.paused ? `${change.why}: ${endpoint.trouble}` : change.why,
        });
      },
    });
    const endpoint: Endpoint = { id, name, breaker, queue, trouble: '' };
    endpoints.set(id, endpoint);
    return endpoint;
  }

  async function send(
    endpoint: Endpoint,
    http: HttpClient,
    request: HttpRequest,
    signal?: AbortSignal,
  ): Promise<HttpResponse> {
    const { breaker, queue } = endpoint;
    if (!queue.enter()) await queue.wait(endpoint.id, signal);
    try {
      const admitted = breaker.admit();
      if (typeof admitted !== 'function') throw paused(endpoint, admitted.pausedFor);
      const startedAt = now();
      let ended: Ended = 'none';
      try {
        const response = await http.send(request, signal);
        ended = endOf(response.status, now() - startedAt >= patience);
        endpoint.trouble = `status ${response.status}`;
        const wait = retryAfter(response);
        if (wait === undefined) return response;
        // An answer is an answer: it is judged like any other.
        ended = 'none';
        breaker.pause(wait);
        return response;
      } catch (error) {
        const slow = now() - startedAt >= patience;
        if (signal?.aborted) ended = slow ? 'slow' : 'none';
        else if (error instanceof ProviderError) ended = slow ? 'slow' : 'failed';
        endpoint.trouble = error instanceof ProviderError ? error.message : 'no answer before the deadline';
        throw error;
      } finally {
        admitted(ended);
      }
    } finally {
      queue.leave();
    }
  }

  return {
    guard: (http, way = '') => ({
      send: async (request, signal) =>
        send(endpointOf(request.endpoint ?? request.url, http, way), http, request, signal),
      close: () => http.close(),
    }),
    endpoints: () =>
      [...endpoints.values()].map(({ name, breaker }) => ({ endpoint: name, paused: breaker.isPaused() })),
    close() {
      for (const { breaker } of endpoints.values()) breaker.close();
    },
  };
}

/**
 * A quick 500 is about this request more often than about the endpoint, and what stands in it was chosen by whoever logs in:
 * nobody must keep others out by five odd names.
 */
function endOf(status: number, slow: boolean): Ended {
  if (status === 500 && !slow) return 'none';
  return status >= 500 || status === 429 ? 'failed' : 'good';
}

function paused({ name, trouble }: Endpoint, milliseconds: number): ProviderError {
  const again = milliseconds < 1000 ? 'a second' : `${Math.ceil(milliseconds / 1000)} s`;
  return new ProviderError(
    'provider_paused',
    `${name} is not asked for ${again}, since it does not work: ${trouble}`,
  );
}

/** Milliseconds for which nothing more should be sent (RFC 9110 section 10.2.3); `undefined` where that was not said. */
function retryAfter({ status, headers }: HttpResponse): number | undefined {
  if (status !== 429 && status !== 503) return undefined;
  const value = headers['retry-after'];
  if (typeof value !== 'string') return undefined;
  const seconds = /^\d{1,9}$/.test(value.trim()) ? Number(value) : (Date.parse(value) - Date.now()) / 1000;
  return seconds > 0 ? seconds * 1000 : undefined;
}
