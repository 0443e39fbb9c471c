// A small XMPP client that does what a polite one would not: it sends any SASL element at any time, and shows the answers.
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

/** A login may use the whole deadline of the bridge, behind others that did. */
const answerTimeout = 20_000;

export interface Credentials {
  /** The initial response; none: the element stays empty. */
  initial?: string | Buffer;
  mechanism: string;
}

/** The server's answer to a SASL element. */
export interface SaslAnswer {
  readonly kind: 'success' | 'challenge' | 'failure' | 'stream error' | 'closed';
  /** Of a failure or a stream error. */
  readonly condition: string | undefined;
  readonly text: string | undefined;
  /** Of a challenge or a success, decoded. */
  readonly data: string | undefined;
}

export interface XmppStream {
  readonly mechanisms: readonly string[];
  /** Sends `<auth/>` and resolves with the answer. */
  auth(credentials: Credentials): Promise<SaslAnswer>;
  /** Sends `<response/>`, or whatever else, and resolves with the answer. */
  respond(message: string | Buffer | undefined): Promise<SaslAnswer>;
  abort(): Promise<SaslAnswer>;
  /** Any element as text. */
  sasl(element: string): Promise<SaslAnswer>;
  /** An `<iq/>` before or after the login: the answer as text. */
  iq(type: 'get' | 'set', payload: string, to?: string): Promise<string>;
  /** After a success: a new stream and a resource. Resolves with the full JID. */
  bind(): Promise<string>;
  /** Milliseconds that an answer to a ping (XEP-0199) takes. */
  ping(): Promise<number>;
  close(): Promise<void>;
}

const saslNamespace = 'urn:ietf:params:xml:ns:xmpp-sasl';

/** Connects and resolves when the server has said what it offers. */
export async function openStream({ port, domain }: { port: number; domain: string }): Promise<XmppStream> {
  const socket = connect(port, '127.0.0.1');
  const reader = createReader(socket);
  await once(socket, 'connect');
  let id = 0;

  async function start(): Promise<string> {
    socket.write(
      `<?xml version='1.0'?><stream:stream to='${domain}' version='1.0' xmlns='jabber:client' ` +
        "xmlns:stream='http://etherx.jabber.org/streams'>",
    );
    return await reader.next(/<stream:features>.*?<\/stream:features>|<stream:features\/>/s);
  }

  async function sasl(element: string): Promise<SaslAnswer> {
    socket.write(element);
    return saslAnswer(
      await reader.next(
        /<(success|challenge|failure)\b[^>]*?(?:\/>|>.*?<\/\1>)|<stream:error>.*?<\/stream:error>/s,
      ),
    );
  }

  async function iq(type: 'get' | 'set', payload: string, to?: string): Promise<string> {
    id += 1;
    const address = to === undefined ? '' : ` to='${to}'`;
    socket.write(`<iq id='q${id}' type='${type}'${address}>${payload}</iq>`);
    return await reader.next(new RegExp(`<iq\\b[^>]*\\bid='q${id}'[^>]*?(?:/>|>.*?</iq>)`, 's'));
  }

  const features = await start();
  if (!features.startsWith('<stream:features')) {
    socket.destroy();
    throw new Error(`no stream: ${features}`);
  }
  const mechanisms = [...features.matchAll(/<mechanism>(.*?)<\/mechanism>/g)].map(([, name = '']) => name);

  return {
    mechanisms,
    sasl,
    iq,
    auth: ({ mechanism, initial }) =>
      sasl(`<auth xmlns='${saslNamespace}' mechanism='${mechanism}'>${encoded(initial)}</auth>`),
    respond: (message) => sasl(`<response xmlns='${saslNamespace}'>${encoded(message)}</response>`),
    abort: () => sasl(`<abort xmlns='${saslNamespace}'/>`),
    async bind() {
      await start();
      const answer = await iq('set', "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>");
      const jid = /<jid>(.*?)<\/jid>/.exec(answer)?.[1];
      if (jid === undefined) throw new Error(`no resource: ${answer}`);
      return unescaped(jid);
    },
    async ping() {
      const started = performance.now();
      const answer = await iq('get', "<ping xmlns='urn:xmpp:ping'/>", domain);
      if (!answer.includes("type='result'")) throw new Error(`no answer to a ping: ${answer}`);
      return performance.now() - started;
    },
    async close() {
      if (socket.destroyed) return;
      const closed = new Promise((resolve) => socket.once('close', resolve));
      socket.end('</stream:stream>');
      // Whoever hangs need not be waited for.
      setTimeout(() => socket.destroy(), 500).unref();
      await closed;
    },
  };
}

interface Reader {
  /** The next text that matches, whatever comes before it is dropped; `''` when the connection ends first. */
  next(pattern: RegExp): Promise<string>;
}

function createReader(socket: Socket): Reader {
  let text = '';
  let ended = false;
  let wake = (): void => {};
  socket.setEncoding('utf8');
  socket.on('data', (chunk: string) => {
    text += chunk;
    wake();
  });
  socket.on('error', () => {});
  socket.on('close', () => {
    ended = true;
    wake();
  });
  return {
    async next(pattern) {
      const until = Date.now() + answerTimeout;
      while (true) {
        const match = pattern.exec(text);
        if (match !== null) {
          text = text.slice(match.index + match[0].length);
          return match[0];
        }
        if (ended) return '';
        if (Date.now() > until) throw new Error(`no answer within ${answerTimeout} ms, only: ${text}`);
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, 250);
          wake = () => {
            clearTimeout(timer);
            resolve();
          };
        });
      }
    },
  };
}

function saslAnswer(element: string): SaslAnswer {
  const text = /<text\b[^>]*>(.*?)<\/text>/s.exec(element)?.[1];
  const content = /^<\w+\b[^>]*>([^<]*)<\/\w+>$/.exec(element)?.[1];
  const name = /^<([\w:]*)/.exec(element)?.[1];
  // The first child that is not the text (RFC 6120 section 6.5): `<failure><not-authorized/>`.
  const condition = /^<[^>]*><([\w-]+)/.exec(element)?.[1];
  return {
    kind:
      name === 'stream:error' ? 'stream error' : ((name || 'closed') as 'success' | 'challenge' | 'failure'),
    condition: name === 'failure' || name === 'stream:error' ? condition : undefined,
    text: text === undefined ? undefined : unescaped(text),
    data: content === undefined ? undefined : Buffer.from(content, 'base64').toString('utf8'),
  };
}

/** RFC 6120 section 6.4.2: an empty message is `=`, none at all is nothing. */
function encoded(message: string | Buffer | undefined): string {
  if (message === undefined) return '';
  return message.length === 0 ? '=' : Buffer.from(message as string).toString('base64');
}

function unescaped(text: string): string {
  const characters: Record<string, string> = { lt: '<', gt: '>', apos: "'", quot: '"', amp: '&' };
  return text.replace(/&(lt|gt|apos|quot|amp);/g, (_, name: string) => characters[name] as string);
}
