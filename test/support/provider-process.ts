// A provider in a process of its own, which can be stopped, killed and started again like one. It knows every user, each by
// `right-` and the name, and every token that tokenFor() makes.
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { atExit } from './at-exit.ts';
import { bundled } from './bundle.ts';

/** What is answered to everything in the place of an answer. */
export interface Fault {
  readonly status?: number;
  readonly headers?: Record<string, string>;
  /** Milliseconds before the connection is broken. */
  readonly resetAfter?: number;
  /** Takes requests and never answers. */
  readonly stall?: true;
}

export interface Seen {
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly method: string;
  readonly path: string;
}

export interface ProviderProcess {
  readonly port: number;
  readonly endpoints: Readonly<Record<'token' | 'introspection' | 'userinfo', string>>;
  readonly seen: readonly Seen[];
  signal(name: NodeJS.Signals): void;
  /** SIGKILL. */
  kill(): Promise<void>;
  /** Once more, after `kill`, on the same port. */
  start(): Promise<void>;
  /** `undefined`: it is well again. */
  fault(fault: Fault | undefined): Promise<void>;
  /** Refuses a token, or `user password`, from now on. */
  revoke(secret: string): Promise<void>;
  stop(): Promise<void>;
}

let serial = 0;

/** Never the same twice. `exp`: seconds since 1970. */
export function tokenFor(user: string, exp = 0): string {
  return `tok.${user}.${exp}.${++serial}`;
}

export function passwordOf(user: string): string {
  return `right-${user}`;
}

type Order = { readonly fault: Fault | null } | { readonly revoke: string };

export async function startProviderProcess(): Promise<ProviderProcess> {
  const seen: Seen[] = [];
  let child: ChildProcess;
  let port = 0;
  const leave = atExit(() => void child.kill('SIGKILL'));

  async function start(): Promise<void> {
    child = fork(await bundled(import.meta.url), [String(port)], { execArgv: [] });
    const [first] = (await once(child, 'message')) as [number];
    port = first;
    child.on('message', (message) => {
      if (typeof message === 'object') seen.push(message as Seen);
      else child.emit('done');
    });
  }

  async function order(what: Order): Promise<void> {
    const done = once(child, 'done');
    child.send(what);
    await done;
  }

  async function kill(): Promise<void> {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  }

  await start();
  const at = (path: string): string => `http://127.0.0.1:${port}${path}`;
  return {
    port,
    endpoints: { token: at('/token'), introspection: at('/introspect'), userinfo: at('/userinfo') },
    seen,
    signal: (name) => void child.kill(name),
    kill,
    start,
    fault: (fault) => order({ fault: fault ?? null }),
    revoke: (secret) => order({ revoke: secret }),
    async stop() {
      leave();
      await kill();
    },
  };
}

async function serve(wanted: number): Promise<void> {
  let fault: Fault | null = null;
  const revoked = new Set<string>();

  function userOf(token: string): string | undefined {
    const [kind, user, exp] = token.split('.');
    const isGood = Number(exp) === 0 || Date.now() < Number(exp) * 1000;
    return kind === 'tok' && isGood && !revoked.has(token) ? user : undefined;
  }

  function answer(path: string, body: string, bearer: string): [status: number, body: object] {
    const form = new URLSearchParams(body);
    if (path === '/token') {
      const [name, password] = [form.get('username') ?? '', form.get('password') ?? ''];
      const isRight = password === `right-${name}` && !revoked.has(`${name} ${password}`);
      return isRight
        ? [200, { access_token: `tok.${name}.0.own`, token_type: 'Bearer', expires_in: 300 }]
        : [400, { error: 'invalid_grant' }];
    }
    if (path === '/introspect') {
      const token = form.get('token') ?? '';
      const user = userOf(token);
      const exp = Number(token.split('.')[2]);
      if (user === undefined) return [200, { active: false }];
      const claims = { active: true, client_id: 'xmpp', sub: user, preferred_username: user };
      return [200, exp === 0 ? claims : { ...claims, exp }];
    }
    const user = userOf(bearer);
    if (user === undefined) return [401, { error: 'invalid_token' }];
    return [200, { sub: user, preferred_username: user }];
  }

  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    try {
      for await (const chunk of request) chunks.push(chunk as Buffer);
    } catch {
      return;
    }
    const { method = '', url = '', headers } = request;
    process.send?.({ at: Date.now(), method, path: url });
    if (fault === null) {
      const bearer = headers.authorization?.replace(/^Bearer /, '') ?? '';
      const [status, body] = answer(url, Buffer.concat(chunks).toString('utf8'), bearer);
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
      return;
    }
    const { status = 503, headers: more = {}, resetAfter, stall } = fault;
    if (stall) return;
    if (resetAfter === undefined) response.writeHead(status, more).end('{}');
    else setTimeout(() => response.socket?.resetAndDestroy(), resetAfter);
  });
  process.on('message', (what: Order) => {
    if ('fault' in what) fault = what.fault;
    else revoked.add(what.revoke);
    process.send?.('done');
  });
  process.on('disconnect', () => process.exit());
  server.listen(wanted, '127.0.0.1');
  await once(server, 'listening');
  process.send?.((server.address() as AddressInfo).port);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await serve(Number(process.argv[2]));
