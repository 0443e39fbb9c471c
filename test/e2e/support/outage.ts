// Logins in a steady stream over a daemon's socket and over a bridge's pipes, and what came of each.
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Bridge, temporaryFolder } from '../../support/bridge.ts';
import type { Daemon } from '../../support/daemon.ts';
import { connectPeer, type Peer } from '../../support/peer.ts';
import { type ProviderProcess, passwordOf, tokenFor } from '../../support/provider-process.ts';

/** Settings of the hosts, with everything asked of this provider. */
export function hostOf({ endpoints }: ProviderProcess): Record<string, unknown> {
  return {
    token_endpoint: endpoints.token,
    introspection_endpoint: endpoints.introspection,
    validation_endpoint: endpoints.userinfo,
    client_id: 'xmpp',
    client_secret_file: secretFile('client-secret'),
    resource_owner_password: true,
    token_prefix: 'token:',
  };
}

export function secretFile(text: string): string {
  const file = join(temporaryFolder(), 'secret');
  writeFileSync(file, text, { mode: 0o600 });
  return file;
}

export function keyFile(): string {
  return secretFile(randomBytes(32).toString('base64'));
}

export type Kind = 'password' | 'token';

export interface Asked {
  readonly kind: Kind;
  readonly isRight: boolean;
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly ms: number;
  readonly answer: number;
}

export interface Load {
  readonly asked: readonly Asked[];
  /** Resolves when all have been answered. */
  stop(): Promise<void>;
}

/** Nobody comes twice: nothing can be remembered of anybody. Of each load a tenth are wrong. */
export function stranger(load: string, serial: number): { kind: Kind; isRight: boolean; request: string } {
  const user = `${load}${serial}`;
  const kind = serial % 2 === 0 ? 'password' : 'token';
  const isRight = serial % 20 !== 4 && serial % 20 !== 13;
  const right = kind === 'password' ? passwordOf(user) : `token:${tokenFor(user)}`;
  const wrong = kind === 'password' ? passwordOf(`not-${user}`) : `token:${tokenFor(`not-${user}`)}`;
  return { kind, isRight, request: `auth:${user}:example.org:${isRight ? right : wrong}` };
}

let loads = 0;

async function askOnce(
  ask: (request: string) => Promise<number>,
  { kind, isRight, request }: ReturnType<typeof stranger>,
  asked: Asked[],
): Promise<void> {
  const at = Date.now();
  const started = performance.now();
  const answer = await ask(request);
  const ms = performance.now() - started;
  asked.push({ kind, isRight, at, ms, answer });
  // What takes no work at all, to tell a process that is slow from a machine that is busy.
  await ask('isuser:somebody:example.org');
}

/** So many a second, over as many connections as it takes. */
export function loadSocket(place: string, perSecond: number): Load {
  const load = `load${++loads}-`;
  const asked: Asked[] = [];
  const idle: Peer[] = [];
  const all: Peer[] = [];
  const running = new Set<Promise<void>>();
  const started = performance.now();
  let sent = 0;
  const timer = setInterval(() => {
    for (; sent < ((performance.now() - started) * perSecond) / 1000; sent++) {
      let peer = idle.pop();
      if (peer === undefined) {
        peer = connectPeer(place);
        all.push(peer);
      }
      const mine = peer;
      const work = askOnce((request) => mine.ask(request, 20_000), stranger(load, sent), asked).then(
        () => void idle.push(mine),
      );
      running.add(work);
      void work.finally(() => running.delete(work)).catch(() => {});
    }
  }, 5);
  return {
    asked,
    async stop() {
      clearInterval(timer);
      try {
        await Promise.all(running);
      } finally {
        for (const peer of all) peer.leave();
      }
    },
  };
}

/** One after the other. */
export function loadBridge(bridge: Bridge, perSecond: number): Load {
  const load = `load${++loads}-`;
  const asked: Asked[] = [];
  let stopped = false;
  const work = (async () => {
    for (let sent = 0; !stopped; sent++) {
      await askOnce((request) => bridge.ask(request, 20_000), stranger(load, sent), asked);
      await sleep(1000 / perSecond);
    }
  })();
  work.catch(() => {});
  return {
    asked,
    async stop() {
      stopped = true;
      await work;
    },
  };
}

/** The time of each event of this name, by `endpoint` where it has one. */
export function events(of: Pick<Daemon, 'logLines'>, name: string): Record<string, unknown>[] {
  return of.logLines().filter(({ event }) => event === name);
}

export function timeOf(line: Record<string, unknown> | undefined): number {
  return line === undefined ? Number.NaN : Date.parse(String(line.time));
}

export function quantile(values: readonly number[], part: number): number {
  const sorted = [...values].sort((one, other) => one - other);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN;
}

/** `extauth_oauth_provider_paused` by the path of the endpoint. */
export async function pausedMetric(address: string): Promise<Record<string, number>> {
  const text = await (await fetch(`http://${address}/metrics`)).text();
  const lines = text.matchAll(/^extauth_oauth_provider_paused\{endpoint="http:\/\/[^/]+([^"]+)"\} (\d)$/gm);
  return Object.fromEntries([...lines].map(([, path, value]) => [path, Number(value)]));
}
