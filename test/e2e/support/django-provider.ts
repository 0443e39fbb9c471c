// Starts Debian's django-oauth-toolkit (django-provider.py) as a child process and tells it what to do.
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { atExit } from '../../support/at-exit.ts';
import { root, temporaryFolder } from '../../support/bridge.ts';

/** Debian's: a Python from elsewhere does not see Debian's packages. */
const python = '/usr/bin/python3';
/** From cold: the imports, an RSA key, the database. Takes 2 s when nothing else runs. */
const startTimeout = 30_000;
const answerTimeout = 10_000;
const stopTimeout = 5000;

export type DjangoClient = 'xmpp' | 'other-app';

export interface DjangoToken {
  readonly access_token: string;
  readonly refresh_token: string;
}

export interface DjangoProvider {
  /** `http://127.0.0.1:PORT/o`, without a slash at the end. */
  readonly issuer: string;
  /** The endpoints that discovery does not name. */
  readonly introspectionEndpoint: string;
  readonly revocationEndpoint: string;
  /** Of the confidential clients; `xmpp` has the password grant. */
  readonly secrets: Readonly<Record<DjangoClient, string>>;
  /** An opaque token of this user, `seconds` from its end (or past it, when negative). */
  token(user: string, options?: { client?: DjangoClient; seconds?: number }): Promise<DjangoToken>;
  /** A token as the client credentials grant gives it: nobody's. */
  clientToken(client: DjangoClient): Promise<string>;
  idToken(user: string, client: DjangoClient): Promise<string>;
  /** Revokes a token at the revocation endpoint, as its client. */
  revoke(token: string, client: DjangoClient): Promise<void>;
  /** How many tokens of this user are neither expired nor revoked. */
  liveTokens(user: string): Promise<{ access: number; refresh: number }>;
  /** Every request that was answered so far: `GET /o/userinfo/ 200`. */
  requests(): Promise<string[]>;
  stop(): Promise<void>;
}

export interface DjangoOptions {
  /** Passwords by name. */
  users: Record<string, string>;
  /** Those of them who may not log in. */
  disabled?: string[];
}

/** Starts the provider and resolves when it serves. */
export async function startDjango({ users, disabled = [] }: DjangoOptions): Promise<DjangoProvider> {
  // Isolated (-I): neither variables nor packages of the user who runs the tests.
  const child = spawn(python, ['-I', join(root, 'test/e2e/support/django-provider.py')], {
    stdio: 'pipe',
    env: { PATH: '/usr/bin:/bin', LANG: 'C.UTF-8', TMPDIR: temporaryFolder() },
  });
  let errors = '';
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    errors += chunk;
  });
  child.stdin.on('error', () => {});
  child.once('error', ({ message }) => {
    errors += `${message}: apt-get install python3-django-oauth-toolkit`;
  });
  // `error` alone is emitted when there is nothing to start, `close` in any other case.
  const closed = new Promise<void>((resolve) => {
    child.once('error', () => resolve());
    child.once('close', () => resolve());
  });
  const kill = () => void child.kill('SIGKILL');
  void closed.then(atExit(kill));

  const waiting: { resolve: (line: string) => void; reject: (error: Error) => void }[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => waiting.shift()?.resolve(line));
  void closed.then(() => {
    for (const { reject } of waiting.splice(0)) reject(new Error(`the Django provider ended: ${errors}`));
  });

  /** Sends one line and resolves with the line that answers it. */
  function ask(request: unknown, timeout: number): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new Error(`no answer from the Django provider within ${timeout} ms: ${errors}`)),
        timeout,
      );
      waiting.push({
        resolve(line) {
          clearTimeout(timer);
          resolve(JSON.parse(line));
        },
        reject(error) {
          clearTimeout(timer);
          reject(error);
        },
      });
      child.stdin.write(`${JSON.stringify(request)}\n`);
    });
  }

  async function command<Result>(words: { do: string } & Record<string, unknown>): Promise<Result> {
    const { result, error } = (await ask(words, answerTimeout)) as { result: Result; error?: string };
    if (error !== undefined) throw new Error(`the Django provider cannot ${words.do}: ${error}`);
    return result;
  }

  async function stop(): Promise<void> {
    child.stdin.end();
    const timer = setTimeout(kill, stopTimeout);
    await closed;
    clearTimeout(timer);
  }

  let started: { port: number; secrets: Record<DjangoClient, string> };
  try {
    started = (await ask({ users, disabled }, startTimeout)) as typeof started;
  } catch (error) {
    kill();
    await closed;
    throw error;
  }
  const { port, secrets } = started;
  const issuer = `http://127.0.0.1:${port}/o`;
  const revocationEndpoint = `${issuer}/revoke_token/`;

  return {
    issuer,
    introspectionEndpoint: `${issuer}/introspect/`,
    revocationEndpoint,
    secrets,
    token: (user, { client = 'xmpp', seconds = 3600 } = {}) =>
      command({ do: 'token', user, client, scope: 'openid', expires_in: seconds }),
    async clientToken(client) {
      const words = { do: 'token', user: null, client, scope: 'openid', expires_in: 3600 };
      return (await command<{ access_token: string }>(words)).access_token;
    },
    idToken: (user, client) => command({ do: 'id_token', user, client }),
    async revoke(token, client) {
      const { ok, status } = await fetch(revocationEndpoint, {
        method: 'POST',
        body: new URLSearchParams({ token, client_id: client, client_secret: secrets[client] }),
        signal: AbortSignal.timeout(answerTimeout),
      });
      if (!ok) throw new Error(`the token was not revoked: ${status}`);
    },
    liveTokens: (user) => command({ do: 'live_tokens', user }),
    requests: () => command({ do: 'requests' }),
    stop,
  };
}
