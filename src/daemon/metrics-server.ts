// GET /metrics, over connections that somebody else has accepted.
import { createServer, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Metrics } from '../metrics.ts';
import type { Connection } from './connection.ts';

export interface MetricsServer {
  accept(socket: Socket, onClose: () => void): Connection;
  close(): void;
}

/** How long a client may take to say what it wants. */
const REQUEST_WITHIN = 10_000;

export function createMetricsServer(metrics: () => Metrics | undefined): MetricsServer {
  const server = createServer(
    { requestTimeout: REQUEST_WITHIN, headersTimeout: REQUEST_WITHIN },
    (request, response) => {
      const known = metrics();
      if (known === undefined || request.url !== '/metrics')
        return end(response, 404, 'text/plain', 'see /metrics\n');
      if (request.method !== 'GET') return end(response, 405, 'text/plain', 'only GET\n');
      known.text().then(
        (text) => end(response, 200, known.contentType, text),
        () => end(response, 500, 'text/plain', 'failed\n'),
      );
    },
  );

  return {
    accept(socket, onClose) {
      socket.on('close', onClose);
      server.emit('connection', socket);
      return {
        async end() {
          socket.destroy();
        },
        // HTTP has time limits of its own.
        expire: () => {},
      };
    },
    close: () => server.closeAllConnections(),
  };
}

function end(response: ServerResponse, status: number, type: string, body: string): void {
  response.writeHead(status, { 'content-type': type }).end(body);
}
