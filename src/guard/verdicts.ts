// What the provider has said of logins, kept so that it is not asked the same again: in this process, and in the state that
// workers share.
import { LRUCache } from 'lru-cache';
import { fits, type State } from '../state/state.ts';
import type { Accepted, Cached, Credentials, Verdict } from '../verdict.ts';
import { createDigest, createOwnDigest, type Digest } from './digest.ts';
import { verdictsOf } from './forgotten.ts';
import { createKeeping, type Known, type Lifetimes } from './known.ts';
import { seal, unseal } from './seal.ts';

export interface VerdictsOptions extends Lifetimes {
  /** Of each kind, in this process. */
  readonly maxEntries: number;
  /** Where others can read along. `undefined` where there are none. */
  readonly shared: State | undefined;
  /** Milliseconds of the wall clock. */
  readonly wallClock: () => number;
}

export interface Verdicts {
  /** What can be known without waiting, if it is still good. */
  find(login: Login): Verdict | undefined;
  /** What anybody knows, if it is still good. */
  findShared(login: Login): Promise<Verdict | undefined>;
  /** What was good the last time, for want of anything newer. */
  findGrace(login: Login): Promise<Accepted | undefined>;
  /** Keeps what is definite. Whether it did. */
  keep(login: Login, verdict: Verdict): boolean;
  forget(): void;
}

/** One login as it is looked up. */
export interface Login {
  readonly credentials: Credentials;
  /** What the verdict depends on besides: the settings of the virtual host. */
  readonly settings: () => string;
}

export function createVerdicts(options: VerdictsOptions): Verdicts {
  const { maxEntries, shared, wallClock } = options;
  const keeping = createKeeping(options);
  // Apart: strangers' refusals must not push out what is good.
  const accepted = new LRUCache<string, Known>(room(maxEntries));
  const refused = new LRUCache<string, Known>(room(maxEntries));
  const ownDigest = createOwnDigest();
  let sharedKey: Buffer | undefined;
  let sharedDigest: Digest = ownDigest;

  /** Of whom the last name was made: a login is looked up several times. */
  let last: { digest: Digest; host: string; localpart: string | undefined; prefix: string } | undefined;

  function sharedName(login: Login, digest: Digest): string {
    const { host, localpart } = login.credentials;
    if (last?.digest !== digest || last.host !== host || last.localpart !== localpart)
      last = { digest, host, localpart, prefix: verdictsOf(digest, host, localpart) };
    return last.prefix + nameOf(login, digest);
  }

  const ownName = (login: Login): string => nameOf(login, ownDigest);

  /** With the key that the state has now: a store that was away at the start brings its own. */
  function digestOf({ key }: State): Digest {
    if (sharedKey !== key) {
      sharedKey = key;
      sharedDigest = createDigest(key);
    }
    return sharedDigest;
  }

  /** Where the verdict lies in the store, and what what lies there says. */
  function placeOf(
    login: Login,
    store: State,
  ): { name: string; open(sealed: string | undefined): Known | undefined } {
    const digest = digestOf(store);
    const name = sharedName(login, digest);
    return {
      name,
      open(sealed) {
        const known = sealed === undefined ? undefined : unseal(sealed, name, digest);
        // What we have been told ourselves since may not have come to the store.
        const no = refused.peek(ownName(login));
        return known !== undefined && no !== undefined && no.graceUntil >= known.graceUntil ? no : known;
      },
    };
  }

  async function lookUp(login: Login): Promise<Known | undefined> {
    if (shared === undefined || keeping.keepsNothing) return undefined;
    const { name, open } = placeOf(login, shared);
    return open(await shared.get(name));
  }

  /** The same, of a store that nobody has to wait for. */
  function peek(login: Login): Known | undefined {
    if (shared?.peek === undefined || keeping.keepsNothing) return undefined;
    const { name, open } = placeOf(login, shared);
    return open(shared.peek(name));
  }

  function learned(login: Login, known: Known | undefined): Verdict | undefined {
    if (known === undefined) return undefined;
    // Also when its time is over: for how long it was kept counts if the next is the same again.
    remember(ownName(login), known);
    return keeping.isGood(known, wallClock()) ? told(known, login, 'hit') : undefined;
  }

  function remember(name: string, known: Known): void {
    const [keep, drop] = known.verdict.outcome === 'accepted' ? [accepted, refused] : [refused, accepted];
    keep.set(name, known);
    drop.delete(name);
  }

  return {
    find(login) {
      if (accepted.size + refused.size > 0) {
        const name = ownName(login);
        const known = accepted.get(name) ?? refused.get(name);
        if (known !== undefined && keeping.isGood(known, wallClock())) return told(known, login, 'hit');
      }
      return learned(login, peek(login));
    },
    findShared: async (login) => learned(login, await lookUp(login)),
    async findGrace(login) {
      if (options.grace === 0) return undefined;
      // Others may know better by now: that the provider has refused it since.
      const known = (await lookUp(login)) ?? accepted.peek(ownName(login));
      if (known === undefined || !keeping.isGrace(known, wallClock())) return undefined;
      return told(known, login, 'grace') as Accepted;
    },
    keep(login, verdict) {
      // What is not kept needs no name.
      if (keeping.keep(verdict, undefined, wallClock()) === undefined) return false;
      const own = ownName(login);
      const known = keeping.keep(verdict, refused.peek(own), wallClock());
      if (known === undefined) return false;
      remember(own, known);
      if (shared !== undefined) {
        const digest = digestOf(shared);
        const name = sharedName(login, digest);
        const sealed = seal(known, name, digest);
        // Nobody waits for it.
        if (fits(sealed)) void shared.set(name, sealed, keeping.end(known) - wallClock());
      }
      return true;
    },
    forget() {
      accepted.clear();
      refused.clear();
    },
  };
}

/** By size, each of 1: with a number of entries, lru-cache makes room for all of them at once, which takes milliseconds. */
function room(entries: number): { maxSize: number; sizeCalculation: () => number } {
  return { maxSize: entries, sizeCalculation: () => 1 };
}

function nameOf({ credentials, settings }: Login, digest: Digest): string {
  const { host, localpart, authcid, secret, isBearer } = credentials;
  const how = isBearer ? 'bearer' : 'plain';
  return digest('verdict', settings(), how, host, localpart, authcid, secret.reveal());
}

function told({ verdict }: Known, { credentials }: Login, cache: Cached): Verdict {
  if (verdict.outcome === 'refused')
    return { ...verdict, cache, detail: 'the provider said so before (cache.negative_ttl)' };
  const { outcome, method } = verdict;
  const { localpart = verdict.localpart } = credentials;
  return { outcome, method, localpart, cache };
}
