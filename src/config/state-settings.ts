// Where state is kept, made complete: the address read, and the files that it and `state_key_file` name.
import { parseStateAddress, type RedisAddress } from '../state/address.ts';
import { Secret } from '../verdict.ts';
import { attempt, type Reader } from './files.ts';
import type { Problem } from './problems.ts';
import type { ProcessOptions } from './schema.ts';

export type StateSettings =
  | { readonly store: 'memory' }
  | { readonly store: 'lmdb'; readonly folder: string }
  | {
      readonly store: 'redis';
      readonly address: RedisAddress;
      /** 32 bytes that all machines share. */
      readonly key: Buffer;
      readonly password: Secret | undefined;
      readonly sentinelPassword: Secret | undefined;
      readonly ca: string | undefined;
    };

export interface StateCompletion {
  readonly env: NodeJS.ProcessEnv;
  readonly reader: Reader;
  readonly problems: Problem[];
  readonly warnings: Problem[];
}

const MEMORY = { store: 'memory' } as const;

/** With problems, it is the memory that comes out. */
export function completeState(
  { state, state_key_file }: Pick<ProcessOptions, 'state' | 'state_key_file'>,
  { env, reader, problems, warnings }: StateCompletion,
): StateSettings {
  const fail = (path: string, message: string): undefined => void problems.push({ path, message });
  const address = parseStateAddress(state);
  if ('problem' in address) {
    fail('state', address.problem);
    return MEMORY;
  }
  if (address.store !== 'redis') {
    if (state_key_file !== undefined)
      fail(
        'state_key_file',
        'is for redis: the key of an LMDB stands beside it, that of the memory is random',
      );
    return address;
  }
  if (address.plain) {
    warnings.push({
      path: 'state',
      message:
        'the names of users and the password of Redis cross the network in clear text: rediss:// does not',
    });
  }
  const { passwordFile, sentinelPasswordFile, caFile } = address;
  const key = readKey();
  const password = secretLine(passwordFile);
  const sentinelPassword = secretLine(sentinelPasswordFile);
  const ca = caFile === undefined ? undefined : read(caFile)?.text;
  return key === undefined ? MEMORY : { store: 'redis', address, key, password, sentinelPassword, ca };

  function readKey(): Buffer | undefined {
    if (state_key_file === undefined) {
      return fail(
        'state_key_file',
        'is missing: all machines that share a Redis need the same key; make one with: openssl rand -base64 32',
      );
    }
    const text = secretText(state_key_file, 'state_key_file');
    if (text === undefined) return undefined;
    if (!/^[\x21-\x7e]{16,1024}$/.test(text)) {
      return fail(
        'state_key_file',
        `${state_key_file} must hold one line of at least 16 characters: make one with openssl rand -base64 32`,
      );
    }
    return process.getBuiltinModule('node:crypto').createHash('sha256').update(text).digest();
  }

  function secretLine(file: string | undefined): Secret | undefined {
    const text = file === undefined ? undefined : secretText(file, 'state');
    if (text === '') return fail('state', `${file} is empty: it must hold the password`);
    return text === undefined ? undefined : new Secret(text);
  }

  function secretText(file: string, path: string): string | undefined {
    const content = read(file, path);
    if (content === undefined) return undefined;
    // systemd shows a credential to its service by an ACL, as mode 0440.
    const isCredential =
      env.CREDENTIALS_DIRECTORY !== undefined && file.startsWith(`${env.CREDENTIALS_DIRECTORY}/`);
    if ((content.mode & (isCredential ? 0o007 : 0o077)) !== 0)
      return fail(path, `${file} can be read by group or others: chmod 600`);
    return content.text.replace(/\r?\n$/, '');
  }

  function read(file: string, path = 'state'): ReturnType<Reader['read']> | undefined {
    return attempt(
      () => reader.read(file),
      (message) => fail(path, `${file} ${message}`),
    );
  }
}
