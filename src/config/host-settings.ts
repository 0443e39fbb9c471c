// One virtual host's settings made complete: its client secret, its certificate authorities.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Secret } from '../verdict.ts';
import { attempt, type Reader } from './files.ts';
import type { Draft } from './parse.ts';
import { type Problem, pathOf } from './problems.ts';
import { allowsPasswords } from './rules.ts';
import type { HostOptions } from './schema.ts';

/** Everything about one virtual host, ready to use. */
export interface HostSettings extends Omit<HostOptions, 'client_secret' | 'client_secret_file'> {
  /** The virtual host, `*.` and a domain, or `''` for all. */
  readonly pattern: string;
  readonly clientSecret: Secret | undefined;
  /** The secret is that of the process, not one named for this host. */
  readonly sharedSecret: boolean;
  /** Whether passwords are exchanged at the token endpoint at all. */
  readonly passwords: boolean;
  /** The text of `http.ca_file`. */
  readonly authorities: string | undefined;
}

interface Completion {
  readonly env: NodeJS.ProcessEnv;
  readonly reader: Reader;
  readonly problems: Problem[];
  readonly warnings: Problem[];
}

export function complete(
  { pattern, options }: Draft,
  { env, reader, problems, warnings }: Completion,
): HostSettings {
  const { client_secret, client_secret_file, ...rest } = options;
  const at = (key: string): string => (pattern === '' ? key : pathOf('hosts', pattern, key));
  let sharedSecret = false;
  const clientSecret = readSecret();
  const passwords = allowsPasswords(options);
  if (
    clientSecret === undefined &&
    options.client_id !== undefined &&
    options.client_auth_method.startsWith('basic') &&
    passwords
  ) {
    problems.push({
      path: at('client_secret_file'),
      message: `is missing: client_auth_method ${options.client_auth_method} needs a secret (client_secret_file, EXTAUTH_OAUTH_CLIENT_SECRET or a systemd credential)`,
    });
  }
  // The two ways of encoding HTTP Basic (RFC 6749 section 2.3.1, or none) agree for these characters only.
  if (
    options.client_auth_method.startsWith('basic') &&
    !/^[\w.~-]*$/.test(`${options.client_id}${clientSecret?.reveal() ?? ''}`)
  ) {
    warnings.push({
      path: at('client_auth_method'),
      message:
        'client id or secret has characters that servers decode differently: if the provider refuses the client, try basic_raw or post',
    });
  }
  return { ...rest, pattern, clientSecret, sharedSecret, passwords, authorities: readAuthorities() };

  function readSecret(): Secret | undefined {
    if (client_secret !== undefined) return new Secret(client_secret);
    if (options.client_id === undefined || options.client_auth_method === 'none') return undefined;
    if (client_secret_file !== undefined) return secretFile(client_secret_file, at('client_secret_file'));
    const folder = env.CREDENTIALS_DIRECTORY;
    const credentials = folder?.startsWith('/')
      ? [`client_secret.${pattern}`, 'client_secret']
          .map((name) => join(folder, name))
          .filter((file) => existsSync(file))
      : [];
    const own = credentials.find((file) => pattern !== '' && file.endsWith(`.${pattern}`));
    if (own !== undefined) return secretFile(own, at('client_secret'), 0o007);
    const shared = credentials.at(-1);
    sharedSecret = Boolean(env.EXTAUTH_OAUTH_CLIENT_SECRET) || shared !== undefined;
    if (env.EXTAUTH_OAUTH_CLIENT_SECRET) return new Secret(env.EXTAUTH_OAUTH_CLIENT_SECRET);
    return shared === undefined ? undefined : secretFile(shared, at('client_secret'), 0o007);
  }

  /** `forbidden`: who must not read it. systemd shows a credential to its service by an ACL, as mode 0440. */
  function secretFile(file: string, path: string, forbidden = 0o077): Secret | undefined {
    const fail = (message: string): undefined => void problems.push({ path, message: `${file} ${message}` });
    const content = attempt(() => reader.read(file), fail);
    if (content === undefined) return undefined;
    if ((content.mode & forbidden) !== 0) return fail('can be read by group or others: chmod 600');
    const secret = content.text.replace(/\r?\n$/, '');
    return secret === '' || /[\r\n\0]/.test(secret)
      ? fail('must hold one line: the secret')
      : new Secret(secret);
  }

  function readAuthorities(): string | undefined {
    const file = options.http.ca_file;
    if (file === undefined) return undefined;
    const fail = (message: string): undefined =>
      void problems.push({ path: at('http.ca_file'), message: `${file} ${message}` });
    const text = attempt(() => reader.read(file), fail)?.text;
    if (text === undefined || text.includes('-----BEGIN CERTIFICATE-----')) return text;
    return fail('holds no PEM certificate');
  }
}
