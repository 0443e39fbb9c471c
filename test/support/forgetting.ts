// A user of whom everything there is to remember is remembered, by several processes, and who is then to be forgotten: as
// tests that any store can be put through.
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { State } from '../../src/state/state.ts';
import { type Bridge, startBridge, writeConfig } from './bridge.ts';
import { HEARD_WITHIN, HOST, usersCommand } from './pins.ts';
import { startScripted } from './scripted-provider.ts';

export interface Store {
  /** The options that say where it is. */
  readonly state: object;
  /** Another way into it. */
  open(): Promise<State>;
}

/** Of the guard's default: so many different wrong passwords. */
const LIMIT = 5;

export function forgetContract(create: () => Promise<Store>): void {
  // Whoever asks for removeuser may be the one who guesses.
  for (const [way, but] of [
    ['users forget', ''],
    ['removeuser', ' but the wrong passwords that were counted'],
  ] as const) {
    it(`nothing is left of a user after ${way}${but}, in the store or in any process`, async () => {
      const { state, open } = await create();
      const provider = await startScripted();
      let isAway = false;
      provider.set('token', ({ body }) => {
        const form = new URLSearchParams(body);
        return form.get('password') === 'right' && !isAway
          ? { body: { access_token: `of-${form.get('username')}`, token_type: 'Bearer' } }
          : { status: 400, body: { error: 'invalid_grant' } };
      });
      provider.set('introspection', ({ body }) => {
        const name = new URLSearchParams(body).get('token')?.replace('of-', '');
        return {
          body: isAway
            ? { active: false }
            : { active: true, client_id: 'xmpp', username: name, preferred_username: name, sub: `s-${name}` },
        };
      });
      const config = {
        token_endpoint: provider.endpoints.token,
        introspection_endpoint: provider.endpoints.introspection,
        issuer: provider.origin,
        client_id: 'xmpp',
        client_secret: 'secret',
        validation: 'introspection',
        token_prefix: 'token:',
        revoke_after_login: false,
        cache: { token_ttl: '10m', password_ttl: '10m', negative_ttl: '10m', unavailable_grace: '10m' },
        ...state,
      };
      const bridges = [0, 1].map(() => startBridge({ config: writeConfig(config) })) as [Bridge, Bridge];
      const peer = await open();
      const logIn = async (bridge: Bridge, user: string, secret: string): Promise<number> =>
        bridge.ask(`auth:${user}:${HOST}:${secret}`);
      const names = async (): Promise<string[]> => [...(await peer.list('')).keys()].sort();
      /** What both processes say to the right password and a good token. */
      const good = async (user: string): Promise<number[]> => {
        const answers: number[] = [];
        for (const bridge of bridges)
          for (const secret of ['right', `token:of-${user}`]) answers.push(await logIn(bridge, user, secret));
        return answers;
      };
      const YES = [1, 1, 1, 1];
      const NO = [0, 0, 0, 0];
      try {
        assert.deepEqual(await good('bob'), YES);
        for (const bridge of bridges) assert.equal(await logIn(bridge, 'bob', 'wrong'), 0);
        await sleep(200);
        const before = await names();
        assert.deepEqual(await good('alice'), YES);
        for (let n = 0; n <= LIMIT; n++) assert.equal(await logIn(bridges[n % 2]!, 'alice', `wrong${n}`), 0);
        await sleep(200);
        const kinds = new Set((await names()).filter((name) => !before.includes(name)).map(kindOf));
        assert.deepEqual(kinds, new Set(['user', 'pin', 'v', 'wrong', 'counted']), 'what there is to forget');

        // Whoever asks is told no, and nobody asks: it is all remembered.
        isAway = true;
        const asked = provider.seen.length;
        for (const user of ['alice', 'bob']) assert.deepEqual(await good(user), YES, user);
        assert.equal(await logIn(bridges[1], 'alice', 'yet another'), 0);
        assert.equal(provider.seen.length, asked);

        const began = Date.now();
        if (way === 'removeuser') assert.equal(await bridges[0].ask(`removeuser:alice:${HOST}`), 0);
        else {
          const { status, out } = usersCommand(config, 'forget', `alice@${HOST}`);
          assert.equal(status, 0, out);
        }
        const isLeft = (name: string): boolean =>
          but !== '' && !before.includes(name) && ['wrong', 'counted'].includes(kindOf(name));
        assert.deepEqual(
          (await names()).filter((name) => name !== 'forgotten' && !isLeft(name)),
          before,
        );
        // By memory the others go on for a moment, and no longer.
        while ((await good('alice')).some((answer) => answer !== 0) && Date.now() < began + HEARD_WITHIN)
          await sleep(100);
        assert.deepEqual(await good('alice'), NO);
        for (const bridge of bridges) assert.equal(await bridge.ask(`isuser:alice:${HOST}`), 0);
        const { length } = provider.seen;
        assert.equal(await logIn(bridges[1], 'alice', 'and another'), 0);
        assert.equal(provider.seen.length - length, but === '' ? 1 : 0, 'are the wrong passwords forgotten?');
        assert.deepEqual(await good('bob'), YES, 'nobody else is');
      } finally {
        await Promise.all([...bridges.map((each) => each.stop()), peer.close()]);
        await provider.stop();
      }
    });
  }
}

const kindOf = (name: string): string => name.slice(0, name.indexOf(':'));
