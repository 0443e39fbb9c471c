// A real token, looked at as a login would: what it says (names of claims, never values), who it would be here, and whether
// it fits through the server. Nothing of it is kept.
import { firstPresent } from '../auth/claim-path.ts';
import type { Config } from '../config/load.ts';
import { createHosts } from '../hosts.ts';
import { judgeLogin } from '../judge.ts';
import { createDirectory } from '../oauth/directory.ts';
import { looksLikeJwt, MAX_TOKEN, readJwt } from '../oauth/jwt.ts';
import { createProvider, isB64Token } from '../oauth/provider.ts';
import { Secret, type Verdict } from '../verdict.ts';
import { type Finding, fault, ok, warning } from './finding.ts';

const WITHIN = 10_000;
/** Prosody runs PLAIN's password through SASLprep, whose buffer ends there. */
const PROSODY_PLAIN = 1023;
/** mod_auth_external's whole query, with kind, user and host in it. */
const PROSODY_EXTERNAL = 1000;

export async function* examineToken(token: string, settings: Config): AsyncGenerator<Finding> {
  if (token === '') {
    yield fault('sample token', 'nothing came on standard input');
    return;
  }
  const shape = looksLikeJwt(token);
  const jwt = shape === 'signed' ? readJwt(token) : undefined;
  const kind = shape === undefined ? 'opaque: only the provider can read it' : `a JWT (${shape})`;
  yield ok('sample token', `${token.length} bytes, ${kind}`);
  yield* examineSize(token.length);
  if (jwt === undefined) yield* askAbout(token, settings);
  else {
    yield ok('its claims', namesOf(jwt.claims));
    for (const { username_field } of settings.hosts.flatMap(({ providers }) => providers).slice(0, 1)) {
      if (firstPresent(jwt.claims, username_field) === undefined)
        yield warning('username_field', `${username_field.join(' or ')}: not in the token itself`, {
          why: 'the provider is asked at UserInfo or introspection then, where it may be; else the login is refused',
        });
    }
  }
  yield* judge(token, settings);
}

function* examineSize(length: number): Generator<Finding> {
  if (length > MAX_TOKEN) {
    yield fault('its size', `${length} bytes: no token of more than ${MAX_TOKEN} is taken`, {
      why: 'every login with it is refused; fewer claims (groups, roles) make it shorter',
    });
  } else if (length > PROSODY_EXTERNAL - 'auth:::'.length) {
    yield warning(
      'its size',
      `${length} bytes: too long for Prosody's mod_auth_external (${PROSODY_EXTERNAL} with name and host) ${length > PROSODY_PLAIN ? `and for its PLAIN (${PROSODY_PLAIN})` : ''}`.trim(),
      {
        why: 'there, mod_auth_dovecot with serve takes it; ejabberd does in any case, if max_stanza_size lets it',
      },
    );
  }
}

/** What the provider says of a token that says nothing itself. */
async function* askAbout(token: string, settings: Config): AsyncGenerator<Finding> {
  const directory = createDirectory({ now: () => performance.now() });
  const asked = new Set<string>();
  for (const provider of settings.hosts.map(({ providers }) => providers[0])) {
    const name = JSON.stringify([
      provider.issuer,
      provider.introspection_endpoint,
      provider.validation_endpoint,
    ]);
    if (asked.has(name) || !isB64Token(token)) continue;
    asked.add(name);
    const source = createProvider({ settings: provider, directory, wallClock: Date.now });
    const signal = AbortSignal.timeout(WITHIN);
    try {
      const [way, answer] = (await source.canIntrospect(signal))
        ? ['introspection', await source.introspect(token, signal)]
        : ['UserInfo', await source.userinfo(token, signal)];
      if (answer !== 'cannot_say' && 'claims' in answer)
        yield ok('its claims', `${namesOf(answer.claims)} (${way})`);
    } catch {
      // What the verdict on the login says as well.
    } finally {
      source.close();
    }
  }
  directory.close();
}

/** Each virtual host has its own opinion; without `hosts`, there is one. */
async function* judge(token: string, settings: Config): AsyncGenerator<Finding> {
  const hosts = createHosts(settings, { afterwards: () => {} });
  try {
    for (const { pattern } of settings.hosts) {
      const name = pattern.replace(/^\*\./, 'any.') || 'any.host';
      const host = hosts.find(name);
      if (host === undefined) continue;
      const verdict = await judgeLogin(
        host,
        { localpart: undefined, authcid: '', host: name, secret: new Secret(token), isBearer: true },
        {
          deadlineAt: performance.now() + WITHIN,
          now: () => performance.now(),
          onInternalError: () => {},
        },
      );
      yield judged(pattern === '' ? 'its user' : `its user at ${pattern}`, verdict);
    }
  } finally {
    hosts.close();
  }
}

function judged(what: string, verdict: Verdict): Finding {
  if (verdict.outcome === 'accepted')
    return ok(what, `${verdict.localpart} logs in with it (judged by ${verdict.method})`);
  const { reason, detail = '' } = verdict;
  return fault(what, `${verdict.outcome} (${reason}) ${detail}`.trim());
}

const SHOWN = 40;

function namesOf(claims: object): string {
  const names = Object.keys(claims).filter((name) => /^[\w:./-]{1,80}$/.test(name));
  return names.slice(0, SHOWN).join(', ') + (names.length > SHOWN ? ', ...' : '');
}
