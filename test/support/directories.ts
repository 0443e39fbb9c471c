// Directories that lookups ask: a real SCIM 2.0 server (scimmy and its router), and WebFinger as RFC 7033 has it.
import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import express from 'express';
import SCIMMYRouters, { SCIMMY } from 'scimmy-routers';

export interface DirectoryUser {
  readonly name: string;
  readonly disabled?: true;
}

export interface DirectoryRequest {
  readonly method: string;
  /** As it was sent. */
  readonly url: string;
  readonly authorization: string | undefined;
}

export interface TestDirectory {
  readonly origin: string;
  /** Every request, in order. */
  readonly seen: DirectoryRequest[];
  /** Ends at once, whoever is connected. */
  stop(): Promise<void>;
}

/** SCIM 2.0 at `/scim/v2`, for whoever sends one of these Authorization headers. The library keeps one set of users a process. */
export async function startScim(
  users: readonly DirectoryUser[],
  mayAsk: (authorization: string) => boolean,
): Promise<TestDirectory> {
  const resources = users.map(({ name, disabled }, index) => ({
    id: String(index + 1),
    userName: name,
    active: disabled !== true,
  }));
  SCIMMY.Resources.declare(SCIMMY.Resources.User).egress((resource) => {
    if (resource.id !== undefined) return resources.filter(({ id }) => id === resource.id);
    return resource.filter === undefined ? resources : resource.filter.match(resources);
  });
  const router = new SCIMMYRouters({
    type: 'bearer',
    handler(request) {
      if (!mayAsk(request.header('authorization') ?? '')) throw new Error('who is asking?');
      return 'extauth-oauth';
    },
  });
  return listen(express().use('/scim/v2', router));
}

/** WebFinger (RFC 7033) at `/.well-known/webfinger` for accounts at a domain, whose names it finds whatever their case, as Mastodon does. */
export function startWebfinger(domain: string, users: readonly DirectoryUser[]): Promise<TestDirectory> {
  return listen((request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? '', 'http://webfinger');
    const resource = searchParams.get('resource');
    const answer = (status: number, body?: unknown): void => {
      response.writeHead(status, {
        'access-control-allow-origin': '*',
        ...(body === undefined ? {} : { 'content-type': 'application/jrd+json' }),
      });
      response.end(body === undefined ? undefined : JSON.stringify(body));
    };
    if (pathname !== '/.well-known/webfinger' || request.method !== 'GET') return answer(404);
    // Section 4.2: without a resource, or with one that is malformed.
    if (resource === null || !/^[a-z]+:/i.test(resource)) return answer(400);
    const found = users.find(({ name }) => accountOf(resource) === `${name}@${domain}`.toLowerCase());
    if (found === undefined) return answer(404);
    answer(200, {
      subject: `acct:${encodeURIComponent(found.name)}@${domain}`,
      aliases: [`https://${domain}/@${encodeURIComponent(found.name)}`],
      links: [{ rel: 'self', type: 'application/activity+json', href: `https://${domain}/users/1` }],
    });
  });
}

/** `undefined` for what is no account (RFC 7565). */
function accountOf(resource: string): string | undefined {
  const [, account] = /^acct:([^?#]+)$/i.exec(resource) ?? [];
  return account === undefined ? undefined : decodeURIComponent(account).toLowerCase();
}

async function listen(handler: RequestListener): Promise<TestDirectory> {
  const seen: DirectoryRequest[] = [];
  const server = createServer((request, response) => {
    const { method = '', url = '', headers } = request;
    seen.push({ method, url, authorization: headers.authorization });
    handler(request, response);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    origin: `http://127.0.0.1:${port}`,
    seen,
    async stop() {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}
