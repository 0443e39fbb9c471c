// What is known of one provider made complete: the secrets, keys and certificates that its options name files for.
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { canProveItself } from '../oauth/client-auth.ts';
import { type ClientKey, readClientKey } from '../oauth/client-key.ts';
import { parseKeySet } from '../oauth/jwks.ts';
import type { KeySet } from '../oauth/key-set.ts';
import { Secret } from '../verdict.ts';
import type { Reader } from './files.ts';
import type { ProviderDraft } from './parse.ts';
import type { Problem } from './problems.ts';
import { allowsPasswords } from './rules.ts';
import type { HostOptions } from './schema.ts';
import { createSecrets } from './secrets.ts';

/** What a file or a variable is read for is not kept beside what was read. */
type Read =
  | 'client_secret'
  | 'client_secret_file'
  | 'client_key_file'
  | 'client_key_id'
  | 'jwks_file'
  | 'user_lookup';

/** Everything about one provider, ready to use. */
export interface ProviderSettings
  extends Omit<HostOptions, Read | 'introspection_auth_method' | 'providers'> {
  readonly introspection_auth_method: HostOptions['client_auth_method'];
  readonly clientSecret: Secret | undefined;
  /** The secret is that of the process, not one named for this host. */
  readonly sharedSecret: boolean;
  /** For `private_key_jwt`. */
  readonly clientKey: ClientKey | undefined;
  /** Whether passwords are exchanged at the token endpoint at all. */
  readonly passwords: boolean;
  /** The content of `jwks_file`. */
  readonly keys: KeySet | undefined;
  /** The text of `http.ca_file`. */
  readonly authorities: string | undefined;
  /** The texts of `http.cert_file` and `http.key_file`. */
  readonly certificate: { readonly chain: string; readonly key: Secret } | undefined;
}

/** systemd shows a credential to its service by an ACL, as mode 0440. */
const CREDENTIAL = 0o007;

export interface Completion {
  readonly env: NodeJS.ProcessEnv;
  readonly reader: Reader;
  readonly problems: Problem[];
  readonly warnings: Problem[];
}

export function completeProvider(
  { options, at }: ProviderDraft,
  pattern: string,
  { env, reader, problems, warnings }: Completion,
): ProviderSettings {
  const {
    client_secret,
    client_secret_file,
    client_key_file,
    client_key_id,
    jwks_file,
    introspection_auth_method = options.client_auth_method,
    providers: _providers,
    user_lookup: _lookup,
    ...rest
  } = options;
  const methods = [options.client_auth_method, introspection_auth_method];
  const needsSecret = (method: string): boolean => method.startsWith('basic');
  const secrets = createSecrets(reader, problems);
  let sharedSecret = false;
  const clientSecret = readSecret();
  const clientKey = readKey();
  const passwords = allowsPasswords(options);

  const fail = (key: string, message: string): undefined => void problems.push({ path: at(key), message });
  const asks = passwords || options.validation.endsWith('introspection');
  if (clientSecret === undefined && options.client_id !== undefined && asks && methods.some(needsSecret)) {
    fail(
      'client_secret_file',
      `is missing: client_auth_method ${methods.find(needsSecret)} needs a secret (client_secret_file, EXTAUTH_OAUTH_CLIENT_SECRET or a systemd credential)`,
    );
  } else if (
    options.validation.endsWith('introspection') &&
    introspection_auth_method !== 'none' &&
    !canProveItself(introspection_auth_method, { client_id: options.client_id, clientSecret, clientKey })
  ) {
    fail(
      'validation',
      `is ${options.validation}, which needs client_id and a secret or key: nobody introspects a token for strangers (introspection_auth_method)`,
    );
  }
  // The two ways of encoding HTTP Basic (RFC 6749 section 2.3.1, or none) agree for these characters only.
  if (
    methods.some(needsSecret) &&
    !/^[\w.~-]*$/.test(`${options.client_id}${clientSecret?.reveal() ?? ''}`)
  ) {
    warnings.push({
      path: at('client_auth_method'),
      message:
        'client id or secret has characters that servers decode differently: if the provider refuses the client, try basic_raw or post',
    });
  }
  return {
    ...rest,
    introspection_auth_method,
    clientSecret,
    sharedSecret,
    clientKey,
    passwords,
    keys: readKeySet(),
    authorities: readAuthorities(),
    certificate: readCertificate(),
  };

  function readSecret(): Secret | undefined {
    if (client_secret !== undefined) return new Secret(client_secret);
    const unused = methods.every((method) => ['none', 'private_key_jwt', 'tls'].includes(method));
    if (options.client_id === undefined || unused) return undefined;
    if (client_secret_file !== undefined) return secrets.line(client_secret_file, at('client_secret_file'));
    const folder = env.CREDENTIALS_DIRECTORY;
    const credentials = folder?.startsWith('/')
      ? [`client_secret.${pattern}`, 'client_secret'].map((name) => join(folder, name)).filter(isThere)
      : [];
    const own = credentials.find((file) => pattern !== '' && file.endsWith(`.${pattern}`));
    if (own !== undefined) return secrets.line(own, at('client_secret'), CREDENTIAL);
    const shared = credentials.at(-1);
    sharedSecret = Boolean(env.EXTAUTH_OAUTH_CLIENT_SECRET) || shared !== undefined;
    if (env.EXTAUTH_OAUTH_CLIENT_SECRET) return new Secret(env.EXTAUTH_OAUTH_CLIENT_SECRET);
    return shared === undefined ? undefined : secrets.line(shared, at('client_secret'), CREDENTIAL);
  }

  function readKey(): ClientKey | undefined {
    if (client_key_file === undefined) return undefined;
    const text = secrets.text(client_key_file, at('client_key_file'));
    if (text === undefined) return undefined;
    try {
      return readClientKey(text, client_key_id);
    } catch (error) {
      problems.push({
        path: at('client_key_file'),
        message: `${client_key_file} ${error instanceof Error ? error.message : 'cannot be used'}`,
      });
      return undefined;
    }
  }

  function readKeySet(): KeySet | undefined {
    if (jwks_file === undefined) return undefined;
    const text = secrets.read(jwks_file, at('jwks_file'))?.text;
    if (text === undefined) return undefined;
    const set = parseKeySet(text);
    return set !== undefined && set.keys.length > 0
      ? set
      : fail('jwks_file', `${jwks_file} holds no JWK Set: {"keys": [...]}, with 1 to 100 of them`);
  }

  function readAuthorities(): string | undefined {
    const { ca_file } = options.http;
    return ca_file === undefined
      ? undefined
      : pem(ca_file, 'http.ca_file', secrets.read(ca_file, at('http.ca_file'))?.text);
  }

  function pem(file: string, key: string, text: string | undefined): string | undefined {
    if (text === undefined || text.includes('-----BEGIN CERTIFICATE-----')) return text;
    return fail(key, `${file} holds no PEM certificate`);
  }

  function readCertificate(): ProviderSettings['certificate'] {
    const { cert_file, key_file } = options.http;
    if (cert_file === undefined || key_file === undefined) return undefined;
    const chain = pem(cert_file, 'http.cert_file', secrets.read(cert_file, at('http.cert_file'))?.text);
    const key = secrets.text(key_file, at('http.key_file'));
    if (chain === undefined || key === undefined) return undefined;
    const { createPrivateKey, X509Certificate } = process.getBuiltinModule('node:crypto');
    try {
      // Both must be what they should be, and belong together; else every connection would fail, one by one.
      if (new X509Certificate(chain).checkPrivateKey(createPrivateKey(key)))
        return { chain, key: new Secret(key) };
    } catch {
      // Said below.
    }
    return fail(
      'http.key_file',
      `${key_file} is not the private key (PEM, without a passphrase) of ${cert_file}`,
    );
  }
}

/** Or might be: one that cannot be looked at is a mistake to be told of, and not a client without a secret. */
function isThere(file: string): boolean {
  try {
    statSync(file);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ENOENT';
  }
}
