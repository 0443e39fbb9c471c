// What a provider states of itself: where its endpoints are, its issuer and its keys. The settings come first, the metadata
// says the rest.
import type { ProviderSettings } from '../config/provider-settings.ts';
import type { Published } from './directory.ts';
import { ProviderError } from './errors.ts';
import type { KeySet, KeySource } from './key-set.ts';
import type { EndpointName, Metadata } from './metadata.ts';

export interface Stated {
  /** As far as it is known. Never waits. */
  issuerNow(): string | undefined;
  /** Throws a ProviderError when it cannot be had. */
  metadata(signal: AbortSignal): Promise<Metadata>;
  /** The URL in use, or `undefined`. Throws a ProviderError when the metadata cannot be had or names a bad one. */
  find(name: EndpointName, signal: AbortSignal): Promise<string | undefined>;
  /** The URL in use; throws a ProviderError that names the option when there is none. */
  endpoint(name: EndpointName, signal: AbortSignal): Promise<string>;
  issuer(signal: AbortSignal): Promise<string | undefined>;
  /** `undefined` where the provider publishes no keys. */
  keys(signal: AbortSignal): Promise<KeySource | undefined>;
  /** As far as they are here. Never waits. */
  keysNow(): KeySet | undefined;
  keysOrThrow(signal: AbortSignal): Promise<KeySource>;
}

export function createStated(settings: ProviderSettings, published: Published): Stated {
  const issuerNow = (): string | undefined => settings.issuer ?? published.metadata?.now()?.issuer;

  async function metadata(signal: AbortSignal): Promise<Metadata> {
    if (published.metadata === undefined) throw new ProviderError('not_configured', 'set issuer');
    return published.metadata.get(signal);
  }

  async function find(name: EndpointName, signal: AbortSignal): Promise<string | undefined> {
    const own = settings[name];
    if (own !== undefined || published.metadata === undefined) return own;
    const method =
      name === 'introspection_endpoint' ? settings.introspection_auth_method : settings.client_auth_method;
    const mutualTls = method === 'tls' && name !== 'validation_endpoint' && name !== 'jwks_uri';
    return (await metadata(signal)).endpoint(name, { mutualTls });
  }

  async function endpoint(name: EndpointName, signal: AbortSignal): Promise<string> {
    const url = await find(name, signal);
    if (url === undefined) {
      throw new ProviderError(
        'not_configured',
        `the provider's metadata names no ${name.replace('_', ' ')}: set ${name}`,
      );
    }
    return url;
  }

  async function issuer(signal: AbortSignal): Promise<string | undefined> {
    return (
      settings.issuer ?? (published.metadata === undefined ? undefined : (await metadata(signal)).issuer)
    );
  }

  async function keys(signal: AbortSignal): Promise<KeySource | undefined> {
    const known = published.keys();
    if (known !== undefined || published.metadata === undefined) return known;
    await metadata(signal);
    return published.keys();
  }

  function keysNow(): KeySet | undefined {
    try {
      return published.keys()?.now();
    } catch {
      // An address that is not trusted: who has time to wait is told.
      return undefined;
    }
  }

  async function keysOrThrow(signal: AbortSignal): Promise<KeySource> {
    const source = await keys(signal);
    if (source === undefined) {
      throw new ProviderError(
        'not_configured',
        'nothing says where the keys of the provider are: set jwks_uri or jwks_file',
      );
    }
    return source;
  }

  return { issuerNow, metadata, find, endpoint, issuer, keys, keysNow, keysOrThrow };
}
