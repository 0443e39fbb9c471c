// One login on its way through the methods: who asked, until when, and whom to tell.
import type { Provider } from '../oauth/provider.ts';
import type { Credentials, Method, Refused, Verdict } from '../verdict.ts';
import type { ClaimRules } from './claims.ts';

/** What is known of a login before anybody is asked. */
export interface Asked {
  readonly credentials: Credentials;
  /** The wall clock in milliseconds: `exp` is a date. */
  readonly now: number;
  /** For `login`: each step as it is done. */
  readonly step: (name: string, result: string) => void;
}

export interface Login extends Asked {
  readonly signal: AbortSignal;
  /** For the operator: what is accepted and could be safer. The same text again is not said again. */
  readonly warn: (message: string) => void;
}

/** VALIDATION's check 1. The longer forms are for providers that say they use them. */
const ALGORITHMS = ['RS256', 'PS256', 'ES256', 'EdDSA', 'Ed25519'];
const LONGER = ['RS384', 'RS512', 'PS384', 'PS512', 'ES384', 'ES512'];

/** A provider's rules are the same for every token, but for those of an alg that it must have named. */
const made = new WeakMap<Provider, ClaimRules>();

/** The rules for tokens of `issuer`; `undefined` where it depends on the metadata whether `alg` is one of its algorithms. */
export function rulesHere(
  provider: Provider,
  issuer: string | undefined,
  alg: unknown,
): ClaimRules | undefined {
  const { settings } = provider;
  if (settings.algorithms === undefined && LONGER.includes(alg as string)) return undefined;
  let rules = made.get(provider);
  if (rules === undefined || rules.issuer !== issuer) {
    rules = { ...settings, issuer, algorithms: settings.algorithms ?? ALGORITHMS };
    made.set(provider, rules);
  }
  return rules;
}

/** The same. Asks for the metadata only where the verdict depends on it. */
export async function rulesFor(provider: Provider, alg: unknown, signal: AbortSignal): Promise<ClaimRules> {
  const issuer = await provider.issuer(signal);
  const rules = rulesHere(provider, issuer, alg);
  if (rules !== undefined) return rules;
  const stated = await provider.algorithms(signal);
  const algorithms = [...ALGORITHMS, ...LONGER.filter((name) => stated.includes(name))];
  return { ...provider.settings, issuer, algorithms };
}

export function by(method: Method, verdict: Refused): Refused {
  return { ...verdict, method };
}

export function accepted(method: Method): Verdict {
  return { outcome: 'accepted', method };
}
