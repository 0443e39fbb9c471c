// Where `serve` listens, and who may connect: sockets of this machine only, since what comes over them is passwords.
import { isIPv6 } from 'node:net';
import * as v from 'valibot';
import { MECHANISMS } from '../dovecot/sasl.ts';
import { isLoopback } from '../oauth/loopback.ts';
import { type Problem, pathOf } from './problems.ts';
import { absolutePath, count, text, word } from './values.ts';

/** What a socket address of the kernel holds (sockaddr_un), less the NUL at its end. */
const MAX_SOCKET_PATH = 107;

/** Permissions in octal digits. YAML reads 0660 as the number 660; its 0o660 would be 432, which nobody means. */
const mode = v.pipe(
  v.union([v.string(), v.number()], 'must be permissions such as "0660"'),
  v.transform(String),
  v.regex(/^0?[67][0-7][0-7]$/, 'must be permissions such as "0660", with read and write for the owner'),
  v.transform((digits) => Number.parseInt(digits, 8)),
);

const account = v.union([v.pipe(v.number(), v.integer(), v.minValue(0)), text], 'must be a name or a number');
const accounts = v.pipe(
  v.union([account, v.pipe(v.array(account), v.minLength(1))], 'must be names or numbers, one or a list'),
  v.transform((value): readonly (string | number)[] => (Array.isArray(value) ? value : [value])),
);

/** `127.0.0.1:1234` or `[::1]:1234`. */
const address = v.pipe(
  text,
  v.rawTransform(({ dataset, addIssue, NEVER }) => {
    const [, host = '', port = ''] = /^(.+):(\d{1,5})$/.exec(dataset.value) ?? [];
    const bare = host.replace(/^\[(.*)\]$/, '$1');
    if (host === '' || Number(port) > 65_535) {
      addIssue({ message: 'must be an address and a port, such as 127.0.0.1:1234' });
      return NEVER;
    }
    if (!isLoopback(host) || (isIPv6(bare) && bare === host)) {
      addIssue({
        message: 'must be of the loopback interface (127.0.0.1, [::1]): what comes over it is passwords',
      });
      return NEVER;
    }
    return { host: bare, port: Number(port) };
  }),
);

export const socketOptions = {
  /** Where: a Unix socket. */
  path: v.optional(v.pipe(absolutePath, v.maxBytes(MAX_SOCKET_PATH, 'must not be longer than 107 bytes'))),
  /** Where: a port of the loopback interface (`127.0.0.1:1234`). */
  address: v.optional(address),
  /**
   * Where: a socket that systemd has opened, by its `FileDescriptorName=`. With a path, too, systemd's where there is
   * one.
   */
  name: v.optional(text),
  /** Permissions of a Unix socket: who may write to it may log users in. */
  mode: v.optional(mode, '0660'),
  /** The group of a Unix socket. @default our own */
  group: v.optional(account),
  /** Users, names or numbers, of the processes that may connect (Linux). @default whoever the permissions let in */
  allow_uids: v.optional(accounts),
  /** Groups, names or numbers, of the processes that may connect (Linux). @default whoever the permissions let in */
  allow_gids: v.optional(accounts),
  /** More are turned away. */
  max_connections: v.optional(count(1, 100_000), 2048),
} as const;

export const listenOptions = {
  /** `extauth` (frames or lines) or `dovecot`. */
  protocol: word('extauth', 'dovecot'),
  /**
   * For `dovecot`: the virtual host that users of this socket log in to; without it, the service that the client names
   * must be one.
   */
  host: v.optional(
    v.pipe(
      text,
      v.transform((name) => name.toLowerCase()),
    ),
  ),
  /** For `dovecot`: which of them are offered. @default all that `credential` allows */
  mechanisms: v.optional(
    v.pipe(v.array(v.picklist(MECHANISMS, `must be of ${MECHANISMS.join(', ')}`)), v.minLength(1)),
  ),
  ...socketOptions,
} as const;

const oneAddress = 'needs path, address or name: where to listen';

export const listenSchema = v.pipe(
  v.array(v.strictObject(listenOptions), 'must be a list of sockets'),
  v.minLength(1, 'must not be empty'),
);
export const metricsSchema = v.strictObject(socketOptions);

export type ListenOptions = v.InferOutput<typeof listenSchema>[number];
export type SocketOptions = v.InferOutput<typeof metricsSchema>;

/** What does not go together. `isHost`: whether the configuration knows a virtual host of that name. */
export function listenContradictions(
  {
    listen = [],
    metrics,
  }: { listen?: readonly ListenOptions[] | undefined; metrics?: SocketOptions | undefined },
  isHost: (name: string) => boolean,
  { problems, warnings }: { problems: Problem[]; warnings: Problem[] },
): void {
  const taken = new Set<string>();
  const sockets = [
    ...listen.map((options, index) => ({ options, at: pathOf('listen', index) })),
    ...(metrics === undefined ? [] : [{ options: metrics, at: 'metrics' }]),
  ];
  for (const { options, at } of sockets) {
    const say = (key: string, message: string): void => void problems.push({ path: `${at}.${key}`, message });
    const { path, address, name } = options;
    const restricted = options.allow_uids ?? options.allow_gids;
    if (path === undefined && address === undefined && name === undefined)
      problems.push({ path: at, message: oneAddress });
    if (path !== undefined && address !== undefined)
      say('address', 'is given, and path too: keep one of the two');
    if (address !== undefined && restricted !== undefined)
      say(
        options.allow_uids === undefined ? 'allow_gids' : 'allow_uids',
        'needs path: TCP does not say who connects',
      );
    if (address !== undefined && options.group !== undefined)
      say('group', 'needs path: a port belongs to nobody');
    const keys = [path, address && `${address.host}:${address.port}`, name && `name ${name}`];
    for (const key of keys.filter((each) => each !== undefined)) {
      if (taken.has(key)) problems.push({ path: at, message: 'listens where another one does' });
      taken.add(key);
    }
    if (path !== undefined && (options.mode & 0o002) !== 0 && restricted === undefined)
      warnings.push({ path: `${at}.mode`, message: 'lets everybody on this machine try passwords here' });
  }
  for (const [index, { protocol, host, mechanisms, address }] of listen.entries()) {
    const say = (key: string, message: string): void =>
      void problems.push({ path: pathOf('listen', index, key), message });
    if (address !== undefined)
      warnings.push({
        path: pathOf('listen', index, 'address'),
        message: 'lets everybody on this machine try passwords here: path has permissions',
      });
    if (protocol === 'extauth' && host !== undefined)
      say('host', 'is for protocol: dovecot; a request of extauth says its host itself');
    if (protocol === 'extauth' && mechanisms !== undefined) say('mechanisms', 'is for protocol: dovecot');
    if (host?.includes('*')) say('host', 'must be one virtual host, since users log in to one');
    else if (protocol === 'dovecot' && host !== undefined && !isHost(host))
      say('host', 'is not listed under hosts, so nobody could log in');
  }
}
