// GET /metrics, over connections that somebody else has accepted.
import { createServer, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Metrics } from '../metrics.ts';
import type { Connection } from './connection.ts';

export interface MetricsServer {
  accept(socket: Socket, onClose: () => void): Connection;
  close(): void;
}

/** How long a client may take to say what it wants, and to read the answer. (Node keeps its own limits only when it listens.) */
const DONE_WITHIN = 10_000;

/** `now`: milliseconds of a monotonic clock. */
export function createMetricsServer(metrics: () => Metrics | undefined, now: () => number): MetricsServer {
  const server = createServer((request, response) => {
    const known = metrics();
    if (known === undefined || request.url !== '/metrics')
      return end(response, 404, 'text/plain', 'see /metrics\n');
    if (request.method !== 'GET') return end(response, 405, 'text/plain', 'only GET\n');
    known.text().then(
      (text) => end(response, 200, known.contentType, text),
      () => end(response, 500, 'text/plain', 'failed\n'),
    );
  });

  return {
    accept(socket, onClose) {
      const openedAt = now();
      socket.on('close', onClose);
      server.emit('connection', socket);
      return {
        async end() {
          socket.destroy();
        },
        expire(at) {
          if (at - openedAt > DONE_WITHIN) socket.destroy();
        },
      };
    },
    close: () => server.closeAllConnections(),
  };
}

function end(response: ServerResponse, status: number, type: string, body: string): void {
  // One request a connection: there is none that waits for the next.
  response.writeHead(status, { 'content-type': type, connection: 'close' }).end(body);
}
