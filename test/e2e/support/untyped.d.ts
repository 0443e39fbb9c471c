// What the end-to-end tests use of two packages that come without types.

declare module '@xmpp/client' {
  export interface Element {
    readonly name: string;
    readonly attrs: Record<string, string>;
    getChild(name: string, xmlns?: string): Element | undefined;
    text(): string;
  }

  export interface Credentials {
    username: string;
    password: string;
    authzid?: string;
  }

  /** A SASL mechanism, as the package saslmechanisms has them. */
  export interface Mechanism {
    readonly name: string;
    readonly clientFirst: boolean;
    response(credentials: Credentials): string;
    challenge(text: string): unknown;
  }

  export type Authenticate = (credentials: Credentials, mechanism: string) => Promise<void>;

  export interface Options {
    service: string;
    domain: string;
    timeout?: number;
    credentials: (authenticate: Authenticate, mechanisms: string[]) => Promise<void>;
  }

  export interface Client {
    readonly reconnect: { stop(): void };
    readonly saslFactory: { use(name: string, mechanism: new () => Mechanism): void };
    readonly iqCaller: { request(stanza: Element, timeout?: number): Promise<Element> };
    start(): Promise<{ toString(): string }>;
    stop(): Promise<unknown>;
    send(stanza: Element): Promise<void>;
    on(event: 'error', listener: (error: Error) => void): void;
    on(event: 'disconnect', listener: () => void): void;
    on(event: 'stanza', listener: (stanza: Element) => void): void;
  }

  export function client(options: Options): Client;
  export function xml(
    name: string,
    attrs?: Record<string, string>,
    ...children: (Element | string)[]
  ): Element;
}

declare module 'js-yaml' {
  export function load(text: string): unknown;
  export function dump(value: unknown, options?: { lineWidth?: number }): string;
}
