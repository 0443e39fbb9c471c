// One login on its way through the methods: who asked, until when, and whom to tell.
import type { Provider } from '../oauth/provider.ts';
import type { Credentials, Method, Refused, Verdict } from '../verdict.ts';
import type { ClaimRules } from './claims.ts';

export interface Login {
  readonly credentials: Credentials;
  readonly signal: AbortSignal;
  /** The wall clock in milliseconds: `exp` is a date. */
  readonly now: number;
  /** For `login`: each step as it is done. */
  readonly step: (name: string, result: string) => void;
  /** For the operator: what is accepted and could be safer. The same text again is not said again. */
  readonly warn: (message: string) => void;
}

/** VALIDATION's check 1. The longer forms are for providers that say they use them. */
const ALGORITHMS = ['RS256', 'PS256', 'ES256', 'EdDSA', 'Ed25519'];
const LONGER = ['RS384', 'RS512', 'PS384', 'PS512', 'ES384', 'ES512'];

/** The rules for a token with this `alg`. Asks for the metadata only where the verdict depends on it. */
export async function claimRules(
  provider: Provider,
  alg: unknown,
  signal: AbortSignal,
): Promise<ClaimRules & { readonly issuer: string | undefined }> {
  const { settings } = provider;
  const issuer = settings.issuer ?? (await provider.issuer(signal));
  return { ...settings, issuer, algorithms: settings.algorithms ?? (await byDefault()) };

  async function byDefault(): Promise<readonly string[]> {
    if (!LONGER.includes(alg as string)) return ALGORITHMS;
    const stated = await provider.algorithms(signal);
    return [...ALGORITHMS, ...LONGER.filter((name) => stated.includes(name))];
  }
}

export function accepted(method: Method): Verdict {
  return { outcome: 'accepted', method };
}

export function by(method: Method, verdict: Refused): Refused {
  return { ...verdict, method };
}
