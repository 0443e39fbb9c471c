// What a library's error means: which reason the verdict carries, and what the operator can do.
import { ProviderError } from './errors.ts';

/** Codes only: messages of libraries may quote what they were given. */
export function translate(error: unknown, host: string): ProviderError {
  const { name, code: given } = error as NodeJS.ErrnoException;
  // undici's parser has codes for some of its errors only.
  const code = String(given ?? (name === 'HTTPParserError' ? 'HPE_INVALID' : 'no code')).slice(0, 60);
  switch (code) {
    case 'UND_ERR_CONNECT_TIMEOUT':
      return new ProviderError('provider_timeout', `no connection to ${host} in time (http.connect_timeout)`);
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return new ProviderError('provider_unreachable', `the name ${host} cannot be resolved (${code})`);
    case 'ECONNREFUSED':
      return new ProviderError(
        'provider_unreachable',
        `${host} refuses the connection: does the provider run there?`,
      );
    case 'ECONNRESET':
    case 'EPIPE':
    case 'UND_ERR_SOCKET':
      return new ProviderError(
        'provider_unreachable',
        `${host} closed the connection before it had answered`,
      );
    default:
  }
  if (/^(?:HPE_|UND_ERR_(?:HEADERS_OVERFLOW|RES_CONTENT_LENGTH_MISMATCH|RESPONSE))/.test(code)) {
    return new ProviderError('provider_error', `${host} did not answer in proper HTTP (${code})`);
  }
  if (code === 'ERR_SSL_WRONG_VERSION_NUMBER' || code === 'ERR_SSL_PACKET_LENGTH_TOO_LONG') {
    return new ProviderError(
      'provider_unreachable',
      `${host} does not speak TLS: https, and the right port?`,
    );
  }
  if (/CERT|SIGNATURE|SSL|TLS|EPROTO/.test(code)) {
    return new ProviderError(
      'provider_unreachable',
      `the TLS certificate of ${host} is not accepted (${code}): http.ca_file names your own authority`,
    );
  }
  return new ProviderError('provider_unreachable', `no answer from ${host} (${code})`);
}
