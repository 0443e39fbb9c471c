// From one SASL message to what it comes to: the virtual host, whom the client says it is, the verdict within the
// deadline. Here the XMPP server takes the name from us, so whoever the provider says it is, is logged in.

import { type AnswerOptions, type Service, unknownHost } from './answer.ts';
import type { Served } from './daemon/listeners.ts';
import type { SaslAnswer, SaslRequest } from './dovecot/logins.ts';
import type { SaslOutcome } from './dovecot/outcome.ts';
import type { SaslMessage } from './dovecot/sasl.ts';
import type { Host } from './host.ts';
import type { Hosts } from './hosts.ts';
import { judgeLogin } from './judge.ts';
import { type Refused, refused, Secret, unavailable, type Verdict } from './verdict.ts';
import { escapeLocalpart, type JidEscape } from './xmpp/escape.ts';
import { toProviderName } from './xmpp/localpart.ts';
import { nodeprep } from './xmpp/nodeprep.ts';

export interface SaslAnswerOptions extends AnswerOptions {
  /** The socket that the request came over. */
  readonly listener: () => Served;
}

/** A user as this login names one: by a name alone, or by a whole JID. */
interface Named {
  /** `undefined` where it may be anybody. */
  readonly localpart: string | undefined;
  readonly authcid: string;
}

export function createSaslAnswer(options: SaslAnswerOptions): SaslAnswer {
  const { service, patience, report, onInternalError, now, listener } = options;

  return (request) => {
    const { message, arrivedAt } = request;
    const current = service();
    if (current === undefined) return told(request, unavailable('not_configured'), undefined, undefined);
    const name = hostName(listener().host, request.service, current.hosts);
    if (typeof name !== 'string') return told(request, name, undefined, undefined);
    const host = current.hosts.find(name);
    if (host === undefined) return told(request, unknownHost(name, current.hosts), name, undefined);
    const isBearer = message.mechanism !== 'PLAIN';
    // Asked without a token, by a client that wants to know where there are some (RFC 7628 section 4.3).
    if (message.secret === '')
      return told(request, refused('malformed_token', 'there is no token'), name, host);
    const named = whom(message, name, host);
    if ('outcome' in named) return told(request, named, name, host);
    const credentials = { ...named, host: name, secret: new Secret(message.secret), isBearer };
    const deadlineAt = arrivedAt + (current.deadline ?? patience);
    const verdict = judgeLogin(host, credentials, { deadlineAt, now, onInternalError });
    return verdict instanceof Promise
      ? verdict.then((late) => told(request, late, name, host))
      : told(request, verdict, name, host);
  };

  function told(
    { message, arrivedAt }: SaslRequest,
    verdict: Verdict,
    hostName: string | undefined,
    host: Host | undefined,
  ): SaslOutcome {
    const { mechanism, authcid, authzid } = message;
    const outcome = outcomeOf(verdict, message, host);
    const user = verdict.outcome === 'accepted' ? verdict.localpart : authcid || authzid;
    const typed = authcid !== '' && authcid !== user ? authcid : undefined;
    const requested = { op: 'auth', host: hostName ?? '', user, mechanism, authcid: typed, arrivedAt };
    const judged = verdict.outcome === 'accepted' && outcome.outcome !== 'accepted' ? UNSPEAKABLE : verdict;
    report(requested, judged, outcome.outcome === 'accepted' ? 'yes' : 'no');
    return outcome;
  }
}

/** The host of the socket, or the one that the service is called after. That both say another one is a mistake. */
function hostName(own: string | undefined, service: string, hosts: Hosts): string | Verdict {
  const called = service.toLowerCase();
  const lists = called.includes('.') && hosts.find(called) !== undefined;
  if (own === undefined) {
    return lists
      ? called
      : refused('unknown_host', 'neither host of the socket (listen) nor the service says a virtual host');
  }
  return lists && called !== own
    ? refused('unknown_host', `the socket is for ${own}, and the service is called after another host`)
    : own;
}

/**
 * Whom the client says it is. Who writes a whole JID of this host, or wants to act as somebody (authzid), means that user
 * and nobody else: some servers (Prosody's auth_append_host) log in the name that they have sent, whatever we answer.
 */
function whom({ authzid, authcid }: SaslMessage, name: string, host: Host): Named | Refused {
  const typed = ofWholeJid(authcid, name);
  const prepared = typed && nodeprep(typed);
  if (typed !== undefined && prepared === undefined)
    return refused('username_invalid', 'the name that was typed cannot be a localpart');
  const named = { localpart: prepared, authcid: typed ?? authcid };
  if (authzid === '') return named;
  const asked = ofWholeJid(authzid, name) ?? authzid;
  // An address of elsewhere is a name like any other, as the provider writes it.
  const wanted = nodeprep(asked.includes('@') ? (escapeLocalpart(asked, dialectOf(host)) ?? '') : asked);
  return wanted === undefined || (prepared !== undefined && prepared !== wanted)
    ? refused('user_mismatch', 'the client wants to act as another user than it is (authzid)')
    : { ...named, localpart: wanted };
}

/** What stands before the at sign of a JID at `host`; `undefined` for everything else. */
function ofWholeJid(text: string, host: string): string | undefined {
  const at = text.lastIndexOf('@');
  return at > 0 && text.slice(at + 1).toLowerCase() === host ? text.slice(0, at) : undefined;
}

function dialectOf(host: Host | undefined): JidEscape {
  return host?.settings.providers[0].jid_escape ?? 'xep0106';
}

const UNSPEAKABLE = refused(
  'username_invalid',
  'the XMPP server would make another localpart of the name (jid_escape)',
);

function outcomeOf(verdict: Verdict, message: SaslMessage, host: Host | undefined): SaslOutcome {
  switch (verdict.outcome) {
    case 'accepted': {
      // The server escapes the name itself, and must come back to the same localpart.
      const user = toProviderName(verdict.localpart);
      return escapeLocalpart(user, dialectOf(host)) === verdict.localpart
        ? { outcome: 'accepted', user }
        : { outcome: 'refused', reason: UNSPEAKABLE.reason };
    }
    case 'unavailable':
      return {
        outcome: 'unavailable',
        user: harmless(message.authcid || message.authzid),
        reason: verdict.reason,
      };
    case 'refused':
      return {
        outcome: 'refused',
        user: harmless(message.authcid || message.authzid),
        reason: reasonFor(verdict),
        code: codeOf(verdict, message),
        challenge:
          message.mechanism === 'PLAIN' || host === undefined ? undefined : errorOf(verdict, message, host),
      };
  }
}

/** For the server's log. A name that it cannot prepare would make Prosody's module forget what kind of no it was. */
function harmless(name: string): string | undefined {
  return /^[a-z0-9_.-]{1,255}$/.test(name) ? name : undefined;
}

/** Who has a token may know what is wrong with it. Who tries passwords learns nothing. */
function reasonFor({ reason, method }: Refused): string | undefined {
  return method === 'password' ? undefined : reason;
}

function codeOf({ reason }: Refused, { authzid }: SaslMessage): 'authz_fail' | undefined {
  return reason === 'user_mismatch' && authzid !== '' ? 'authz_fail' : undefined;
}

/** RFC 7628 section 3.2.2: what is wrong, and where there are tokens to be had. */
function errorOf({ reason }: Refused, { mechanism }: SaslMessage, { settings }: Host): string {
  const { issuer, discovery_url, scope, required_scopes } = settings.providers[0];
  return JSON.stringify({
    status: reason === 'scope_missing' ? 'insufficient_scope' : 'invalid_token',
    ...(mechanism === 'XOAUTH2' ? { schemes: 'bearer' } : {}),
    scope: required_scopes?.join(' ') ?? scope,
    'openid-configuration':
      discovery_url ?? (issuer && `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`),
  });
}

/** What may be announced: a password or a token of any kind comes by PLAIN; the others are for tokens alone. */
export function mechanismsFor(
  { host, mechanisms }: Served,
  service: Service | undefined,
): readonly SaslMessage['mechanism'][] {
  const chosen = mechanisms ?? (['PLAIN', 'OAUTHBEARER', 'XOAUTH2'] as const);
  const own = host === undefined ? undefined : service?.hosts.find(host);
  return own?.settings.credential === 'password' ? chosen.filter((each) => each === 'PLAIN') : chosen;
}
