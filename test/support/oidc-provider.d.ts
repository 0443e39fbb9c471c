// The parts of oidc-provider that the test provider uses; the package has no types of its own.
declare module 'oidc-provider' {
  import type { IncomingMessage, ServerResponse } from 'node:http';

  /** What a model keeps in its adapter. */
  interface Payload {
    jti?: string;
    exp?: number;
    accountId?: string;
    grantId?: string;
    consumed?: number;
    [name: string]: unknown;
  }

  interface Adapter {
    upsert(id: string, payload: Payload, expiresIn: number): Promise<void>;
    find(id: string): Promise<Payload | undefined>;
    findByUid(uid: string): Promise<Payload | undefined>;
    findByUserCode(userCode: string): Promise<Payload | undefined>;
    consume(id: string): Promise<void>;
    destroy(id: string): Promise<void>;
    revokeByGrantId(grantId: string): Promise<void>;
  }

  interface Client {
    readonly clientId: string;
    grantTypeAllowed(type: string): boolean;
  }

  interface Context {
    body: unknown;
    readonly req: IncomingMessage;
    readonly oidc: { readonly client: Client; readonly params: Record<string, string | undefined> };
  }

  interface TokenInput {
    accountId: string;
    client: Client;
    grantId: string;
    gty: string;
    scope: string;
    /** An opaque token is its own id. */
    jti?: string;
    expiresIn?: number;
    resourceServer?: ResourceServer;
  }

  interface Token {
    readonly accountId?: string;
    readonly expiration: number;
    save(): Promise<string>;
  }

  interface Grant {
    addOIDCScope(scope: string): void;
    addResourceScope(resource: string, scope: string): void;
    save(): Promise<string>;
  }

  interface IdToken {
    scope: string;
    issue(options: { use: 'idtoken' }): Promise<string>;
  }

  interface ResourceServer {
    readonly audience: string;
  }

  export class Provider {
    constructor(issuer: string, configuration: object);
    readonly AccessToken: new (
      input: TokenInput,
    ) => Token;
    readonly RefreshToken: new (
      input: TokenInput,
    ) => Token;
    readonly Grant: new (input: {
      accountId: string;
      clientId: string;
    }) => Grant;
    readonly IdToken: new (
      claims: object,
      available: { ctx: Context },
    ) => IdToken;
    readonly ResourceServer: new (
      identifier: string,
      data: object,
    ) => ResourceServer;
    readonly Client: { find(id: string): Promise<Client | undefined> };
    callback(): (request: IncomingMessage, response: ServerResponse) => void;
    registerGrantType(
      name: string,
      handler: (context: Context) => Promise<void>,
      parameters: readonly string[],
    ): void;
    on(event: 'server_error', listener: (context: Context, error: Error) => void): this;
  }

  export const errors: {
    InvalidGrant: new (detail: string) => Error;
    InvalidRequest: new (description: string) => Error;
    CustomOIDCProviderError: new (error: string, description: string) => Error;
  };
}
