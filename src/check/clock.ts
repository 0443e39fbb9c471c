// This machine's clock against the provider's: tokens begin and end by it.
import type { ProviderSettings } from '../config/provider-settings.ts';
import { createHttpClient } from '../oauth/http.ts';
import { type Finding, fault, ok, warning } from './finding.ts';

/** The header has whole seconds, and the answer has travelled. */
const UNSURE = 2000;
/** A clock that is kept by NTP is within a fraction of this. */
const ODD = 5000;

/** `url`: an address that may be asked without anything secret. Nothing is said where the answer has no usable date. */
export async function examineClock(
  url: string,
  settings: ProviderSettings,
  { wallClock, signal }: { readonly wallClock: () => number; readonly signal: AbortSignal },
): Promise<Finding | undefined> {
  const http = createHttpClient(settings.http, settings);
  try {
    const asked = wallClock();
    const { headers } = await http.send(
      { method: 'GET', url, headers: { accept: 'application/json' } },
      signal,
    );
    const answered = wallClock();
    // A cache's answer has the date at which it was made (RFC 9111 section 4.2.3).
    const age = Number(headers.age ?? 0) * 1000;
    const theirs = Date.parse(String(headers.date)) + age + 500;
    if (Number.isNaN(theirs)) return undefined;
    return judge((asked + answered) / 2 - theirs, answered - asked, settings);
  } catch {
    // Whoever asks the same address for what it is there for says why.
    return undefined;
  } finally {
    http.close();
  }
}

function judge(ahead: number, took: number, { clock_skew }: ProviderSettings): Finding {
  const off = Math.abs(ahead);
  const seconds = Math.round(off / 1000);
  if (off <= Math.max(ODD, UNSURE + took)) return ok('clock', "agrees with the provider's");
  const found = `is ${seconds} s ${ahead > 0 ? 'ahead of' : 'behind'} the provider's`;
  const line = 'timedatectl set-ntp true';
  return off > clock_skew
    ? fault('clock', `${found}, more than clock_skew (${clock_skew / 1000} s)`, {
        why:
          ahead > 0
            ? 'tokens count as expired before they are'
            : 'new tokens are not valid yet for us, and old ones too long',
        line,
      })
    : warning('clock', found, { why: 'beyond clock_skew good tokens are refused', line });
}
