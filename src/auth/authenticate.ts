// The straight line of one login: what kind of secret, who vouches for it, whose it is.
import type { HostSettings } from '../config/host-settings.ts';
import { member } from '../oauth/json.ts';
import type { Provider } from '../oauth/provider.ts';
import type { Authenticate, Credentials, Refused, Verdict } from '../verdict.ts';
import { accountAt } from './account.ts';
import type { Token } from './ask.ts';
import { classify } from './classify.ts';
import type { Login } from './login.ts';
import { judgePassword } from './password.ts';
import { judgeHere, judgeToken } from './token.ts';

export interface AuthenticateOptions {
  readonly settings: HostSettings;
  /** In the order of the settings. */
  readonly providers: readonly [Provider, ...Provider[]];
  /** Takes what may go on after the verdict: revocation. */
  readonly afterwards: (work: () => Promise<void>) => void;
  /** Milliseconds of the wall clock. */
  readonly wallClock: () => number;
  readonly step?: Login['step'] | undefined;
  readonly warn?: Login['warn'] | undefined;
}

/** The judge of one virtual host's logins. */
export interface Judge {
  /** The verdict, where nobody has to be asked and nothing waited for. Says what `authenticate` would say. */
  atOnce(credentials: Credentials): Verdict | undefined;
  /**
   * Whose account the provider would look at if the secret were tried as a password: one text for it, however the name is
   * typed. `undefined` where the secret is no password.
   */
  accountOf(credentials: Credentials): string | undefined;
  /** The verdict on any login, without deadline. Rejects with a ProviderError when nobody can say yes or no. */
  readonly authenticate: Authenticate;
}

export function createJudge(options: AuthenticateOptions): Judge {
  const { settings, providers, afterwards, wallClock, step = () => {}, warn = () => {} } = options;
  const [first] = providers;

  /** A token that names none of them is refused by the first, which goes by its own name alone. */
  function providerOf({ jwt }: Token): Provider {
    if (providers.length === 1) return first;
    const issuer = jwt && member(jwt.claims, 'iss');
    return providers.find((each) => issuer !== undefined && each.settings.issuer === issuer) ?? first;
  }

  function read({ secret, isBearer }: Credentials): Token | 'password' | Refused {
    const classified = classify(secret, settings, { isBearer });
    if ('outcome' in classified) return classified;
    if (classified.kind === 'password') return 'password';
    return { text: classified.token, jwt: classified.jwt };
  }

  return {
    accountOf(credentials) {
      if (read(credentials) !== 'password') return undefined;
      return accountAt(first.settings, credentials.authcid, credentials.host);
    },
    atOnce(credentials) {
      const token = read(credentials);
      if (token === 'password') return undefined;
      if ('outcome' in token) return token;
      const asked = { credentials, now: wallClock(), step };
      return judgeHere(token, asked, providerOf(token));
    },
    async authenticate(credentials, signal) {
      const token = read(credentials);
      if (token !== 'password' && 'outcome' in token) return token;
      const login = { credentials, now: wallClock(), step, signal, warn };
      if (token === 'password') {
        step('secret', 'a password');
        return judgePassword(login, first, afterwards);
      }
      step('secret', token.jwt === undefined ? 'an opaque token' : 'a token (JWT)');
      return judgeToken(token, login, providerOf(token));
    },
  };
}
