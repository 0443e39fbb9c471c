// An authorization server that does as it is told, for the faults that a real one cannot be made to have. Left alone it
// is a tiny healthy provider with one user.
import { execFileSync } from 'node:child_process';
import { once, setMaxListeners } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

/** `directory`: all that is below it, too. */
export type Endpoint =
  | 'token'
  | 'userinfo'
  | 'introspection'
  | 'jwks'
  | 'discovery'
  | 'revocation'
  | 'directory';

export interface ScriptedRequest {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

export interface SeenRequest extends ScriptedRequest {
  /** `undefined`: a path that is no endpoint, such as the target of a redirect. */
  readonly endpoint: Endpoint | undefined;
}

export interface Behaviour {
  /** Default 200. */
  status?: number;
  headers?: Record<string, string>;
  /** Text as it is; anything else as JSON, with a content type to match. */
  body?: unknown;
  /** Milliseconds before anything is answered. */
  delay?: number;
  /** Takes the request and never answers. */
  stall?: true;
  /** Sends the body in pieces. */
  drip?: { bytes: number; everyMs: number };
  /** Breaks the connection instead of answering, or in the middle of the body. */
  reset?: 'beforeHeaders' | 'midBody';
  /** Pads the body with so many bytes of white space: the JSON in it stays what it is. */
  oversize?: number;
  /** What goes out instead of an HTTP answer. */
  raw?: string;
}

export type Script = Behaviour | ((request: ScriptedRequest) => Behaviour);

export interface Scripted {
  /** Also the issuer. */
  readonly origin: string;
  readonly port: number;
  readonly endpoints: Readonly<Record<Endpoint, string>>;
  /** Every request, in order, with header and body. */
  readonly seen: SeenRequest[];
  /** `undefined` makes the endpoint healthy again. */
  set(endpoint: Endpoint, script: Script | undefined): void;
  /** All endpoints healthy, nothing seen. */
  reset(): void;
  /** Ends at once, whoever is connected. */
  stop(): Promise<void>;
}

export interface Certificate {
  /** PEM. */
  readonly key: string;
  readonly cert: string;
}

const PATHS: Readonly<Record<Endpoint, string>> = {
  token: '/token',
  userinfo: '/userinfo',
  introspection: '/introspect',
  jwks: '/jwks',
  discovery: '/.well-known/openid-configuration',
  revocation: '/revoke',
  directory: '/directory',
};

/** The one user of a healthy provider. */
export const alice = {
  name: 'alice',
  password: 'alice-password',
  token: 'alice-token',
  sub: 'sub-of-alice',
  /** Who obtained her token. */
  client: 'xmpp',
} as const;

/** `port`: default any free one. */
export async function startScripted({
  tls,
  port: wanted = 0,
}: {
  tls?: Certificate;
  port?: number;
} = {}): Promise<Scripted> {
  const scripts = new Map<Endpoint, Script>();
  const seen: SeenRequest[] = [];
  const stopping = new AbortController();
  // One for each answer that is waited with.
  setMaxListeners(0, stopping.signal);

  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const { method = '', url = '', headers } = request;
    const endpoint = endpointAt(url);
    const received = { endpoint, method, url, headers, body: Buffer.concat(chunks).toString('utf8') };
    seen.push(received);
    const script = endpoint === undefined ? { status: 404 } : (scripts.get(endpoint) ?? healthy[endpoint]);
    await play(typeof script === 'function' ? script(received) : script, response, stopping.signal);
  };
  const listener = (request: IncomingMessage, response: ServerResponse): void => {
    // Whoever has gone away, or is sent away by stop(), does not want an answer any more.
    answer(request, response).catch(() => response.destroy());
  };
  const server = tls === undefined ? createServer(listener) : createTlsServer({ ...tls }, listener);
  server.listen(wanted, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const origin = `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}`;
  const endpoints = mapPaths((path) => origin + path);

  const healthy: Record<Endpoint, Script> = {
    token: ({ body }) => {
      const form = new URLSearchParams(body);
      return form.get('username') === alice.name && form.get('password') === alice.password
        ? { body: { access_token: alice.token, token_type: 'Bearer', expires_in: 300 } }
        : { status: 400, body: { error: 'invalid_grant' } };
    },
    userinfo: ({ headers }) =>
      headers.authorization === `Bearer ${alice.token}`
        ? { body: { sub: alice.sub, preferred_username: alice.name } }
        : {
            status: 401,
            headers: { 'www-authenticate': 'Bearer error="invalid_token"' },
            body: { error: 'invalid_token' },
          },
    introspection: ({ body }) => ({
      body:
        new URLSearchParams(body).get('token') === alice.token
          ? { active: true, client_id: alice.client, sub: alice.sub, preferred_username: alice.name }
          : { active: false },
    }),
    jwks: { body: { keys: [] } },
    // Neither keys nor introspection, unless a test says so.
    discovery: () => ({
      body: {
        issuer: origin,
        token_endpoint: endpoints.token,
        userinfo_endpoint: endpoints.userinfo,
        revocation_endpoint: endpoints.revocation,
      },
    }),
    revocation: { status: 200, body: '' },
    directory: { status: 404 },
  };

  return {
    origin,
    port,
    endpoints,
    seen,
    set(endpoint, script) {
      if (script === undefined) scripts.delete(endpoint);
      else scripts.set(endpoint, script);
    },
    reset() {
      scripts.clear();
      seen.length = 0;
    },
    async stop() {
      stopping.abort();
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

async function play(behaviour: Behaviour, response: ServerResponse, signal: AbortSignal): Promise<void> {
  const { status = 200, headers = {}, delay, stall, drip, reset, oversize = 0, raw } = behaviour;
  const { socket } = response;
  if (delay !== undefined) await pause(delay, undefined, { signal });
  if (stall) return;
  if (reset === 'beforeHeaders') {
    socket?.resetAndDestroy();
    return;
  }
  if (raw !== undefined) {
    socket?.end(raw);
    return;
  }
  const isText = typeof behaviour.body === 'string' || behaviour.body === undefined;
  const text = isText ? String(behaviour.body ?? '') : JSON.stringify(behaviour.body);
  const body = Buffer.concat([Buffer.from(text), Buffer.alloc(oversize, ' ')]);
  const type = isText ? {} : { 'content-type': 'application/json' };
  response.writeHead(status, { ...type, ...headers });

  if (reset === 'midBody') {
    response.write(body.subarray(0, Math.ceil(body.length / 2)));
    // Else the reset overtakes what has been written.
    await pause(20, undefined, { signal });
    socket?.resetAndDestroy();
  } else if (drip !== undefined) {
    for (let sent = 0; sent < body.length && !response.destroyed; sent += drip.bytes) {
      response.write(body.subarray(sent, sent + drip.bytes));
      await pause(drip.everyMs, undefined, { signal });
    }
    response.end();
  } else {
    response.end(body);
  }
}

function endpointAt(url: string): Endpoint | undefined {
  const [path = ''] = url.split('?', 1);
  if (path.startsWith(`${PATHS.directory}/`)) return 'directory';
  return (Object.keys(PATHS) as Endpoint[]).find((name) => PATHS[name] === path);
}

function mapPaths(to: (path: string) => string): Record<Endpoint, string> {
  const entries = Object.entries(PATHS).map(([name, path]) => [name, to(path)]);
  return Object.fromEntries(entries) as Record<Endpoint, string>;
}

/** A self-signed certificate for these names or addresses, made by the `openssl` program. */
export function selfSigned(...names: readonly string[]): Certificate {
  const folder = mkdtempSync(join(tmpdir(), 'extauth-oauth-tls-'));
  const key = join(folder, 'key.pem');
  const cert = join(folder, 'cert.pem');
  const alternatives = names.map((name) => (/^[\d.]+$/.test(name) ? `IP:${name}` : `DNS:${name}`)).join();
  try {
    execFileSync(
      'openssl',
      [
        ...[
          'req',
          '-x509',
          '-newkey',
          'ec',
          '-pkeyopt',
          'ec_paramgen_curve:prime256v1',
          '-nodes',
          '-days',
          '2',
        ],
        ...['-subj', '/CN=extauth-oauth test', '-addext', `subjectAltName=${alternatives}`],
        ...['-keyout', key, '-out', cert],
      ],
      { stdio: 'pipe' },
    );
    return { key: readFileSync(key, 'utf8'), cert: readFileSync(cert, 'utf8') };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
