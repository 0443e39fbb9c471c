// One login of a real XMPP client (@xmpp/client) over plain TCP to loopback: with SASL PLAIN, or with a mechanism for tokens.
import { type Client, type Credentials, client as createClient, type Mechanism } from '@xmpp/client';

/** A login goes through the queue of a worker pool, and the bridge may use its whole deadline. */
const loginTimeout = 20_000;

export interface Login {
  port: number;
  /** The virtual host. */
  domain: string;
  username: string;
  /** Bytes are sent as they are, text as UTF-8; neither is normalised. */
  password: string | Buffer;
  /** For `PLAIN`, and for the `a=` of OAUTHBEARER. */
  authzid?: string;
  /** Default: PLAIN. With the others the password is a token. */
  mechanism?: 'PLAIN' | 'OAUTHBEARER' | 'XOAUTH2';
  timeout?: number;
}

export interface LoggedIn {
  readonly ok: true;
  readonly jid: string;
  readonly ms: number;
  /** Still connected; end it with {@link logOut}. */
  readonly client: Client;
}

export interface NotLoggedIn {
  readonly ok: false;
  /** The SASL or stream error, a system error code, `disconnected` or `timeout`. */
  readonly condition: string;
  /** What the server says in words. */
  readonly text: string | undefined;
  /** The server's only challenge: with tokens the error (RFC 7628 section 3.2.2). */
  readonly challenge: string | undefined;
  readonly ms: number;
}

/** Connects and logs in once; a client that was refused is already closed. */
export async function login({
  port,
  domain,
  username,
  password,
  authzid = '',
  mechanism = 'PLAIN',
  timeout = loginTimeout,
}: Login): Promise<LoggedIn | NotLoggedIn> {
  const started = performance.now();
  const client = createClient({
    service: `xmpp://127.0.0.1:${port}`,
    domain,
    timeout,
    // A function, because with a plain object the client refuses PLAIN without TLS and normalises the name.
    credentials: async (authenticate, mechanisms) => {
      if (!mechanisms.includes(mechanism)) throw new Error(`${mechanism} is not offered, only ${mechanisms}`);
      await authenticate(
        { username: bytes(username), password: bytes(password), authzid: bytes(authzid) },
        mechanism,
      );
    },
  });
  let challenge: string | undefined;
  if (mechanism !== 'PLAIN') {
    const mechanismClass = tokenMechanism(mechanism, (text) => {
      challenge = text;
    });
    client.saslFactory.use(mechanism, mechanismClass);
  }
  client.reconnect.stop();
  let timer: NodeJS.Timeout | undefined;
  try {
    const jid = await Promise.race([
      client.start(),
      new Promise<never>((_, reject) => {
        // Errors after the login have no other listener, and an unheard `error` event would end the test process.
        client.on('error', reject);
        client.on('disconnect', () => reject(new Error('disconnected')));
        timer = setTimeout(() => reject(new Error('timeout')), timeout);
      }),
    ]);
    return { ok: true, jid: jid.toString(), ms: performance.now() - started, client };
  } catch (error) {
    const ms = performance.now() - started;
    await client.stop().catch(() => {});
    const { text } = error as { text?: string };
    return { ok: false, condition: condition(error), text, challenge, ms };
  } finally {
    clearTimeout(timer);
  }
}

/** A login that has to work. */
export async function mustLogIn(credentials: Login): Promise<LoggedIn> {
  const result = await login(credentials);
  if (result.ok) return result;
  throw new Error(`${credentials.username}@${credentials.domain} was refused: ${result.condition}`);
}

/** A login that has to be refused. */
export async function mustBeRefused(credentials: Login): Promise<NotLoggedIn> {
  const result = await login(credentials);
  if (!result.ok) return result;
  await logOut(result);
  throw new Error(`${credentials.username}@${credentials.domain} was let in`);
}

/** Closes stream and socket of a login that worked. */
export async function logOut({ client }: LoggedIn): Promise<void> {
  await client.stop();
}

/** Logs in and out again; the result is `ok` or the condition of the refusal. */
export async function attempt(credentials: Login): Promise<string> {
  const result = await login(credentials);
  if (!result.ok) return result.condition;
  await logOut(result);
  return 'ok';
}

/** The package has no mechanism for tokens. */
function tokenMechanism(
  name: 'OAUTHBEARER' | 'XOAUTH2',
  onChallenge: (text: string) => void,
): new () => Mechanism {
  return class {
    readonly name = name;
    readonly clientFirst = true;
    #isOver = false;

    response({ username, password, authzid }: Credentials): string {
      // RFC 7628 section 3.2.3: the client has to answer the error before it is refused.
      if (this.#isOver) return name === 'OAUTHBEARER' ? '\x01' : '';
      if (name === 'XOAUTH2') return `user=${username}\x01auth=Bearer ${password}\x01\x01`;
      return `n,${authzid ? `a=${authzid}` : ''},\x01auth=Bearer ${password}\x01\x01`;
    }

    challenge(text: string): void {
      this.#isOver = true;
      onChallenge(text);
    }
  };
}

/** The client's base64 takes one character for one byte: every byte of the UTF-8 form as a character of its own. */
function bytes(text: string | Buffer): string {
  return Buffer.from(text as string).toString('latin1');
}

function condition(error: unknown): string {
  const { condition, code, message } = error as { condition?: string; code?: string; message?: string };
  return condition ?? code ?? message ?? String(error);
}
