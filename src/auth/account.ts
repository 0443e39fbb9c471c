// Whose account a password is tried on: one text for it, however the name is typed.
import { type IdentityRules, providerUsername } from './identity.ts';

export interface AccountRules extends IdentityRules {
  readonly issuer?: string | undefined;
  readonly discovery_url?: string | undefined;
  readonly token_endpoint?: string | undefined;
}

/** `rules`: of the first provider, to which passwords go. */
export function accountAt(rules: AccountRules, authcid: string, host: string): string {
  // Most providers take Alice for alice and forgive a space, some (MySQL's collations) an accent or what is not to be
  // seen: what may be one account is one.
  const folded = providerUsername(authcid, host, rules)
    .normalize('NFKD')
    .replace(/[\s\p{M}\p{Cf}]/gu, '')
    .toUpperCase();
  return `${rules.issuer ?? rules.discovery_url ?? rules.token_endpoint} ${folded}`;
}
