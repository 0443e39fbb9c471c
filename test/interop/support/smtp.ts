// As much of an SMTP client as a login needs (RFC 5321, RFC 4954), one command after the other.
import { connect } from 'node:net';
import { createInterface } from 'node:readline';

/** Longer than Postfix waits for the socket: 10 s (AUTH_TIMEOUT in xsasl_dovecot_server.c). */
const answerTimeout = 20_000;

export interface Smtp {
  /** The mechanisms that the answer to EHLO offers. */
  readonly mechanisms: readonly string[];
  /** Sends one line and resolves with the answer's last line; rejects when the connection ends instead. */
  say(line: string): Promise<string>;
  quit(): Promise<void>;
}

/** Connects, and says EHLO. */
export async function openSmtp(port: number): Promise<Smtp> {
  const socket = connect(port, '127.0.0.1');
  socket.setTimeout(answerTimeout, () => socket.destroy(new Error(`no answer within ${answerTimeout} ms`)));
  let failure: Error | undefined;
  socket.on('error', (error) => {
    failure = error;
  });
  const lines = createInterface({ input: socket, crlfDelay: Number.POSITIVE_INFINITY })[
    Symbol.asyncIterator
  ]();

  /** `250-` goes on, `250 ` is the last line. */
  async function answer(): Promise<string[]> {
    const read: string[] = [];
    for (;;) {
      const { done, value } = await lines.next();
      if (done) throw new Error('Postfix closed the connection', { cause: failure });
      read.push(value);
      if (value[3] !== '-') return read;
    }
  }

  async function say(line: string): Promise<string> {
    socket.write(`${line}\r\n`);
    return (await answer()).at(-1) ?? '';
  }

  await answer();
  socket.write('EHLO client.example\r\n');
  const offered = (await answer()).map((line) => /^250[- ]AUTH (.*)/.exec(line)?.[1]).find(Boolean) ?? '';
  return {
    mechanisms: offered.split(' ').filter(Boolean),
    say,
    async quit() {
      await say('QUIT').catch(() => {});
      socket.destroy();
    },
  };
}
