// Asks the provider's directory whether a user exists: as whom, by which names, and once more when the token was too old.
import { type IdentityRules, providerNames, sameUser } from '../auth/identity.ts';
import type { LookupAs, LookupSettings } from '../config/lookup.ts';
import { createOwnToken } from '../oauth/client-credentials.ts';
import type { HttpResponse } from '../oauth/http.ts';
import type { Provider } from '../oauth/provider.ts';
import { toProviderName } from '../xmpp/localpart.ts';
import { type Question, questionFor } from './directories.ts';

export interface LookupOptions {
  readonly settings: LookupSettings;
  /** Whose client and whose connections are used. */
  readonly provider: Pick<Provider, 'send' | 'grantOwn'>;
  readonly rules: IdentityRules;
  /** Milliseconds of a monotonic clock. */
  readonly now: () => number;
}

/** Whether there is such a user. Throws a ProviderError when nobody can say. */
export type Lookup = (localpart: string, host: string, signal: AbortSignal) => Promise<boolean>;

export function createLookup({ settings, provider, rules, now }: LookupOptions): Lookup {
  const { as } = settings;
  const scope = as.kind === 'client' ? as.scope : undefined;
  const own = createOwnToken((signal) => provider.grantOwn(scope, signal), now);

  function ask(
    { url, endpoint }: Question,
    authorization: string | undefined,
    signal: AbortSignal,
  ): Promise<HttpResponse> {
    const headers = { accept: ACCEPT, ...(authorization === undefined ? {} : { authorization }) };
    return provider.send({ method: 'GET', url, endpoint, purpose: 'directory', headers }, signal);
  }

  async function askAsOurselves(question: Question, signal: AbortSignal): Promise<HttpResponse> {
    if (as.kind !== 'client') return ask(question, fixed(as), signal);
    const token = await own.get(signal);
    const response = await ask(question, `Bearer ${token}`, signal);
    // It was revoked, or the provider has forgotten it.
    const again = response.status === 401 && own.drop(token);
    return again ? ask(question, `Bearer ${await own.get(signal)}`, signal) : response;
  }

  return async (localpart, host, signal) => {
    const questions = providerNames(localpart, host, rules).map((username) =>
      questionFor(settings, {
        username,
        localpart: toProviderName(localpart),
        host,
        isSame: (name) => sameUser(name, { localpart, host }, rules),
      }),
    );
    // Where addresses are made of the localpart alone, they are all the same.
    for (const question of new Map(questions.map((each) => [each?.url, each])).values()) {
      if (question?.isFound(await askAsOurselves(question, signal))) return true;
    }
    return false;
  };
}

/** What SCIM (RFC 7644 section 8.1) and WebFinger (RFC 7033 section 10.2) call their answers, and plain JSON. */
const ACCEPT = 'application/json, application/scim+json, application/jrd+json';

function fixed(as: Exclude<LookupAs, { kind: 'client' }>): string | undefined {
  switch (as.kind) {
    case 'nobody':
      return undefined;
    case 'token':
      return `${as.scheme} ${as.token.reveal()}`;
    case 'basic':
      return `Basic ${Buffer.from(`${as.username}:${as.password.reveal()}`).toString('base64')}`;
  }
}
