// The straight line of one login: what kind of secret, who vouches for it, whose it is.
import type { HostSettings } from '../config/host-settings.ts';
import { member } from '../oauth/json.ts';
import type { Provider } from '../oauth/provider.ts';
import {
  type Authenticate,
  type Credentials,
  type Method,
  type Refused,
  refused,
  type Verdict,
} from '../verdict.ts';
import { judgeClaims } from './claims.ts';
import { classify } from './classify.ts';
import { judgeIdentity, providerUsername } from './identity.ts';
import type { Jwt } from './jwt.ts';

export interface AuthenticateOptions {
  readonly settings: HostSettings;
  readonly provider: Provider;
  /** Takes what may go on after the verdict: revocation. */
  readonly afterwards: (work: () => Promise<void>) => void;
  /** The wall clock in milliseconds: `exp` is a date. */
  readonly wallClock: () => number;
  /** For `login`: each step as it is done. */
  readonly step?: (name: string, result: string) => void;
}

/** The Authenticate function of one virtual host, without deadline or guard. Throws ProviderError. */
export function createAuthenticate(options: AuthenticateOptions): Authenticate {
  const { settings, provider, afterwards, wallClock, step = () => {} } = options;

  return async (credentials, signal) => {
    const classified = classify(credentials.secret, settings);
    if ('outcome' in classified) return classified;
    step(
      'secret',
      classified.kind === 'password' ? 'a password' : classified.jwt ? 'a token (JWT)' : 'an opaque token',
    );
    const verdict =
      classified.kind === 'password'
        ? await byPassword(credentials, signal)
        : await byToken(classified.token, classified.jwt, credentials, signal);
    return verdict ?? { outcome: 'accepted', method: methodOf(classified.kind) };
  };

  async function byPassword(credentials: Credentials, signal: AbortSignal): Promise<Verdict | undefined> {
    const username = providerUsername(credentials.localpart, credentials.host, settings);
    const granted = await provider.grantPassword(username, credentials.secret, signal);
    if ('outcome' in granted) return by('password', granted);
    step('password grant', 'the provider accepts name and password');
    try {
      // Our own client obtained this token a moment ago over TLS: to us it is opaque (RFC 9068 section 4), whatever its form.
      return by('password', await judgeUserinfo(granted.accessToken, undefined, credentials, signal));
    } finally {
      if (settings.revoke_after_login) afterwards(() => provider.revoke(granted));
    }
  }

  async function byToken(
    token: string,
    jwt: Jwt | undefined,
    credentials: Credentials,
    signal: AbortSignal,
  ): Promise<Verdict | undefined> {
    if (jwt !== undefined) {
      const rules = { ...settings, issuer: await provider.issuer(signal) };
      const verdict = judgeClaims(jwt, rules, wallClock());
      if (verdict !== undefined) return by('userinfo', verdict);
      step('claims', 'of this provider, for us, not expired');
    }
    return by('userinfo', await judgeUserinfo(token, jwt, credentials, signal));
  }

  async function judgeUserinfo(
    token: string,
    jwt: Jwt | undefined,
    credentials: Credentials,
    signal: AbortSignal,
  ): Promise<Refused | undefined> {
    const answer = await provider.userinfo(token, signal);
    if ('outcome' in answer) return answer;
    const { claims } = answer;
    step('UserInfo', 'the provider vouches for the token');
    // OpenID Connect Core section 5.3.4: the answer must be about the token's own subject.
    const subject = jwt === undefined ? undefined : member(jwt.claims, 'sub');
    const stated = member(claims, 'sub');
    if (subject !== undefined && stated !== undefined && stated !== subject) {
      return refused('user_mismatch', "UserInfo answers about another subject than the token's");
    }
    return judgeIdentity(claims, credentials, settings);
  }
}

function methodOf(kind: 'password' | 'token'): Method {
  return kind === 'password' ? 'password' : 'userinfo';
}

function by(method: Method, verdict: Refused | undefined): Refused | undefined {
  return verdict && { ...verdict, method };
}
