// Where the shared state is: reads the option `state`. No problem that is told repeats any of the text, because the text
// may hold a password, and one that is written wrongly may stand anywhere in it.
import { isLoopback } from '../oauth/loopback.ts';
import { Secret } from '../verdict.ts';

export interface MemoryAddress {
  readonly store: 'memory';
}

export interface LmdbAddress {
  readonly store: 'lmdb';
  readonly folder: string;
}

export interface RedisHost {
  /** A name or an address, IPv6 without brackets. */
  readonly host: string;
  readonly port: number;
}

export interface RedisAddress {
  readonly store: 'redis';
  readonly tls: boolean;
  /** One server; or Sentinels; or nodes of a cluster, of which any will do. */
  readonly hosts: readonly RedisHost[];
  /** Redis' own `default` when it is left out. */
  readonly user?: string;
  readonly password?: Secret;
  readonly passwordFile?: string;
  readonly db: number;
  /** The name of the master: the hosts are Sentinels. */
  readonly sentinel?: string;
  readonly sentinelPasswordFile?: string;
  /** The hosts are nodes of a cluster. */
  readonly cluster: boolean;
  readonly caFile?: string;
  /** What is kept there, and the password, travel in clear text, and not only on this machine. */
  readonly plain: boolean;
}

export type StateAddress = MemoryAddress | LmdbAddress | RedisAddress;

interface Problem {
  readonly problem: string;
}

const forms = 'write memory, lmdb:/absolute/folder, redis://host:port or rediss://host:port';
const parameters = 'sentinel, cluster, password_file, sentinel_password_file, ca_file';
/** As IANA has it for Redis, and as Sentinel has it by default. */
const redisPort = 6379;
const sentinelPort = 26_379;

export function parseStateAddress(text: string): StateAddress | Problem {
  if (text === 'memory') return { store: 'memory' };
  if (text.startsWith('lmdb:')) {
    const folder = text.slice('lmdb:'.length);
    return isPath(folder)
      ? { store: 'lmdb', folder }
      : { problem: 'the folder of an LMDB must be absolute: write lmdb:/absolute/folder' };
  }
  const [, scheme, rest] = /^(rediss?):\/\/(.*)$/s.exec(text) ?? [];
  if (scheme === undefined || rest === undefined) return { problem: forms };
  try {
    return redisAddress(rest, scheme === 'rediss');
  } catch (error) {
    if (error instanceof Unreadable) return { problem: error.message };
    throw error;
  }
}

/** Ends the reading; never leaves this module. */
class Unreadable extends Error {}

function redisAddress(rest: string, tls: boolean): RedisAddress {
  const [, authority = '', path = '', query = ''] = /^([^/?#]*)([^?#]*)\??([^#]*)/.exec(rest) ?? [];
  // Otherwise half of a password is taken for a host, a database or a parameter.
  const at = rest.indexOf('@');
  if (rest.includes('#') || rest.indexOf('@', at + 1) !== -1 || at >= authority.length)
    throw new Unreadable('in user, password and parameters write @ as %40, / as %2F, ? as %3F, # as %23');

  const options = readQuery(query);
  const { sentinel } = options;
  const cluster = readCluster(options.cluster);
  if (sentinel !== undefined && cluster)
    throw new Unreadable('write sentinel=NAME for Sentinels or cluster=true for a cluster, not both');
  if (sentinel === '') throw new Unreadable('write the name of the master: sentinel=NAME');
  if (options.sentinel_password_file !== undefined && sentinel === undefined)
    throw new Unreadable('sentinel_password_file is for Sentinels: write sentinel=NAME too');
  if (options.ca_file !== undefined && !tls) throw new Unreadable('ca_file is for TLS: write rediss://');

  const { user, password } = readUserInfo(at === -1 ? undefined : authority.slice(0, at));
  if (password !== undefined && options.password_file !== undefined)
    throw new Unreadable('write the password in the address or in password_file, not both');
  if (user !== undefined && password === undefined && options.password_file === undefined)
    throw new Unreadable(
      'a user needs a password: write redis://user:password@host, or password_file=/absolute/path',
    );

  const hosts = readHosts(authority.slice(at + 1), sentinel === undefined ? redisPort : sentinelPort);
  if (hosts.length > 1 && sentinel === undefined && !cluster)
    throw new Unreadable('for several hosts write what they are: sentinel=NAME or cluster=true');
  const db = readDatabase(path);
  if (cluster && db !== 0) throw new Unreadable('a cluster has one database: leave the number out');

  return {
    store: 'redis',
    tls,
    hosts,
    db,
    cluster,
    plain: !tls && hosts.some(({ host }) => !isLoopback(host.includes(':') ? `[${host}]` : host)),
    ...(user !== undefined && { user }),
    ...(password !== undefined && { password: new Secret(password) }),
    ...(sentinel !== undefined && { sentinel }),
    ...(options.password_file !== undefined && { passwordFile: options.password_file }),
    ...(options.sentinel_password_file !== undefined && {
      sentinelPasswordFile: options.sentinel_password_file,
    }),
    ...(options.ca_file !== undefined && { caFile: options.ca_file }),
  };
}

interface Query {
  sentinel?: string;
  cluster?: string;
  password_file?: string;
  sentinel_password_file?: string;
  ca_file?: string;
}

function readQuery(query: string): Query {
  const found: Query = {};
  for (const pair of query === '' ? [] : query.split('&')) {
    const [, name = '', value = ''] = /^([^=]*)=?(.*)$/s.exec(pair) ?? [];
    switch (name) {
      case 'password_file':
      case 'sentinel_password_file':
      case 'ca_file':
        if (!isPath(decode(value)))
          throw new Unreadable(`the path must be absolute: write ${name}=/absolute/path`);
        break;
      case 'sentinel':
      case 'cluster':
        break;
      case 'password':
      case 'sentinel_password':
        throw new Unreadable(`write ${name}_file=/absolute/path in the place of ${name}`);
      default:
        throw new Unreadable(`unknown parameter; there are ${parameters}`);
    }
    if (found[name] !== undefined) throw new Unreadable(`write ${name} once`);
    found[name] = decode(value);
  }
  return found;
}

function readCluster(value: string | undefined): boolean {
  if (value !== undefined && value !== 'true' && value !== 'false')
    throw new Unreadable('write cluster=true, or leave it out');
  return value === 'true';
}

function readUserInfo(text: string | undefined): { user?: string; password?: string } {
  if (text === undefined) return {};
  const colon = text.indexOf(':');
  const user = decode(colon === -1 ? text : text.slice(0, colon));
  const password = colon === -1 ? '' : decode(text.slice(colon + 1));
  return { ...(user !== '' && { user }), ...(password !== '' && { password }) };
}

function readHosts(text: string, defaultPort: number): RedisHost[] {
  return text.split(',').map((each) => {
    const [, inBrackets, name, digits] = /^(?:\[([\da-f:.]+)\]|([\w.-]+))(?::(\d+))?$/i.exec(each) ?? [];
    const host = inBrackets ?? name;
    const port = digits === undefined ? defaultPort : Number(digits);
    if (host === undefined || port < 1 || port > 65_535)
      throw new Unreadable('a host is host, host:port or [IPv6]:port, several have commas between them');
    if (inBrackets !== undefined && !URL.canParse(`http://[${inBrackets}]`))
      throw new Unreadable('what stands in brackets must be an IPv6 address');
    return { host, port };
  });
}

function readDatabase(path: string): number {
  const [, digits] = /^\/?(\d{0,5})$/.exec(path) ?? [];
  if (digits === undefined) throw new Unreadable('after the host comes nothing, or a database: /0, /1, ...');
  return Number(digits);
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new Unreadable('a % must begin a percent-encoded byte: write % itself as %25');
  }
}

function isPath(text: string): boolean {
  return text.startsWith('/') && !text.includes('\0');
}
