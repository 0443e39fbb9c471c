// What a virtual host has from the top of the file, and a provider from beside the list that it is in. Pure.

export type Raw = Record<string, unknown>;

export function isRecord(value: unknown): value is Raw {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date);
}

/** What is said of passwords, as it is for a provider that gets none. */
export const FOR_PASSWORDS: Raw = {
  resource_owner_password: false,
  password_otp_digits: 0,
  credential: 'auto',
};

/** What is said of one provider and must not be used for another. */
const OF_THE_PROVIDER = [
  'issuer',
  'discovery_url',
  'validation_endpoint',
  'token_endpoint',
  'introspection_endpoint',
  'revocation_endpoint',
  'jwks_uri',
  // Whoever holds the keys says who everybody is.
  'jwks_file',
  'trusted_endpoint_hosts',
];
/** What our client shows to one provider is nobody else's to see. */
const CERTIFICATE = ['cert_file', 'key_file'];
const SECRETS = ['client_secret', 'client_secret_file', 'client_key_file', 'client_key_id'];

/**
 * Host options replace the defaults key by key; `http` does so inside, too. But a host that names a provider of its own
 * inherits no endpoint of the other one, and one that names a provider or a client of its own inherits no secret: it
 * would be sent to strangers.
 */
export function inherit(defaults: Raw, override: Raw): Raw {
  const inherited: Raw = { ...defaults };
  const says = (...names: string[]): boolean => names.some((name) => override[name] !== undefined);
  if (says('issuer', 'discovery_url', 'providers'))
    for (const name of OF_THE_PROVIDER) delete inherited[name];
  // Its users are others, and a token of our client's there is nothing for that directory.
  if (says(...OF_THE_PROVIDER, 'providers')) delete inherited.user_lookup;
  if (says('issuer', 'discovery_url')) delete inherited.providers;
  if (says(...OF_THE_PROVIDER, 'providers', 'client_id', ...SECRETS))
    for (const name of SECRETS) delete inherited[name];
  const http = isRecord(inherited.http) ? { ...inherited.http } : inherited.http;
  if (says('issuer', 'discovery_url') && isRecord(http)) for (const name of CERTIFICATE) delete http[name];
  const merged: Raw = { ...inherited, ...(http === undefined ? {} : { http }), ...override };
  if (isRecord(http) && isRecord(override.http)) merged.http = { ...http, ...override.http };
  return merged;
}

/** The options that stand beside a list of providers, and would be used for none of them. */
export function unusedBeside(level: Raw): string[] {
  if (level.providers === undefined) return [];
  return [...OF_THE_PROVIDER, ...SECRETS].filter((name) => level[name] !== undefined);
}
