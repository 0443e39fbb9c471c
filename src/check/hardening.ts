// What systemd's hardening of the server takes from the programs that it starts: us. What Node 20.20 cannot do without was
// tried, one set of system calls after the other.
import { type Finding, fault, warning } from './finding.ts';
import { isOn, type Unit } from './unit.ts';

/** Files of ours that must be in reach, without links. */
export interface Needs {
  /** Of Node, of the program, of the configuration and everything that it names. */
  readonly read: readonly string[];
  /** The folder of the state. */
  readonly write: readonly string[];
}

const STOPS = 'Node does not start, or ends by itself: every login is refused';

/** `dropIn`: a line for `systemctl edit` of the unit. */
export function* examineHardening(unit: Unit, { read, write }: Needs): Generator<Finding> {
  const what = (key: string): string => `${unit.name} ${key}`;
  if (isOn(unit.value('MemoryDenyWriteExecute'))) {
    yield fault(what('MemoryDenyWriteExecute'), 'forbids to make code at run time, which is what Node does', {
      why: STOPS,
      line: `MemoryDenyWriteExecute=no      # systemctl edit ${unit.name}, below [Service]`,
    });
  }
  yield* home(unit, read, what('ProtectHome'));
  yield* systemCalls(unit, what('SystemCallFilter'));
  yield* network(unit, what);
  const strict = unit.value('ProtectSystem') === 'strict';
  const open = ['ReadWritePaths', 'StateDirectory', 'ReadWriteDirectories'].flatMap((key) =>
    unit.values(key).flatMap((value) => value.split(/\s+/)),
  );
  for (const path of strict ? write : []) {
    const isOpen = open
      .map((each) => each.replace(/^[-+]+/, ''))
      .map((each) => (each.startsWith('/') ? each : `/var/lib/${each}`))
      .some((each) => path === each || path.startsWith(`${each}/`));
    if (isOpen) continue;
    yield fault(what('ProtectSystem'), `strict: ${path}, where the state is kept, cannot be written`, {
      why: 'users, pins and budgets are neither kept nor shared',
      line: `ReadWritePaths=${path}      # systemctl edit ${unit.name}, below [Service]`,
    });
  }
  const limit = unit.value('LimitAS');
  if (limit !== undefined && bytesOf(limit) < ADDRESSES) {
    yield fault(what('LimitAS'), `${limit}: Node reserves addresses (not memory) by the gigabyte`, {
      why: 'it does not start, or cannot read what a provider answers: every login is refused',
      line: `LimitAS=infinity      # systemctl edit ${unit.name}, below [Service]; MemoryMax= limits memory`,
    });
  }
}

/** WebAssembly, which reads HTTP, reserves 8 GiB at once. With 4 G no provider was reached, with 12 G each was. */
const ADDRESSES = 12 * 2 ** 30;

/** Of systemd's `2G`, or of the soft one of `2G:4G`. */
function bytesOf(limit: string): number {
  const [, number = '', unit = ''] = /^(\d+)([KMGTPE]?)/.exec(limit) ?? [];
  return number === '' ? Number.POSITIVE_INFINITY : Number(number) * 1024 ** ' KMGTPE'.indexOf(unit || ' ');
}

const HOMES = ['/home/', '/root/', '/run/user/'];

function* home(unit: Unit, read: readonly string[], what: string): Generator<Finding> {
  const value = unit.value('ProtectHome');
  if (!isOn(value) && value !== 'tmpfs') return;
  const hidden = read.filter((path) => HOMES.some((place) => path.startsWith(place)));
  const [first] = hidden;
  if (first === undefined) return;
  yield fault(what, `${value} hides ${hidden.join(', ')}`, {
    why: 'for the server it does not exist: install it outside of /home and /root (npm install -g as root, a Node of the system)',
    line: `ProtectHome=read-only      # systemctl edit ${unit.name}, below [Service]: if it must stay there`,
  });
}

/** Sets of system calls (systemd.exec(5)) without which Node does not start, or reaches nobody. */
const NEEDED = [
  '@basic-io',
  '@default',
  '@file-system',
  '@io-event',
  '@ipc',
  '@network-io',
  '@process',
  '@signal',
  '@system-service',
];
const CALLS = [
  'clone',
  'clone3',
  'epoll_create1',
  'epoll_ctl',
  'execve',
  'futex',
  'mmap',
  'mprotect',
  'socket',
];

function* systemCalls(unit: Unit, what: string): Generator<Finding> {
  const said = unit.values('SystemCallFilter');
  const line = `SystemCallFilter=\nSystemCallFilter=@system-service      # systemctl edit ${unit.name}, below [Service]`;
  const [first] = said;
  if (first === undefined) return;
  const names = (values: readonly string[], sign: string): string[] =>
    values
      .filter((value) => value.startsWith('~') === (sign === '~'))
      .flatMap((value) => value.replace(/^~/, '').split(/\s+/))
      .map((name) => name.replace(/:.*/, ''));
  // The first line says whether it is a list of what may be done or of what may not.
  const allowed = first.startsWith('~') ? undefined : names(said, '+');
  const denied = names(said, '~').filter((name) => NEEDED.includes(name) || CALLS.includes(name));
  if (denied.length > 0) {
    yield fault(what, `~${denied.join(' ')}: Node needs it`, { why: STOPS, line });
  } else if (allowed !== undefined && !allowed.includes('@system-service')) {
    yield warning(what, `${allowed.join(' ')}: without @system-service it is not sure that Node starts`, {
      why: STOPS,
      line,
    });
  }
}

function* network(unit: Unit, what: (key: string) => string): Generator<Finding> {
  const why = 'the provider cannot be reached: every login that it must be asked about is refused';
  if (isOn(unit.value('PrivateNetwork')))
    yield fault(what('PrivateNetwork'), 'leaves no network but a loopback interface of its own', {
      why,
      line: `PrivateNetwork=no      # systemctl edit ${unit.name}, below [Service]`,
    });
  const families = unit.values('RestrictAddressFamilies');
  const [first] = families;
  if (first === undefined || first.startsWith('~') || first === 'none') return;
  const words = families.flatMap((value) => value.split(/\s+/));
  if (!words.includes('AF_INET') && !words.includes('AF_INET6'))
    yield fault(what('RestrictAddressFamilies'), `${words.join(' ')}: no AF_INET, no AF_INET6`, {
      why,
      line: `RestrictAddressFamilies=AF_INET AF_INET6      # systemctl edit ${unit.name}, below [Service]`,
    });
}
