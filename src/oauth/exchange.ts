// One request and its answer, within bounds of time and size.
import type { Dispatcher } from 'undici';
import { ProviderError } from './errors.ts';
import type { HttpResponse } from './http.ts';
import { translate } from './http-errors.ts';

export interface Bounds {
  /** With the port. */
  readonly host: string;
  readonly hostname: string;
  readonly timeout: number;
  readonly limit: number;
}

/** One request on undici's lowest level: half the work of its `request`, and the body is counted while it comes. */
export function exchange(
  dispatcher: Dispatcher,
  options: Dispatcher.DispatchOptions,
  { host, hostname, timeout, limit }: Bounds,
  signal: AbortSignal | undefined,
): Promise<HttpResponse> {
  return new Promise((resolve, reject) => {
    let controller: Dispatcher.DispatchController | undefined;
    let settled = false;
    let status = 0;
    let headers: HttpResponse['headers'] = {};
    let size = 0;
    const chunks: Buffer[] = [];

    const timer = setTimeout(
      () =>
        fail(
          new ProviderError('provider_timeout', `${host} did not answer within ${timeout} ms (http.timeout)`),
        ),
      timeout,
    );
    const onAbort = (): void => fail(signal?.reason);
    if (signal?.aborted) return onAbort();
    signal?.addEventListener('abort', onAbort);

    function settle(): void {
      settled = true;
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
    }
    function fail(error: unknown): void {
      settle();
      reject(error);
      controller?.abort(error instanceof Error ? error : new Error('aborted'));
    }

    dispatcher.dispatch(options, {
      onRequestStart(started) {
        controller = started;
        // Given up while it waited for a connection: it must not go out any more.
        if (settled) started.abort(new Error('aborted'));
      },
      onResponseStart(_, statusCode, received) {
        status = statusCode;
        headers = received;
      },
      onResponseData(_, chunk) {
        size += chunk.length;
        if (size > limit) {
          fail(
            new ProviderError(
              'provider_error',
              `${host} answered more than ${limit} bytes (at most http.max_response_bytes)`,
            ),
          );
        } else {
          chunks.push(chunk);
        }
      },
      onResponseEnd() {
        settle();
        resolve({ status, hostname, headers, text: Buffer.concat(chunks).toString('utf8') });
      },
      onResponseError(_, error) {
        settle();
        reject(error instanceof ProviderError ? error : translate(error, host));
      },
    });
  });
}
