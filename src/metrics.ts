// How the daemon is, for Prometheus, over a Unix socket or a port of the loopback interface. No user's name is in it, and
// no label can take more values than the configuration has.
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { Hosts } from './hosts.ts';
import type { Exchange } from './oauth/http.ts';
import { cacheOf, type Requested, type Told } from './report.ts';

export interface MetricsOptions {
  readonly hosts: () => Hosts | undefined;
  /** Whether the shared store is there; `undefined` where there is none. */
  readonly stateUp: () => boolean | undefined;
  /** Open connections by the name of their socket. */
  readonly connections: () => Iterable<readonly [socket: string, count: number]>;
}

export interface Metrics {
  measure(requested: Requested, told: Told, milliseconds: number): void;
  observe(exchange: Exchange): void;
  /** What Prometheus reads: its text format. */
  text(): Promise<string>;
  readonly contentType: string;
}

/** Seconds. A verdict from memory takes microseconds, one from a provider as long as it takes, and at most the deadline. */
const LATENCIES = [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15];

export function createMetrics({ hosts, stateUp, connections }: MetricsOptions): Metrics {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });

  const requests = new Counter({
    name: 'extauth_oauth_requests_total',
    help: 'Requests by what they came to',
    labelNames: ['host', 'op', 'verdict', 'reason', 'method'] as const,
    registers,
  });
  const seconds = new Histogram({
    name: 'extauth_oauth_login_seconds',
    help: 'From the first byte of a login to its answer',
    labelNames: ['host', 'verdict'] as const,
    buckets: LATENCIES,
    registers,
  });
  const cache = new Counter({
    name: 'extauth_oauth_cache_total',
    help: 'Logins with a remembered verdict (hit, or grace while the provider is away), with one that will be (miss), with none (off)',
    labelNames: ['result'] as const,
    registers,
  });
  const provider = new Histogram({
    name: 'extauth_oauth_provider_request_seconds',
    help: 'Requests to the provider by endpoint and outcome: the status, or error where there was no answer',
    labelNames: ['method', 'endpoint', 'outcome'] as const,
    buckets: LATENCIES,
    registers,
  });
  new Gauge({
    name: 'extauth_oauth_connections',
    help: 'Open connections by socket',
    labelNames: ['socket'] as const,
    registers,
    collect() {
      this.reset();
      for (const [socket, count] of connections()) this.set({ socket }, count);
    },
  });
  new Gauge({
    name: 'extauth_oauth_provider_paused',
    help: '1 while an endpoint is left alone because it does not work, 0 while it is asked',
    labelNames: ['endpoint'] as const,
    registers,
    collect() {
      this.reset();
      for (const { endpoint, paused } of hosts()?.endpoints() ?? []) this.set({ endpoint }, paused ? 1 : 0);
    },
  });
  new Gauge({
    name: 'extauth_oauth_state_store_up',
    help: 'Whether the shared store of state is there; without one there is no such line',
    registers,
    collect() {
      this.reset();
      const up = stateUp();
      if (up === undefined) this.remove();
      else this.set(up ? 1 : 0);
    },
  });
  new Gauge({
    name: 'extauth_oauth_jwks_age_seconds',
    help: 'Since the provider last said which keys it has',
    labelNames: ['issuer'] as const,
    registers,
    collect() {
      this.reset();
      for (const { issuer, milliseconds } of hosts()?.keyAges() ?? [])
        this.set({ issuer }, milliseconds / 1000);
    },
  });

  return {
    measure({ op, host: name }, told, milliseconds) {
      const verdict = told.outcome;
      // Whoever connects says the name: only what is configured becomes a label.
      const host =
        name === undefined ? 'none' : (hosts()?.find(name)?.settings.pattern ?? 'unlisted') || 'any';
      const reason = 'reason' in told ? told.reason : '';
      const method = ('method' in told && told.method) || '';
      requests.inc({ host, op, verdict, reason, method });
      if (op !== 'auth') return;
      seconds.observe({ host, verdict }, milliseconds / 1000);
      cache.inc({ result: cacheOf(told) });
    },
    observe({ method, url, status, milliseconds }) {
      const { origin, pathname } = new URL(url);
      const outcome = status === undefined ? 'error' : String(status);
      provider.observe({ method, endpoint: origin + pathname, outcome }, milliseconds / 1000);
    },
    text: () => registry.metrics(),
    contentType: registry.contentType,
  };
}
