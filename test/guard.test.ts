// Whom the guard asks, and whom it need not: verdicts that are remembered, wrong passwords that are counted, logins that
// share one request. The judge behind it, the clock and the store are the test's.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Judge } from '../src/auth/authenticate.ts';
import { createBudget } from '../src/guard/budget.ts';
import { createDigest } from '../src/guard/digest.ts';
import { createFlights } from '../src/guard/flights.ts';
import { createGuard } from '../src/guard/guard.ts';
import { createRemembered } from '../src/guard/remembered.ts';
import { createTurns } from '../src/guard/turns.ts';
import { createVerdicts } from '../src/guard/verdicts.ts';
import { ProviderError } from '../src/oauth/errors.ts';
import { createMemoryState } from '../src/state/memory.ts';
import type { State } from '../src/state/state.ts';
import {
  type Accepted,
  type Credentials,
  type Deadline,
  type RefusedReason,
  refused,
  Secret,
  type UnavailableReason,
  type Verdict,
} from '../src/verdict.ts';

const MINUTE = 60_000;
const START = 1_800_000_000_000;

interface World {
  /** Milliseconds since the start, on both clocks. */
  time: number;
  /** What the provider says, and to whom it has said anything. */
  provider: (credentials: Credentials, signal: Deadline) => Verdict | Promise<Verdict>;
  readonly asked: string[];
  readonly state: State;
}

interface Settings {
  readonly token_ttl?: number;
  readonly password_ttl?: number;
  readonly negative_ttl?: number;
  readonly grace?: number;
  readonly limit?: { count: number; window: number } | undefined;
  readonly maxEntries?: number;
  readonly random?: number;
  /** Stands for the settings of the virtual host. */
  readonly settings?: string;
  readonly isShared?: boolean;
}

function createWorld(provider: World['provider'] = () => refusal()): World {
  const world: World = {
    time: 0,
    provider,
    asked: [],
    state: createMemoryState({ now: () => world.time, maxEntries: 100_000 }),
  };
  return world;
}

/** A worker: a guard with nothing in it, in a world with others. */
function worker(world: World, options: Settings = {}) {
  const {
    token_ttl = MINUTE,
    password_ttl = 0,
    negative_ttl = 5 * MINUTE,
    grace = 0,
    maxEntries = 10_000,
  } = options;
  const { limit = { count: 5, window: 15 * MINUTE }, random = 0, settings = 's', isShared = true } = options;
  const wallClock = (): number => START + world.time;
  const state = isShared ? world.state : createMemoryState({ now: () => world.time, maxEntries: 100_000 });
  const judge: Judge = {
    accountOf: ({ authcid, secret }) => (secret.reveal().startsWith('token') ? undefined : authcid),
    atOnce: () => undefined,
    async authenticate(credentials, signal) {
      world.asked.push(`${credentials.authcid}:${credentials.secret.reveal()}`);
      return world.provider(credentials, signal);
    },
  };
  const budget = createBudget({ limit: 'limit' in options ? options.limit : limit, state });
  const guard = createGuard({
    judge,
    settings: () => settings,
    remembered: createRemembered({ keepFor: token_ttl, maxEntries }),
    verdicts: createVerdicts({
      ttl: { token: token_ttl, password: password_ttl, refused: negative_ttl },
      grace,
      maxEntries,
      shared: isShared ? state : undefined,
      wallClock,
      random: () => random,
    }),
    budget,
    turns: createTurns({
      shared: isShared ? { state, nameOf: budget.nameOf } : undefined,
      now: () => performance.now(),
    }),

    flights: createFlights(),
    wallClock,
    now: () => performance.now(),
  });
  return async (user: string, secret: string, more: Partial<Credentials> = {}): Promise<string> => {
    const credentials = {
      localpart: user,
      authcid: user,
      host: 'chat.example',
      secret: new Secret(secret),
      isBearer: false,
      ...more,
    };
    const signal = Object.assign(new AbortController().signal, { deadlineAt: performance.now() + 4000 });
    try {
      const verdict = guard.atOnce(credentials) ?? (await guard.authenticate(credentials, signal));
      const cache = 'cache' in verdict ? ` ${verdict.cache}` : '';
      return (verdict.outcome === 'accepted' ? verdict.localpart : verdict.reason) + cache;
    } catch (error) {
      return error instanceof ProviderError ? error.reason : String(error);
    }
  };
}

const refusal = (
  reason: RefusedReason = 'not_authorized',
  method: 'password' | 'introspection' = 'password',
): Verdict => ({
  ...refused(reason),
  method,
});
const acceptance = (localpart: string, method: Accepted['method'] = 'password', until?: number): Verdict => ({
  outcome: 'accepted',
  method,
  localpart,
  ...(until === undefined ? {} : { until }),
});
const away = (reason: UnavailableReason): never => {
  throw new ProviderError(reason, 'away');
};

describe('a refused password', () => {
  it('that a phone repeats all day reaches the provider after 5 minutes, 10, 20, 40, and once an hour', async () => {
    for (const workers of [1, 8]) {
      const world = createWorld();
      const pool = Array.from({ length: workers }, () => worker(world, { random: 1 }));
      for (let n = 0; n < 10_000; n++) {
        world.time = (n * 86_400_000) / 10_000;
        const answer = await pool[n % workers]?.('alice', 'old');
        assert.match(String(answer), /^not_authorized/);
      }
      assert.ok(world.asked.length <= 30 && world.asked.length >= 27, `${workers}: ${world.asked.length}`);
      world.provider = () => acceptance('alice');
      assert.equal(await pool[0]?.('alice', 'new'), 'alice', 'the new one works at once');
    }
  });

  it('is kept for longer each time that it is refused again, as whichever worker saw it', async () => {
    const world = createWorld();
    const pool = Array.from({ length: 3 }, () => worker(world));
    const times: number[] = [];
    for (let minute = 0; minute < 400; minute++) {
      world.time = minute * MINUTE;
      world.asked.length = 0;
      await pool[minute % 3]?.('alice', 'old');
      if (world.asked.length > 0) times.push(minute);
    }
    assert.deepEqual(times, [0, 5, 15, 35, 75, 135, 195, 255, 315, 375]);
    world.time += 48 * 60 * MINUTE;
    await pool[0]?.('alice', 'old');
    world.asked.length = 0;
    world.time += 5 * MINUTE;
    await pool[0]?.('alice', 'old');
    assert.equal(world.asked.length, 1, 'after two days it begins anew');
  });

  const longs: [RefusedReason, number][] = [
    ['not_authorized', 5 * MINUTE],
    ['account_disabled', 5 * MINUTE],
    ['token_inactive', 5 * MINUTE],
    ['user_mismatch', 5 * MINUTE],
    ['aud_mismatch', 5 * MINUTE],
    // Put right by the user, or by an administrator, while the secret stays the same.
    ['account_incomplete', 30_000],
    ['rule_failed', 30_000],
    ['scope_missing', 30_000],
    ['email_not_verified', 30_000],
    ['kid_unknown', 0],
    ['not_yet_valid', 0],
  ];
  for (const [reason, lifetime] of longs) {
    it(`for ${reason} is refused without asking for ${lifetime / 1000} s`, async () => {
      const world = createWorld(() => refusal(reason, 'introspection'));
      const [ask, other] = [worker(world), worker(world)];
      assert.equal(await ask('alice', 'token'), lifetime === 0 ? reason : `${reason} miss`);
      world.time = lifetime - 1;
      for (const each of [ask, other]) {
        if (lifetime > 0) assert.equal(await each('alice', 'token'), `${reason} hit`);
      }
      world.time = lifetime;
      world.asked.length = 0;
      await ask('alice', 'token');
      assert.equal(world.asked.length, 1);
    });
  }

  it('is none of another user, host, way in, name that was typed, or settings', async () => {
    const world = createWorld(() => refusal('token_inactive', 'introspection'));
    const ask = worker(world);
    await ask('alice', 'token');
    world.asked.length = 0;
    await ask('bob', 'token');
    await ask('alice', 'token', { host: 'other.example' });
    await ask('alice', 'token', { isBearer: true });
    await ask('alice', 'token', { authcid: 'alice@example' });
    await ask('alice', 'token', { localpart: undefined });
    await worker(world, { settings: 'changed' })('alice', 'token');
    assert.equal(world.asked.length, 6);
  });

  it('is not kept when nobody could say yes or no', async () => {
    for (const reason of ['provider_timeout', 'provider_error', 'provider_busy', 'client_refused'] as const) {
      const world = createWorld(() => away(reason));
      const ask = worker(world);
      assert.equal(await ask('alice', 'token'), reason);
      world.provider = () => acceptance('alice', 'userinfo');
      assert.equal(await ask('alice', 'token'), 'alice miss');
    }
  });

  it('ends sooner than negative_ttl, each a little', async () => {
    const world = createWorld(() => refusal('token_inactive', 'introspection'));
    const ask = worker(world, { random: 1 });
    await ask('alice', 'token');
    world.time = 5 * MINUTE * 0.95 - 1;
    assert.equal(await ask('alice', 'token'), 'token_inactive hit');
    world.time += 1;
    assert.equal(await ask('alice', 'token'), 'token_inactive miss');
  });
});

describe('an accepted login', () => {
  it('by token is good for token_ttl, in every worker, and asked for again after that', async () => {
    const world = createWorld(() => acceptance('alice', 'introspection'));
    const [ask, other] = [worker(world), worker(world)];
    assert.equal(await ask('alice', 'token'), 'alice miss');
    world.time = MINUTE - 1;
    assert.equal(await ask('alice', 'token'), 'alice hit');
    assert.equal(await other('alice', 'token'), 'alice hit');
    world.time = MINUTE;
    world.provider = () => refusal('token_inactive', 'introspection');
    assert.equal(await other('alice', 'token'), 'token_inactive miss', 'taken back in the meantime');
    assert.equal(await ask('alice', 'token'), 'token_inactive hit');
  });

  it('by token is not good beyond its end', async () => {
    const world = createWorld(() => acceptance('alice', 'introspection', START + 10_000));
    const [ask, other] = [worker(world), worker(world)];
    await ask('alice', 'token');
    world.time = 9999;
    assert.equal(await ask('alice', 'token'), 'alice hit');
    world.time = 10_000;
    world.provider = () => refusal('token_inactive', 'introspection');
    assert.equal(await other('alice', 'token'), 'token_inactive miss');
  });

  it('by password is asked for each time, unless password_ttl says otherwise', async () => {
    const world = createWorld(({ authcid }) => acceptance(authcid));
    const [ask, lasting] = [worker(world), worker(world, { password_ttl: 10_000 })];
    for (let n = 0; n < 3; n++) assert.equal(await ask('alice', 'right'), 'alice');
    assert.equal(world.asked.length, 3);
    assert.equal(await lasting('alice', 'right'), 'alice miss');
    world.time = 9999;
    assert.equal(await lasting('alice', 'right'), 'alice hit');
    world.time = 10_000;
    world.provider = () => refusal();
    assert.equal(await lasting('alice', 'right'), 'not_authorized miss', 'changed in the meantime');
  });

  it('for nobody in particular says who it is, and is for nobody else', async () => {
    const world = createWorld(() => acceptance('alice', 'introspection'));
    const [ask, other] = [worker(world), worker(world)];
    const nobody = { localpart: undefined };
    assert.equal(await ask('al', 'token', nobody), 'alice miss');
    assert.equal(await ask('al', 'token', nobody), 'alice hit');
    assert.equal(await other('al', 'token', nobody), 'alice hit');
    world.provider = () => refusal('user_mismatch', 'introspection');
    assert.equal(await ask('al', 'token'), 'user_mismatch miss');
  });

  it('is not good when the clock has been put back', async () => {
    const world = createWorld(() => acceptance('alice', 'introspection'));
    const ask = worker(world);
    await ask('alice', 'token');
    world.time = -3_600_000;
    assert.equal(await ask('alice', 'token'), 'alice miss');
  });

  it('is not good for longer than any other because something else is', async () => {
    const world = createWorld(() => acceptance('alice', 'introspection'));
    world.time = 10 * 60 * MINUTE;
    const ask = worker(world, { grace: 24 * 60 * MINUTE });
    await ask('alice', 'token');
    assert.equal(
      await worker(world, { token_ttl: 0 })('alice', 'token'),
      'alice',
      'not where it is not kept',
    );
    world.time = 0;
    world.provider = () => refusal('token_inactive', 'introspection');
    assert.equal(await ask('alice', 'token'), 'token_inactive miss', 'the clock has been put back');
  });

  it('is asked for once by all who log in at the same time', async () => {
    let answer = (_: Verdict): void => {};
    const world = createWorld(
      () =>
        new Promise<Verdict>((resolve) => {
          answer = resolve;
        }),
    );
    for (const secret of ['token', 'password']) {
      world.asked.length = 0;
      const ask = worker(world);
      const logins = Array.from({ length: 50 }, () => ask('alice', secret));
      await sleep(20);
      answer(acceptance('alice'));
      assert.deepEqual([...new Set(await Promise.all(logins))], ['alice']);
      assert.equal(world.asked.length, 1);
    }
  });
});

describe('wrong passwords', () => {
  const wrong = (n: number): string => `wrong-${n}`;

  it('are refused here when there have been too many different ones, and tokens are not', async () => {
    const world = createWorld(({ secret }) =>
      secret.reveal() === 'right'
        ? acceptance('alice')
        : secret.reveal() === 'token'
          ? acceptance('alice', 'userinfo')
          : refusal(),
    );
    const pool = Array.from({ length: 3 }, () => worker(world));
    const ask = (n: number, secret: string): Promise<string> =>
      pool[n % 3]?.('alice', secret) as Promise<string>;
    for (let n = 0; n < 5; n++) assert.equal(await ask(n, wrong(n)), 'not_authorized miss');
    for (let n = 5; n < 50; n++) assert.equal(await ask(n, wrong(n)), 'budget_exhausted');
    assert.equal(world.asked.length, 5);
    assert.equal(await ask(1, wrong(3)), 'not_authorized hit', 'what is known is told as what it is');
    assert.equal(await ask(0, 'right'), 'budget_exhausted');
    assert.equal(await ask(0, 'token'), 'alice miss');
    assert.equal(await pool[0]?.('bob', wrong(1)), 'not_authorized miss', 'others have their own');
    const other = { host: 'other.example' };
    assert.equal(await pool[0]?.('alice', wrong(1), other), 'not_authorized miss', 'counted before');
    assert.equal(
      await pool[0]?.('alice', 'new', other),
      'budget_exhausted',
      'one account, two virtual hosts',
    );
    world.time = 15 * MINUTE;
    assert.equal(await ask(2, 'right'), 'alice', 'never a lock for good');
  });

  it('cost nothing the second time, also when they are asked for again', async () => {
    const world = createWorld();
    const [ask, other] = [worker(world), worker(world)];
    for (let minute = 0; minute < 15; minute += 3) {
      world.time = minute * MINUTE;
      await ask('alice', 'old');
    }
    for (let n = 0; n < 4; n++) assert.equal(await other('alice', wrong(n)), 'not_authorized miss');
    assert.equal(await ask('alice', wrong(4)), 'budget_exhausted');
    world.time = 14.9 * MINUTE;
    assert.match(await ask('alice', 'old'), /^not_authorized/, 'one that was counted may be asked for');
  });

  it('are not tried for who has run out of time', async () => {
    const flights = createFlights();
    const signal = Object.assign(AbortSignal.abort(new Error('deadline')), { deadlineAt: 0 });
    let asked = 0;
    const ask = async (): Promise<Verdict> => {
      asked++;
      return refusal();
    };
    await assert.rejects(flights.share('alice', signal, ask), /deadline/);
    await sleep(1);
    assert.equal(asked, 0);
  });

  it('cannot be tried many at a time', async () => {
    const world = createWorld(async () => {
      await sleep(5);
      return refusal();
    });
    const pool = Array.from({ length: 4 }, () => worker(world));
    const answers = await Promise.all(Array.from({ length: 40 }, (_, n) => pool[n % 4]?.('alice', wrong(n))));
    assert.equal(world.asked.length, 5);
    assert.equal(answers.filter((each) => each === 'budget_exhausted').length, 35);
  });

  it('cannot be tried many at a time either where the provider takes its time', async () => {
    const world = createWorld(async () => {
      await sleep(900);
      return refusal();
    });
    const pool = Array.from({ length: 2 }, () => worker(world));
    for (const round of [1, 2]) {
      await Promise.all(Array.from({ length: 40 }, (_, n) => pool[n % 2]?.('alice', wrong(n))));
      // Five, and the one whose turn it was when the others stopped waiting for theirs.
      assert.ok(world.asked.length <= 6, `round ${round}: ${world.asked.length}`);
    }
  });

  it('are tried one at a time, and different users do not wait for each other', async () => {
    const now = new Map<string, number>();
    let most = 0;
    let users = 0;
    const world = createWorld(async ({ authcid }) => {
      now.set(authcid, (now.get(authcid) ?? 0) + 1);
      most = Math.max(most, now.get(authcid) ?? 0);
      users = Math.max(users, [...now.values()].filter((count) => count > 0).length);
      await sleep(20);
      now.set(authcid, (now.get(authcid) ?? 0) - 1);
      return acceptance(authcid);
    });
    const pool = Array.from({ length: 4 }, () => worker(world));
    const startedAt = performance.now();
    await Promise.all(Array.from({ length: 24 }, (_, n) => pool[n % 4]?.(`user${n % 6}`, `password ${n}`)));
    assert.equal(most, 1);
    assert.equal(users, 6);
    assert.ok(performance.now() - startedAt < 1000);
  });

  const counted: [title: string, answer: () => Verdict, costs: boolean][] = [
    ['that the provider refuses', () => refusal(), true],
    ['of an account that is locked', () => refusal('account_disabled'), true],
    ['that was sent and not answered', () => away('provider_timeout'), true],
    ['at which the provider broke', () => away('provider_error'), true],
    ['that was not sent', () => away('provider_unreachable'), false],
    ['while the endpoint is paused', () => away('provider_paused'), false],
    ['that is right', () => acceptance('alice'), false],
    ['for an account that is not finished', () => refusal('account_incomplete'), true],
    ['that is right, of somebody who may not chat', () => refusal('rule_failed'), false],
  ];
  for (const [title, answer, costs] of counted) {
    it(`one ${title} is ${costs ? '' : 'not '}counted`, async () => {
      const world = createWorld(answer);
      const ask = worker(world);
      for (let n = 0; n < 5; n++) await ask('alice', wrong(n));
      world.provider = () => refusal();
      assert.equal(await ask('alice', 'another'), costs ? 'budget_exhausted' : 'not_authorized miss');
    });
  }

  it('are all tried with limits.wrong_passwords: none', async () => {
    const world = createWorld();
    const ask = worker(world, { limit: undefined });
    for (let n = 0; n < 30; n++) await ask('alice', wrong(n));
    assert.equal(world.asked.length, 30);
  });

  it('wait for a worker that died in the middle, and not for ever', async () => {
    const world = createWorld();
    const state = world.state;
    const budget = createBudget({ limit: undefined, state });
    await state.set(`turn:${budget.nameOf('alice')}`, '1', 60_000);
    const startedAt = performance.now();
    assert.equal(await worker(world)('alice', 'wrong'), 'not_authorized miss');
    const took = performance.now() - startedAt;
    assert.ok(took > 1500 && took < 3000, `${took}`);
  });
});

describe('while the provider is away', () => {
  const GRACE = 10 * MINUTE;

  it('who was let in before goes on, for unavailable_grace and not beyond the end of the token', async () => {
    for (const reason of [
      'provider_unreachable',
      'provider_timeout',
      'provider_error',
      'provider_paused',
    ] as const) {
      const world = createWorld(({ authcid }) => acceptance(authcid, 'introspection', START + 5 * MINUTE));
      const ask = worker(world, { grace: GRACE });
      const other = worker(world, { grace: GRACE });
      await ask('alice', 'token');
      world.provider = () => away(reason);
      world.time = 4.9 * MINUTE;
      assert.equal(await ask('alice', 'token'), 'alice grace');
      assert.equal(await other('alice', 'token'), 'alice grace', 'also where another worker has seen it');
      assert.equal(await ask('alice', 'token2'), reason);
      assert.equal(await ask('bob', 'token'), reason);
      world.time = 5 * MINUTE;
      assert.equal(await ask('alice', 'token'), reason);
    }
  });

  it('a password goes on for unavailable_grace and no longer', async () => {
    const world = createWorld(({ authcid }) => acceptance(authcid));
    const ask = worker(world, { grace: GRACE });
    await ask('alice', 'right');
    assert.equal(await ask('alice', 'right'), 'alice miss', 'the provider is asked while it is there');
    world.provider = () => away('provider_unreachable');
    world.time = GRACE - 1;
    assert.equal(await ask('alice', 'right'), 'alice grace');
    world.time = GRACE;
    assert.equal(await ask('alice', 'right'), 'provider_unreachable');
  });

  it('who has been refused since stays out, whichever worker was told', async () => {
    const world = createWorld(({ authcid }) => acceptance(authcid, 'introspection'));
    const [ask, other] = [worker(world, { grace: GRACE }), worker(world, { grace: GRACE })];
    await ask('alice', 'token');
    await other('alice', 'token');
    world.time = 2 * MINUTE;
    world.provider = () => refusal('token_inactive', 'introspection');
    await other('alice', 'token');
    world.provider = () => away('provider_timeout');
    world.time = 8 * MINUTE;
    for (const each of [ask, other]) assert.equal(await each('alice', 'token'), 'provider_timeout');
  });

  it('who has been refused since stays out also where the store was away', async () => {
    const world = createWorld(({ authcid }) => acceptance(authcid, 'introspection'));
    const ask = worker(world, { grace: GRACE });
    await ask('alice', 'token');
    world.time = 2 * MINUTE;
    const { set } = world.state;
    world.state.set = () => {};
    world.provider = () => refusal('token_inactive', 'introspection');
    await ask('alice', 'token');
    world.state.set = set;
    world.time = 8 * MINUTE;
    world.provider = () => away('provider_timeout');
    assert.equal(await ask('alice', 'token'), 'provider_timeout');
  });

  it('who has been refused since stays out also without negative_ttl', async () => {
    const world = createWorld(({ authcid }) => acceptance(authcid, 'introspection'));
    const settings = { grace: GRACE, negative_ttl: 0 };
    const [ask, other] = [worker(world, settings), worker(world, settings)];
    await ask('alice', 'token');
    world.time = 2 * MINUTE;
    world.provider = () => refusal('token_inactive', 'introspection');
    for (let n = 0; n < 2; n++) assert.match(await ask('alice', 'token'), /^token_inactive/);
    assert.equal(world.asked.length, 3, 'asked again each time');
    world.provider = () => away('provider_timeout');
    for (const each of [ask, other]) assert.equal(await each('alice', 'token'), 'provider_timeout');
  });

  it('nobody goes on by default, or where it is we whom the provider refuses', async () => {
    for (const [grace, reason] of [
      [0, 'provider_unreachable'],
      [GRACE, 'client_refused'],
      [GRACE, 'not_configured'],
    ] as const) {
      const world = createWorld(({ authcid }) => acceptance(authcid, 'introspection'));
      const ask = worker(world, { grace });
      await ask('alice', 'token');
      world.time = 2 * MINUTE;
      world.provider = () => away(reason);
      assert.equal(await ask('alice', 'token'), reason);
    }
  });

  it('a provider that does not answer is not waited for beyond the deadline', async () => {
    const world = createWorld(({ authcid }) => acceptance(authcid, 'introspection'));
    const ask = worker(world, { grace: GRACE });
    await ask('alice', 'token');
    world.time = 2 * MINUTE;
    world.provider = () => new Promise(() => {});
    const startedAt = performance.now();
    assert.equal(await ask('alice', 'token'), 'alice grace');
    assert.ok(performance.now() - startedAt < 4000);
  });
});

describe('what workers share', () => {
  async function everything(state: State): Promise<string> {
    return JSON.stringify([...(await state.list(''))]);
  }

  it('holds no secret and no name, only what keyed digests of them are called', async () => {
    const world = createWorld(({ secret, authcid }) =>
      secret.reveal().includes('good') ? acceptance(authcid, 'introspection') : refusal(),
    );
    const ask = worker(world, { password_ttl: MINUTE });
    await ask('alice', 'token-good-canary');
    await ask('alice', 'wrong-canary');
    const text = await everything(world.state);
    assert.ok(text.length > 200);
    assert.doesNotMatch(text, /canary|chat\.example/);
    assert.doesNotMatch(text, new RegExp(Buffer.from('canary').toString('base64').slice(0, 7)));
  });

  it('cannot be used to make a verdict of another one', async () => {
    const world = createWorld(({ secret, authcid }) =>
      secret.reveal() === 'token-mallory'
        ? acceptance(authcid, 'introspection')
        : refusal('user_mismatch', 'introspection'),
    );
    await worker(world)('mallory', 'token-mallory');
    const [[good, sealed] = ['', '']] = [...(await world.state.list('v:'))];
    await worker(world)('alice', 'token-wrong');
    const [bad = '', refusedText = ''] =
      [...(await world.state.list('v:'))].find(([name]) => name !== good) ?? [];
    const forgeries = [
      sealed,
      sealed.replace('mallory', 'alice'),
      refusedText.replace('refused', 'accepted').replace('user_mismatch', 'alice'),
      sealed.slice(0, 43) + refusedText.slice(43).replace('refused', 'accepted'),
      refusedText.slice(0, 43) + sealed.slice(43),
      sealed.slice(43),
      '',
      '{"outcome":"accepted"}',
      'x'.repeat(10_000),
    ];
    for (const forgery of forgeries) {
      await world.state.set(bad, forgery, MINUTE);
      assert.equal(await worker(world)('alice', 'token-wrong'), 'user_mismatch miss', forgery.slice(0, 100));
    }
    // An older yes in the place of a newer no is good for as long as it always was.
    world.time = 2 * MINUTE;
    await world.state.set(good, sealed, MINUTE);
    world.provider = () => refusal('token_inactive', 'introspection');
    assert.equal(await worker(world)('mallory', 'token-mallory'), 'token_inactive miss');
  });

  it('is of no use to who has another key', async () => {
    const world = createWorld(() => acceptance('alice', 'introspection'));
    await worker(world)('alice', 'token');
    const stranger: World = { ...world, asked: [], state: { ...world.state, key: Buffer.alloc(32, 1) } };
    assert.equal(await worker(stranger)('alice', 'token'), 'alice miss');
    assert.equal(stranger.asked.length, 1);
  });
});

describe('a keyed digest', () => {
  it('is HMAC-SHA-256 of the parts, each with its length', () => {
    const { createHmac, randomBytes } = process.getBuiltinModule('node:crypto');
    for (const key of [randomBytes(32), Buffer.alloc(64, 7), Buffer.from('k')]) {
      const digest = createDigest(key);
      const hmac = (text: string): string => createHmac('sha256', key).update(text).digest('base64url');
      assert.equal(digest('a', 'bc'), hmac('1:a2:bc'));
      assert.equal(digest('ü€😀'), hmac('4:ü€😀'));
      assert.equal(digest(), hmac(''));
      assert.equal(digest('', undefined), hmac('0:-'));
      const long = 'ü'.repeat(65_535);
      assert.equal(digest(long, 'x'), hmac(`65535:${long}1:x`));
      assert.equal(digest('a', 'bc'), hmac('1:a2:bc'), 'nothing is left of the one before');
    }
  });

  it('differs where the parts do', () => {
    const digest = createDigest(Buffer.alloc(32, 1));
    const lists = [
      ['ab', 'c'],
      ['a', 'bc'],
      ['abc'],
      ['abc', ''],
      ['abc', undefined],
      ['', 'abc'],
      ['1:a', 'bc'],
    ];
    assert.equal(new Set(lists.map((parts) => digest(...parts))).size, lists.length);
  });
});

describe('memory', () => {
  it('holds no more than max_entries of each kind, whatever strangers try', async () => {
    const world = createWorld(({ secret, authcid }) =>
      secret.reveal() === 'token-good' ? acceptance(authcid, 'introspection') : refusal(),
    );
    const ask = worker(world, { maxEntries: 100, isShared: false });
    await ask('alice', 'token-good');
    for (let n = 0; n < 2000; n++) await ask(`stranger${n}`, `wrong ${n}`);
    assert.equal(await ask('alice', 'token-good'), 'alice hit', 'refusals do not push out what is good');
    world.asked.length = 0;
    for (let n = 0; n < 2000; n++) await ask(`stranger${n}`, `wrong ${n}`);
    assert.ok(world.asked.length >= 1900);
  });
});
