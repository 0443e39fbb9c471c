// From one extauth request to one answer: the operation, the virtual host, the verdict within the deadline.
import type { Reply } from './extauth/codec.ts';
import type { Command } from './extauth/command.ts';
import type { Answer } from './extauth/session.ts';
import type { Host } from './host.ts';
import type { Hosts } from './hosts.ts';
import { judgeLogin } from './judge.ts';
import { type Report, shown, type Told } from './report.ts';
import { refused, Secret, unavailable, type Verdict } from './verdict.ts';

/** What is in force now; replaced as a whole when the configuration changes. */
export interface Service {
  readonly hosts: Hosts;
  readonly setpassReply: 'auto' | 'error' | 'false';
  /** Milliseconds from the first byte of a request to its answer, where the configuration says. */
  readonly deadline: number | undefined;
}

export interface AnswerOptions {
  /** `undefined` as long as there has been no usable configuration. */
  readonly service: () => Service | undefined;
  /** The deadline where the configuration says none. */
  readonly patience: number;
  readonly report: Report;
  readonly onInternalError: (name: string, where: string | undefined) => void;
  /** Milliseconds of a monotonic clock, the one that `arrivedAt` is of. */
  readonly now: () => number;
}

interface Context {
  readonly command: Command | undefined;
  readonly arrivedAt: number;
}

export function createAnswer(options: AnswerOptions): Answer {
  const { service, patience, report, onInternalError, now } = options;

  return (command, request) => {
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
        const credentials = {
          localpart: user,
          authcid: user,
          host: name,
          secret: new Secret(secret),
          isBearer: false,
        };
        const deadlineAt = arrivedAt + (current.deadline ?? patience);
        const verdict = judgeLogin(host, credentials, { deadlineAt, now, onInternalError });
        return verdict instanceof Promise
          ? verdict.then((late) => conclude(context, late, replyTo(late)))
          : conclude(context, verdict, replyTo(verdict));
      }
      case 'isuser':
        if (host === undefined) return conclude(context, unknownHost(command.host, current.hosts), 'no');
        return exists(context, command, host, arrivedAt + (current.deadline ?? patience));
      case 'setpass':
        return conclude(context, refused('unsupported'), setpass);
      case 'removeuser':
        // The account itself is not ours to remove.
        return host === undefined
          ? conclude(context, unknownHost(command.host, current.hosts), 'no')
          : host
              .forgetUser(command.user, command.host)
              .catch(() => {})
              .then(() => conclude(context, refused('unsupported'), 'no'));
      case 'tryregister':
      case 'removeuser3':
      case 'certauth':
        return conclude(context, refused('unsupported'), 'no');
    }
  };

  function exists(
    context: Context,
    { user, host: name }: Command,
    host: Host,
    deadlineAt: number,
  ): Reply | Promise<Reply> {
    const told = (known: boolean): Reply =>
      known
        ? conclude(context, { outcome: 'exists' }, 'yes')
        : conclude(context, { outcome: 'unknown' }, 'no');
    const known = host.exists(user, name, deadlineAt);
    return known instanceof Promise ? known.then(told) : told(known);
  }

  function conclude({ command, arrivedAt }: Context, told: Told, reply: Reply): Reply {
    report(
      { op: command?.op ?? 'malformed', host: command?.host, user: command?.user ?? '', arrivedAt },
      told,
      reply,
    );
    return reply;
  }
}

function replyTo(verdict: Verdict): Reply {
  return verdict.outcome === 'accepted' ? 'yes' : 'no';
}

export function unknownHost(host: string, { names }: Hosts): Verdict {
  const listed = names.slice(0, 5).join(', ') + (names.length > 5 ? ', ...' : '');
  return refused('unknown_host', `${shown(host)} is not listed under hosts (listed: ${listed})`);
}
