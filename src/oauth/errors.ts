// A failure on the provider's side, for the log. A refusal is not one: it is a value.
import type { Method, UnavailableReason } from '../verdict.ts';

/**
 * The provider could not be asked, or its answer makes no sense. The message names the endpoint's host and what
 * happened in our own words: an answer's body, a header or a library's message may quote a secret and never gets in.
 */
export class ProviderError extends Error {
  override readonly name = 'ProviderError';
  readonly reason: UnavailableReason;
  /** What was being tried, where it matters. */
  readonly method: Method | undefined;

  constructor(
    reason: UnavailableReason,
    message: string,
    { method, ...options }: ErrorOptions & { readonly method?: Method } = {},
  ) {
    super(message, options);
    this.reason = reason;
    this.method = method;
  }
}
