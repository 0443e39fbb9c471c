// The straight line of one login: what kind of secret, who vouches for it, whose it is.
import type { HostSettings } from '../config/host-settings.ts';
import { member } from '../oauth/json.ts';
import type { Provider } from '../oauth/provider.ts';
import type { Authenticate } from '../verdict.ts';
import { classify } from './classify.ts';
import type { Login } from './login.ts';
import { judgePassword } from './password.ts';
import { judgeToken } from './token.ts';

export interface AuthenticateOptions {
  readonly settings: HostSettings;
  /** In the order of the settings. */
  readonly providers: readonly [Provider, ...Provider[]];
  /** Takes what may go on after the verdict: revocation. */
  readonly afterwards: (work: () => Promise<void>) => void;
  /** Milliseconds of the wall clock. */
  readonly wallClock: () => number;
  readonly step?: Login['step'];
  readonly warn?: Login['warn'];
}

/** The Authenticate function of one virtual host, without deadline or guard. Throws ProviderError. */
export function createAuthenticate(options: AuthenticateOptions): Authenticate {
  const { settings, providers, afterwards, wallClock, step = () => {}, warn = () => {} } = options;
  const [first] = providers;

  return async (credentials, signal) => {
    const classified = classify(credentials.secret, settings);
    if ('outcome' in classified) return classified;
    const login = { credentials, signal, now: wallClock(), step, warn };
    if (classified.kind === 'password') {
      step('secret', 'a password');
      return judgePassword(login, first, afterwards);
    }
    const { token: text, jwt } = classified;
    step('secret', jwt === undefined ? 'an opaque token' : 'a token (JWT)');
    // A token that names none of them is refused by the first, which goes by its own name alone.
    const issuer = jwt && member(jwt.claims, 'iss');
    const named = providers.find((provider) => provider.settings.issuer === issuer && issuer !== undefined);
    return judgeToken({ text, jwt }, login, named ?? first);
  };
}
