// One login in this process: not through the wire, but through all the rest, and every step is shown as it is done.
import type { Config } from '../config/index.ts';
import type { Host } from '../host.ts';
import { createHosts } from '../hosts.ts';
import { judgeLogin } from '../judge.ts';
import type { Exchange } from '../oauth/http.ts';
import type { Secret, Verdict } from '../verdict.ts';
import { REASONS } from './reasons.ts';
import { localpartOf, type TypedJid } from './request.ts';
import type { Steps } from './steps.ts';

export interface LoginHereOptions {
  readonly settings: Config;
  readonly jid: TypedJid;
  readonly readSecret: () => Promise<Secret | undefined>;
  readonly steps: Steps;
}

/** The program's own, where it has a pipe. */
const DEADLINE = 8000;

/** Whether the user is in. */
export async function loginHere({ settings, jid, readSecret, steps }: LoginHereOptions): Promise<boolean> {
  const { createKept, exists } = await import('../state/index.ts');
  // Made by whoever tries a login, it might not be the server's.
  const kept = createKept(exists(settings.state) ? settings.state : { store: 'memory' }, {
    maxEntries: settings.process.cache.max_entries,
    onChange({ up, why }) {
      if (!up)
        steps.show({ mark: 'warning', name: 'state', result: `${why}: this login goes on without it` });
    },
  });
  const afterwards: (() => Promise<void>)[] = [];
  const hosts = createHosts(settings, {
    afterwards: (work) => afterwards.push(work),
    state: async () => kept,
    step: (name, result) => steps.timed({ mark: 'good', name, result }),
    warn: (message) => steps.show({ mark: 'warning', name: 'warning', result: message }),
    observe: (exchange) => steps.show(exchangeStep(exchange)),
  });
  try {
    const host = hosts.find(jid.host);
    if (host === undefined) {
      const listed = hosts.names.join(', ');
      explainRefusal(
        { outcome: 'refused', reason: 'unknown_host', detail: `${jid.host} is not among hosts (${listed})` },
        steps,
      );
      return false;
    }
    return await loginAt(host, { settings, jid, readSecret, steps }, afterwards);
  } finally {
    hosts.close();
    await kept.state.close();
  }
}

async function loginAt(
  host: Host,
  { settings, jid, readSecret, steps }: LoginHereOptions,
  afterwards: readonly (() => Promise<void>)[],
): Promise<boolean> {
  const { pattern, providers } = host.settings;
  const by = pattern === '' ? 'by the settings for all hosts' : `by the settings for ${pattern}`;
  steps.show({ mark: 'good', name: 'virtual host', result: `${jid.host}, ${by}` });
  const localpart = localpartOf(jid.typed, providers[0].jid_escape);
  if (localpart === undefined) {
    steps.show({ mark: 'bad', name: 'localpart', result: 'no XMPP server takes this name' });
    return false;
  }
  if (localpart !== jid.typed) steps.show({ mark: 'good', name: 'localpart', result: localpart });

  const secret = await readSecret();
  if (secret === undefined) return false;
  const credentials = { localpart, authcid: localpart, host: jid.host, secret, isBearer: false };
  const started = performance.now();
  steps.begin();
  const verdict = await judgeLogin(host, credentials, {
    deadlineAt: started + (settings.process.deadline ?? DEADLINE),
    now: () => performance.now(),
    onInternalError: (error, where) =>
      steps.show({ mark: 'bad', name: 'internal error', result: `${error} ${where ?? ''}` }),
  });
  const took = performance.now() - started;
  if (verdict.outcome === 'accepted') {
    const { localpart: name } = verdict;
    steps.timed({ mark: 'good', name: 'user', result: `the provider's name comes to ${name}, who logs in` });
    for (const work of afterwards) await work();
    steps.show({ mark: 'good', name: `accepted (${verdict.method})`, result: `${name}@${jid.host}`, took });
    return true;
  }
  for (const work of afterwards) await work();
  explainRefusal(verdict, steps, took);
  return false;
}

/** The step that failed, the verdict, and what can be changed. */
export function explainRefusal(
  verdict: Exclude<Verdict, { outcome: 'accepted' }>,
  steps: Steps,
  took?: number,
): void {
  const { outcome, reason, detail } = verdict;
  const { step, advice } = REASONS[reason];
  steps.show({ mark: 'bad', name: step, result: detail ?? reason });
  steps.show({ mark: 'bad', name: `${outcome} (${reason})`, result: '', took });
  steps.show({ mark: 'note', name: 'what to do', result: advice });
}

/** Who was asked for what, and what came of it. */
function exchangeStep({
  method,
  url,
  purpose,
  status,
  milliseconds,
  error,
}: Exchange): Parameters<Steps['show']>[0] {
  const good = status !== undefined && status < 400;
  const result = `${method} ${url}: ${status ?? error ?? 'no answer'}`;
  return { mark: good ? 'good' : 'bad', name: purpose ?? 'provider', result, took: milliseconds };
}
