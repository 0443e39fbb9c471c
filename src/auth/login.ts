// One login on its way through the methods: who asked, until when, and whom to tell.
import { ProviderError } from '../oauth/errors.ts';
import type { Provider } from '../oauth/provider.ts';
import type { Accepted, Credentials, Method, Refused } from '../verdict.ts';
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

/** The rules for what the provider says of a token, whose issuer is known or not. */
export function rulesOf(provider: Provider, issuer: string | undefined): ClaimRules {
  const { settings } = provider;
  let rules = made.get(provider);
  if (rules === undefined || rules.issuer !== issuer) {
    rules = { ...settings, issuer, algorithms: settings.algorithms ?? ALGORITHMS };
    made.set(provider, rules);
  }
  return rules;
}

/** The same for a JWT; `undefined` where it depends on the metadata whether its `alg` is one of the provider's. */
export function rulesHere(
  provider: Provider,
  issuer: string | undefined,
  alg: unknown,
): ClaimRules | undefined {
  const depends = provider.settings.algorithms === undefined && LONGER.includes(alg as string);
  return depends ? undefined : rulesOf(provider, issuer);
}

/** The same, with the longer forms that the metadata names: asked for only where the verdict depends on it. */
export async function rulesAsStated(
  provider: Provider,
  issuer: string | undefined,
  signal: AbortSignal,
): Promise<ClaimRules> {
  const stated = await provider.algorithms(signal);
  const algorithms = [...ALGORITHMS, ...LONGER.filter((name) => stated.includes(name))];
  return { ...provider.settings, issuer, algorithms };
}

/** A key set that is not there yet is not waited for longer than this where there is another way. */
const PATIENCE = 1000;

/** Whether the provider's keys are here, or come soon. Never rejects; `onFailure` is told why they cannot be had. */
export async function haveKeysSoon(
  provider: Provider,
  signal: AbortSignal,
  onFailure: (error: unknown) => void = () => {},
): Promise<boolean> {
  if (provider.here() !== undefined) return true;
  let timer: NodeJS.Timeout | undefined;
  // (Node 20 may collect a signal made by AbortSignal.any before its time has come.)
  const patience = new Promise<boolean>((resolve) => {
    timer = setTimeout(resolve, PATIENCE, false);
  });
  try {
    return await Promise.race([provider.hasKeys(signal), patience]);
  } catch (error) {
    onFailure(error);
    return false;
  } finally {
    clearTimeout(timer);
  }
}

export function by(method: Method, verdict: Refused): Refused {
  return { ...verdict, method };
}

export function accepted(method: Method, localpart: string, subject?: Accepted['subject']): Accepted {
  return subject === undefined
    ? { outcome: 'accepted', method, localpart }
    : { outcome: 'accepted', method, localpart, subject };
}

/** What `work` comes to. A failure says by which method it was tried; one and the same error may have failed several. */
export async function during<Value>(method: Method, work: Promise<Value>): Promise<Value> {
  try {
    return await work;
  } catch (error) {
    if (!(error instanceof ProviderError)) throw error;
    throw new ProviderError(error.reason, error.message, { method, cause: error });
  }
}
