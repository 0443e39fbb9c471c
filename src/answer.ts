// From one request to one answer: the operation, the virtual host, the verdict within the deadline, the log line.

import type { Reply } from './extauth/codec.ts';
import type { Command } from './extauth/command.ts';
import type { Answer } from './extauth/session.ts';
import type { Hosts } from './host.ts';
import { judgeLogin } from './judge.ts';
import { type Log, printable, quoted } from './log.ts';
import { refused, Secret, unavailable, type Verdict } from './verdict.ts';

/** What is in force now; replaced as a whole when the configuration changes. */
export interface Service {
  readonly hosts: Hosts;
  readonly setpassReply: 'auto' | 'error' | 'false';
  /** Milliseconds from the first byte of a request to its answer. */
  readonly deadline: number;
}

export interface AnswerOptions {
  /** `undefined` as long as there has been no usable configuration. */
  readonly service: () => Service | undefined;
  readonly log: Log;
  /** Milliseconds of a monotonic clock, the one that `arrivedAt` is of. */
  readonly now: () => number;
}

interface Context {
  readonly command: Command | undefined;
  readonly arrivedAt: number;
}

/** Characters of a name in the log: no server passes longer ones. */
const MAX_SHOWN = 1023;

export type Counts = Readonly<Record<string, number>>;

/** Answers requests, and counts them by operation and answer. */
export function createAnswer({ service, log, now }: AnswerOptions): { answer: Answer; counts: () => Counts } {
  const counts: Record<string, number> = {};
  const run = Math.floor(Math.random() * 0x1000000)
    .toString(16)
    .padStart(6, '0');
  let serial = 0;

  const answer: Answer = (command, request) => {
    const { arrivedAt } = request;
    const context = { command, arrivedAt };
    const current = service();
    // ejabberd takes a plain 0 for success and tells the user so; an answer that is neither makes it fail.
    const setpass = current === undefined || current.setpassReply === 'false' ? 'no' : 'error';
    if (command === undefined)
      return conclude(context, refused('malformed'), request.isSetpass ? setpass : 'no');
    if (current === undefined) {
      const verdict = unavailable('not_configured', 'there is no usable configuration');
      // Whoever cannot know whether a user exists says yes: a no would bounce messages to people who are there.
      return conclude(context, verdict, command.op === 'isuser' ? 'yes' : 'no');
    }
    const host = current.hosts.find(command.host);
    switch (command.op) {
      case 'auth': {
        if (host === undefined) return conclude(context, unknownHost(command.host, current.hosts), 'no');
        const { user, host: name, secret = '' } = command;
        const credentials = { localpart: user, host: name, secret: new Secret(secret) };
        const deadlineAt = arrivedAt + current.deadline;
        const verdict = judgeLogin(host, credentials, { deadlineAt, now, onInternalError });
        return verdict instanceof Promise
          ? verdict.then((late) => conclude(context, late, replyTo(late)))
          : conclude(context, verdict, replyTo(verdict));
      }
      case 'isuser':
        if (host === undefined) return conclude(context, unknownHost(command.host, current.hosts), 'no');
        return host.settings.user_exists
          ? conclude(context, 'exists', 'yes')
          : conclude(context, 'unknown', 'no');
      case 'setpass':
        return conclude(context, refused('unsupported'), setpass);
      case 'tryregister':
      case 'removeuser':
      case 'removeuser3':
      case 'certauth':
        return conclude(context, refused('unsupported'), 'no');
    }
  };

  function onInternalError(name: string, where: string | undefined): void {
    log.seldom(`internal ${where}`, 'error', 'internal_error', { name, where });
  }

  function conclude(context: Context, verdict: Verdict | 'exists' | 'unknown', reply: Reply): Reply {
    const { command, arrivedAt } = context;
    const op = command?.op ?? 'malformed';
    const key = `${op}_${reply}`;
    counts[key] = (counts[key] ?? 0) + 1;
    const told = typeof verdict === 'string' ? { outcome: verdict } : verdict;
    // One for each request: put together by hand, which takes a third of the time.
    let line = `"op":"${op}"`;
    if (command !== undefined) {
      const { host, user } = command;
      line += `,"host":${quoted(host.slice(0, MAX_SHOWN))},"user":${quoted(log.user(user.slice(0, MAX_SHOWN), host))}`;
    }
    line += `,"verdict":"${told.outcome}"`;
    if ('reason' in told) line += `,"reason":"${told.reason}"`;
    if ('method' in told && told.method !== undefined) line += `,"method":"${told.method}"`;
    const milliseconds = Math.round((now() - arrivedAt) * 10) / 10;
    line += `,"cache":"${cacheOf(told)}","ms":${milliseconds},"id":"${run}-${++serial}"`;
    if ('detail' in told && told.detail !== undefined) line += `,"detail":${quoted(told.detail)}`;
    log.writeJson(levelOf(told), 'request', line);
    return reply;
  }

  return { answer, counts: () => counts };
}

function replyTo(verdict: Verdict): Reply {
  return verdict.outcome === 'accepted' ? 'yes' : 'no';
}

/** Whether the verdict was remembered, could have been, or is of a kind that is not. */
function cacheOf(told: Verdict | { outcome: 'exists' | 'unknown' }): 'hit' | 'miss' | 'off' {
  if (told.outcome !== 'accepted' || told.until === undefined) return 'off';
  return told.remembered ? 'hit' : 'miss';
}

function levelOf(told: { outcome: string; reason?: string }): 'info' | 'warn' | 'error' {
  if (told.outcome !== 'unavailable') return 'info';
  // The operator's to mend: no user and no waiting will do it.
  return told.reason === 'client_refused' || told.reason === 'not_configured' ? 'error' : 'warn';
}

function unknownHost(host: string, { names }: Hosts): Verdict {
  const listed = names.slice(0, 5).join(', ') + (names.length > 5 ? ', ...' : '');
  return refused(
    'unknown_host',
    `${printable(host.slice(0, MAX_SHOWN))} is not listed under hosts (listed: ${listed})`,
  );
}
