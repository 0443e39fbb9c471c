// One virtual host's settings made complete: what holds for the host, and the providers that know its users.
import { completeLookup, type LookupSettings } from './lookup.ts';
import type { Draft } from './parse.ts';
import { type Completion, completeProvider, type ProviderSettings } from './provider-settings.ts';
import { createSecrets } from './secrets.ts';

/** Everything about one virtual host, ready to use. */
export interface HostSettings {
  /** The virtual host, `*.` and a domain, or `''` for all. */
  readonly pattern: string;
  readonly credential: 'auto' | 'token' | 'password';
  readonly token_prefix: string | undefined;
  readonly user_exists: boolean | 'known' | 'lookup';
  /** Whom to ask for `lookup`. */
  readonly lookup: LookupSettings | undefined;
  /** Whether a localpart belongs to the first subject of the provider that logs in. */
  readonly pin_subject: boolean;
  /** Whether passwords are taken at all. */
  readonly passwords: boolean;
  /** Passwords go to the first one, a token to the one whose issuer it names. */
  readonly providers: readonly [ProviderSettings, ...ProviderSettings[]];
}

/** `lasts`: the state does, beyond the end of this process. */
export function completeHost(
  { pattern, drafts }: Draft,
  { lasts, ...completion }: Completion & { readonly lasts: boolean },
): HostSettings {
  const [first, ...others] = drafts;
  const {
    credential,
    token_prefix,
    user_exists = lasts ? 'known' : true,
    user_lookup,
    pin_subject = lasts,
  } = first.options;
  // Else its secrets are not read.
  const lookup =
    user_lookup !== undefined && user_exists === 'lookup'
      ? completeLookup(user_lookup, first.at, {
          secrets: createSecrets(completion.reader, completion.problems),
          problems: completion.problems,
        })
      : undefined;
  const provider = completeProvider(first, pattern, completion);
  return {
    pattern,
    credential,
    token_prefix,
    user_exists,
    lookup,
    pin_subject,
    passwords: provider.passwords,
    // A credential of the host's name is that of its first provider: the others are strangers to it.
    providers: [provider, ...others.map((draft) => completeProvider(draft, '', completion))],
  };
}
