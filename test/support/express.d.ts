// What the tests, and the types of scimmy-routers, use of a package that comes without types.

declare module 'express' {
  import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';

  export type Handler = (
    request: express.Request,
    response: ServerResponse,
    next: (error?: unknown) => void,
  ) => void;

  export type Router = (
    request: express.Request,
    response: ServerResponse,
    next: (error?: unknown) => void,
  ) => void;

  interface Application extends RequestListener {
    use(handler: Handler): this;
    use(path: string, handler: Handler): this;
  }

  function express(): Application;
  namespace express {
    interface Request extends IncomingMessage {
      header(name: string): string | undefined;
    }
  }
  export default express;
}
