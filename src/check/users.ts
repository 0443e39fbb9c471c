// Who exists: what the server is told about a user who has not logged in, and whether the directory that says so can be asked.
import type { HostSettings } from '../config/host-settings.ts';
import type { StateSettings } from '../config/state-settings.ts';
import { createDirectory } from '../oauth/directory.ts';
import { createProvider } from '../oauth/provider.ts';
import { createLookup } from '../users/lookup.ts';
import { type Finding, fault, ok, warning } from './finding.ts';

export interface UsersOptions {
  readonly state: StateSettings;
  /** A name that no user has. */
  readonly nobody: string;
}

export async function* examineUsers(
  host: HostSettings,
  { state, nobody }: UsersOptions,
): AsyncGenerator<Finding> {
  if (host.user_exists === 'known' && state.store === 'memory') {
    yield warning('user_exists', 'known, and state is memory: after each start nobody is known', {
      why: 'messages to users who are offline come back until they have logged in again',
      line: 'state: lmdb:/var/lib/extauth-oauth',
    });
  }
  if (host.lookup === undefined) return;
  const [rules] = host.providers;
  const directory = createDirectory({ now: () => performance.now() });
  const provider = createProvider({ settings: rules, directory, wallClock: Date.now });
  const lookup = createLookup({ settings: host.lookup, provider, rules, now: () => performance.now() });
  const { hostname } = new URL(host.lookup.url);
  const name = host.pattern.replace(/^\*\./, '') || 'localhost';
  try {
    const found = await lookup(nobody, name, AbortSignal.timeout(2 * rules.http.timeout));
    yield found
      ? fault('user_lookup', `${hostname} has found a user that nobody is`, {
          why: 'everybody exists then, and messages to strangers are stored for ever',
        })
      : ok('user_lookup', `${hostname} answers, and does not know a user that nobody is, as it should`);
  } catch (error) {
    yield fault('user_lookup', (error as Error).message, {
      why: 'until it can be asked, every user counts as one that there is',
    });
  } finally {
    provider.close();
    directory.close();
  }
}
