// A localpart and two who have a claim to it, at a real OpenID provider: what every store must make of that, as tests that
// any of them can be put through.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { after, before, it } from 'node:test';
import { program, writeConfig } from './bridge.ts';
import { startPool } from './pool.ts';
import { jwtAudience, startProvider, type TestProvider } from './provider.ts';
import { startScripted } from './scripted-provider.ts';
import { createSigner } from './signer.ts';

export const HOST = 'chat.example';
/** Within which every process has heard of what an administrator did. */
export const HEARD_WITHIN = 8000;

/** The program with a state. */
export interface World {
  /** From now on with this configuration: after a restart, where the state outlives one. */
  use(config: object): Promise<void>;
  ask(request: string): Promise<number>;
  /** Of the last configuration. */
  log(): Record<string, unknown>[];
  /** `users unpin`, or what else makes the name nobody's. */
  unpin(localpart: string): Promise<void>;
  stop(): Promise<void>;
}

type Method = 'password' | 'userinfo' | 'introspection' | 'jwt';
const METHODS: readonly Method[] = ['jwt', 'introspection', 'userinfo', 'password'];

interface Claimant {
  readonly at: 'ours' | 'other';
  /** The name and the sub at the provider. */
  readonly name: string;
  readonly sub: string;
}

interface Contest {
  readonly title: string;
  readonly localpart: string;
  readonly first: Claimant;
  readonly second: Claimant;
  /** Where the second one has a password that could be tried: the provider is sent the localpart, to the letter. */
  readonly methods: readonly Method[];
}

const contests: readonly Contest[] = [
  {
    title: 'a name that was given to somebody else',
    localpart: 'alice',
    first: { at: 'ours', name: 'alice', sub: 'a1' },
    second: { at: 'ours', name: 'alice', sub: 'a2' },
    methods: METHODS,
  },
  {
    title: 'two accounts that fold to one localpart',
    localpart: 'carol',
    first: { at: 'ours', name: 'carol', sub: 'c1' },
    second: { at: 'ours', name: 'Carol', sub: 'c2' },
    methods: ['jwt', 'introspection', 'userinfo'],
  },
  {
    title: 'a second provider with the same names, and even the same sub',
    localpart: 'bob',
    first: { at: 'ours', name: 'bob', sub: 'b1' },
    second: { at: 'other', name: 'bob', sub: 'b1' },
    methods: METHODS,
  },
];

export function pinContract(open: () => Promise<World>): void {
  let world: World;
  let providers: Record<Claimant['at'], TestProvider>;
  before(async () => {
    const users = {
      alice: 'alice-password',
      bob: 'bob-password',
      carol: 'carol-password',
      Carol: 'of-Carol',
    };
    providers = { ours: await startProvider({ users }), other: await startProvider({ users }) };
    world = await open();
  });
  after(async () => {
    await world?.stop();
    await Promise.all(Object.values(providers ?? {}).map((each) => each.stop()));
  });

  function configOf(at: Claimant['at'], method: Method): object {
    const { issuer, clientId, clientSecret } = providers[at];
    return {
      issuer,
      client_id: clientId,
      client_secret: clientSecret,
      scope: 'openid profile email',
      resource_owner_password: true,
      token_prefix: 'token:',
      revoke_after_login: false,
      ...(method === 'password' ? {} : { validation: method }),
      ...(method === 'jwt' ? { audience: jwtAudience } : {}),
    };
  }

  async function logIn({ localpart }: Contest, who: Claimant, method: Method): Promise<number> {
    const provider = providers[who.at];
    const user = provider.users[who.name];
    assert.ok(user !== undefined);
    // Whose the name is at this moment.
    user.sub = who.sub;
    const token = (): Promise<string> =>
      provider.token(who.name, method === 'jwt' ? { format: 'jwt', audience: jwtAudience } : {});
    const secret = method === 'password' ? user.password : `token:${await token()}`;
    return world.ask(`auth:${localpart}:${HOST}:${secret}`);
  }

  const reasons = (localpart: string): unknown[] =>
    world
      .log()
      .filter(({ op, user, verdict }) => op === 'auth' && user === localpart && verdict === 'refused')
      .map(({ reason }) => reason);

  it('the first one owns the name, by every method and in every process', async () => {
    for (const method of METHODS) {
      await world.use(configOf('ours', method));
      for (const contest of contests) {
        const title = `${contest.title}, ${method}`;
        if (contest.methods.includes(method))
          assert.equal(await logIn(contest, contest.first, method), 1, `${title}: the first`);
        if (contest.second.at !== 'ours' || !contest.methods.includes(method)) continue;
        assert.equal(await logIn(contest, contest.second, method), 0, `${title}: the second`);
        assert.equal(await logIn(contest, contest.first, method), 1, `${title}: the first again`);
      }
      await told('alice');
      await told(method === 'password' ? 'alice' : 'carol');
    }
    for (const method of METHODS) {
      await world.use(configOf('other', method));
      for (const contest of contests.filter(({ second }) => second.at === 'other'))
        assert.equal(await logIn(contest, contest.second, method), 0, `${contest.title}, ${method}`);
      await told('bob');
    }
  });

  it('two providers at a time do not share names either', async () => {
    const { token_prefix, ...both } = configOf('ours', 'jwt') as Record<string, unknown>;
    // Passwords go to the first one only.
    const other = { issuer: providers.other.issuer, validation: 'jwt', audience: jwtAudience };
    await world.use({ token_prefix, providers: [both, other] });
    for (const contest of contests.filter(({ second }) => second.at === 'other')) {
      assert.equal(await logIn(contest, contest.first, 'jwt'), 1);
      assert.equal(await logIn(contest, contest.second, 'jwt'), 0);
      await told(contest.localpart);
    }
  });

  /** The log is late by a moment. */
  async function told(localpart: string): Promise<void> {
    for (const end = Date.now() + 2000; reasons(localpart).length === 0 && Date.now() < end; )
      await new Promise((resolve) => setTimeout(resolve, 20));
    assert.deepEqual(new Set(reasons(localpart)), new Set(['subject_changed']), localpart);
  }

  it('the second one owns it when an administrator has said so, and the first one does not any more', async () => {
    for (const contest of contests) {
      const { first, second, localpart, title } = contest;
      await world.use(configOf(second.at, 'jwt'));
      await world.unpin(localpart);
      assert.equal(await logIn(contest, second, 'jwt'), 1, `${title}: the second`);
      await world.use(configOf(first.at, 'introspection'));
      assert.equal(await logIn(contest, first, 'introspection'), 0, `${title}: the first`);
    }
  });
}

/** Of who come first at the same moment, each by a process of its own, one owns the name. */
export async function firstLogins(state: object): Promise<void> {
  const signer = createSigner('ES256', 'k');
  const provider = await startScripted();
  provider.set('jwks', { body: { keys: [signer.jwk] } });
  const config = {
    issuer: provider.origin,
    jwks_uri: provider.endpoints.jwks,
    client_id: 'xmpp',
    validation: 'jwt',
    ...state,
  };
  const pool = await startPool(HOST, [config, config]);
  const exp = Math.floor(Date.now() / 1000) + 300;
  try {
    for (let n = 0; n < 20; n++) {
      const tokens = await Promise.all(
        pool.bridges.map((_, place) =>
          signer.token({
            iss: provider.origin,
            azp: 'xmpp',
            sub: `s${place}`,
            preferred_username: `u${n}`,
            exp,
          }),
        ),
      );
      for (const round of ['at first', 'later'])
        assert.equal(
          (await Promise.all(tokens.map((token, place) => pool.loginThrough(place, `u${n}`, token)))).filter(
            (answer) => answer === 1,
          ).length,
          1,
          `u${n} ${round}`,
        );
    }
  } finally {
    await pool.stop();
    await provider.stop();
  }
}

export function usersCommand(config: object, ...args: string[]): { status: number | null; out: string } {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [program, 'users', ...args, '--config', writeConfig(config)],
    { encoding: 'utf8', env: { PATH: process.env.PATH ?? '' } },
  );
  return { status, out: stdout + stderr };
}
