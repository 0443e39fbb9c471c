// Verdicts as they lie where others can write: sealed for the one name that they have. Who copies what is there, or changes
// it, cannot make a verdict of it.
import type { Method, RefusedReason } from '../verdict.ts';
import type { Digest } from './digest.ts';
import { interned, type Known } from './known.ts';

/** Characters of a digest. */
const SEAL = 43;

export function seal({ verdict, until, graceUntil, lifetime }: Known, name: string, digest: Digest): string {
  const { outcome, method } = verdict;
  const what = verdict.outcome === 'accepted' ? verdict.localpart : verdict.reason;
  const text = JSON.stringify([outcome, method, what, until, graceUntil, lifetime]);
  return digest('seal', name, text) + text;
}

/** `undefined` for what nobody with our key has sealed. */
export function unseal(sealed: string, name: string, digest: Digest): Known | undefined {
  const { timingSafeEqual } = process.getBuiltinModule('node:crypto');
  const text = sealed.slice(SEAL);
  const [stated, ours] = [Buffer.from(sealed.slice(0, SEAL)), Buffer.from(digest('seal', name, text))];
  if (stated.length !== ours.length || !timingSafeEqual(stated, ours)) return undefined;
  // Ours, to the letter.
  const [outcome, method, what, ...times] = JSON.parse(text) as [
    string,
    Method,
    string,
    number,
    number,
    number,
  ];
  const [until, graceUntil, lifetime] = times;
  const verdict =
    outcome === 'accepted'
      ? ({ outcome, method, localpart: what } as const)
      : interned({ outcome: 'refused', reason: what as RefusedReason, method });
  return { verdict, until, graceUntil, lifetime };
}
