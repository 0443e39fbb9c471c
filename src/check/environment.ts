// The environment that a server hands on to us: what in it changes Node or the way to the provider, and nobody remembers.
import type { Account } from './access.ts';
import { type Finding, warning } from './finding.ts';
import type { Root } from './root.ts';
import type { Unit } from './unit.ts';

export interface Environment {
  /** By name. */
  readonly variables: ReadonlyMap<string, string>;
  /** What says so: the server's process, or its unit. */
  readonly from: string;
}

/** systemd's own for services. */
const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

export interface EnvironmentOptions {
  readonly root: Root;
  readonly unit: Unit | undefined;
  readonly account: Account | undefined;
  /** Names of the server's process (`comm`). */
  readonly commands: readonly string[];
  /** Files of a shell that the server is started by: what they export is handed on. */
  readonly sourced?: readonly string[];
}

/** That of the running server where there is one; else what systemd would give it. */
export function serverEnvironment({
  root,
  unit,
  account,
  commands,
  sourced = [],
}: EnvironmentOptions): Environment {
  const running = runningEnvironment(root, account, commands);
  if (running !== undefined) return running;
  const variables = new Map<string, string>([['PATH', PATH]]);
  if (account !== undefined) {
    variables.set('HOME', account.home);
    variables.set('USER', account.name);
    variables.set('LOGNAME', account.name);
  }
  const assignments = [
    ...(unit?.values('Environment') ?? []).flatMap(assignmentsIn),
    ...(unit?.values('EnvironmentFile') ?? []).flatMap((file) =>
      (root.read(file.replace(/^-/, '')) ?? '')
        .split('\n')
        .filter((line) => !/^\s*[#;]/.test(line))
        .flatMap(assignmentsIn),
    ),
  ];
  const exported = sourced.flatMap((file) =>
    [...(root.read(file) ?? '').matchAll(/^\s*export\s+(.*)$/gm)].flatMap(([, text = '']) =>
      assignmentsIn(text),
    ),
  );
  for (const [name, value] of [...assignments, ...exported]) variables.set(name, value);
  for (const name of (unit?.values('UnsetEnvironment') ?? []).flatMap((value) => value.split(/\s+/)))
    variables.delete(name.replace(/=.*/, ''));
  return { variables, from: unit?.name ?? 'systemd' };
}

function runningEnvironment(
  root: Root,
  account: Account | undefined,
  commands: readonly string[],
): Environment | undefined {
  if (account === undefined) return undefined;
  for (const pid of root.list('/proc').filter((name) => /^\d+$/.test(name))) {
    const name = root.read(`/proc/${pid}/comm`)?.trim();
    if (name === undefined || !commands.includes(name)) continue;
    const uid = /^Uid:\s+(\d+)/m.exec(root.read(`/proc/${pid}/status`) ?? '')?.[1];
    const text = Number(uid) === account.uid ? root.read(`/proc/${pid}/environ`) : undefined;
    if (text === undefined || text === '') continue;
    const pairs = text.split('\0').flatMap((each): [string, string][] => {
      const equals = each.indexOf('=');
      return equals > 0 ? [[each.slice(0, equals), each.slice(equals + 1)]] : [];
    });
    return { variables: new Map(pairs), from: `process ${pid} (${name})` };
  }
  return undefined;
}

/** Quotes may stand around the whole, or around the value. */
const ASSIGNMENT =
  /(?<=^|\s)(?:"(\w+)=([^"]*)"|'(\w+)=([^']*)'|(\w+)="([^"]*)"|(\w+)='([^']*)'|(\w+)=([^\s"']*))(?=\s|$)/g;

function assignmentsIn(text: string): [name: string, value: string][] {
  return [...text.matchAll(ASSIGNMENT)].map(([, ...parts]) => {
    const [name = '', value = ''] = parts.filter((part) => part !== undefined);
    return [name, value];
  });
}

export interface JudgeOptions {
  /** The server. */
  readonly whose: string;
  /** `http.proxy` is set. */
  readonly hasProxy: boolean;
  /** The command that starts us: it may take variables away. */
  readonly command: string;
  readonly unit: string;
}

export function* examineEnvironment(
  { variables, from }: Environment,
  { whose, hasProxy, command, unit }: JudgeOptions,
): Generator<Finding> {
  const get = (name: string): string | undefined =>
    new RegExp(`-u\\s*${name}\\b|\\b${name}= `).test(command) ? undefined : variables.get(name) || undefined;
  const away = (name: string): string =>
    `UnsetEnvironment=${name}      # systemctl edit ${unit}, below [Service]`;
  const options = get('NODE_OPTIONS');
  if (options !== undefined) {
    const names = options
      .split(/\s+/)
      .filter((word) => word.startsWith('-'))
      .map((word) => word.replace(/=.*/, ''));
    yield warning(`${whose} NODE_OPTIONS`, `${names.join(' ')}: inherited by every worker (${from})`, {
      why: 'it changes how Node runs: one that is for another program may keep ours from starting, or make it slow',
      line: away('NODE_OPTIONS'),
    });
  }
  const libraries = ['LD_LIBRARY_PATH', 'LD_PRELOAD'].find((name) => get(name) !== undefined);
  if (libraries !== undefined) {
    yield warning(`${whose} ${libraries}`, `${get(libraries)}: inherited by every worker (${from})`, {
      why: "Node loads the server's libraries in the place of its own: it may not start, or use another OpenSSL",
      line: `extauth_program: "env -u ${libraries} ..."`,
    });
  }
  const proxy = ['HTTPS_PROXY', 'https_proxy', 'HTTP_PROXY', 'http_proxy', 'ALL_PROXY', 'all_proxy'].find(
    (name) => get(name) !== undefined,
  );
  if (proxy !== undefined && !hasProxy) {
    yield warning(
      `${whose} ${proxy}`,
      `is set (${from}), and not looked at here: the provider is asked directly`,
      {
        why: 'where only the proxy leads outside, no provider can be reached',
        line: `http: { proxy: ${withoutUser(get(proxy) ?? '')} }`,
      },
    );
  }
}

/** The address of a proxy, which may have a password in it. */
function withoutUser(address: string): string {
  return URL.canParse(address) ? new URL(address).origin : 'http://proxy:port';
}
