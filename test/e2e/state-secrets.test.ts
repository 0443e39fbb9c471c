// What is kept beyond a login: nothing in it is worth stealing, and nothing that is written there lets anybody in.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { State } from '../../src/state/state.ts';
import { type Bridge, startBridge, temporaryFolder } from '../support/bridge.ts';
import { formsOf, leaksIn } from '../support/forms.ts';
import { startPeer } from '../support/lmdb-peer.ts';
import { type Scripted, startScripted } from '../support/scripted-provider.ts';
import { within } from './support/ejabberd.ts';
import { keyFile, secretFile } from './support/outage.ts';
import { openRedis, startRedis } from './support/redis.ts';

const canaries = {
  password: 'canaryPassword-7f3a€',
  second: 'canarySecond+81 c2/',
  wrong: 'canaryWrong-91bc?&=',
  otherWrong: 'canaryOtherWrong-55d0',
  token: 'canaryToken.aa17-_~x',
  wrongToken: 'canaryWrongToken.bb28',
  accessToken: 'canaryAccess-5d2e',
  refreshToken: 'canaryRefresh-c04f',
  clientSecret: 'canaryClientSecret-e8b6',
  redisPassword: 'canaryRedis-3c9d',
  passwordWithCode: 'canaryPassword-7f3a€493817',
  code: '493817',
};
/** Six digits are found by chance in what is random; they are looked for where no chance is. */
const { code: _code, ...long } = canaries;
const [user, host] = ['alice', 'example.org'];
const names = [
  user,
  host,
  `${user}@${host}`,
  `${user}:${host}`,
  `auth:${user}:${host}`,
  `${host}:${user}`,
  `\0${user}\0`,
];
const HOUR = 3_600_000;

interface Store {
  readonly address: string;
  readonly settings: Record<string, unknown>;
  /** Another one who has it open. */
  open(): Promise<State>;
  /** All that is kept, by where. */
  everything(): Promise<Record<string, Buffer>>;
  end(): Promise<unknown>;
}

const stores: Record<string, () => Promise<Store>> = {
  'an LMDB': async () => {
    const folder = join(temporaryFolder(), 'state');
    return {
      address: `lmdb:${folder}`,
      settings: {},
      open: () => startPeer({ folder }),
      everything: async () =>
        Object.fromEntries(readdirSync(folder).map((name) => [name, readFileSync(join(folder, name))])),
      async end() {},
    };
  },
  'a Redis': async () => {
    const password = canaries.redisPassword;
    const server = await startRedis({ settings: [`requirepass ${password}`], login: ['-a', password] });
    const address = `redis://:${password}@127.0.0.1:${server.port}`;
    // No log-in is shown, but all that is written and read.
    const monitor = spawn('redis-cli', [
      ...['-p', String(server.port), '-a', password, '--no-auth-warning'],
      'monitor',
    ]);
    let monitored = '';
    monitor.stdout.on('data', (chunk: Buffer) => {
      monitored += chunk.toString('latin1');
    });
    await within(3000, () => monitored.includes('OK'));
    return {
      address,
      settings: { state_key_file: keyFile() },
      open: () => openRedis(address),
      async everything() {
        const keys = await server.cli('--scan');
        const values = await Promise.all(keys.split('\n').map((key) => server.cli('get', key)));
        return {
          names: Buffer.from(keys),
          values: Buffer.from(values.join('\n')),
          MONITOR: Buffer.from(monitored),
        };
      },
      async end() {
        monitor.kill();
        await server.stop();
      },
    };
  },
};

/** Knows alice by two passwords, with and without a code, and by a token. */
function teach(provider: Scripted): void {
  const { accessToken, refreshToken, password, second, token, code } = canaries;
  const name = { preferred_username: user, sub: user, client_id: 'xmpp' };
  provider.set('token', ({ body }) => {
    const form = new URLSearchParams(body);
    const isGood =
      form.get('username') === user &&
      ((form.get('password') === password && form.get('totp') === code) || form.get('password') === second);
    return isGood
      ? { body: { access_token: accessToken, refresh_token: refreshToken, token_type: 'Bearer' } }
      : { status: 400, body: { error: 'invalid_grant', error_description: body } };
  });
  provider.set('introspection', ({ body }) => {
    const asked = new URLSearchParams(body).get('token') ?? '';
    return { body: [token, accessToken].includes(asked) ? { active: true, ...name } : { active: false } };
  });
}

function start(provider: Scripted, store: Store, more: Record<string, unknown> = {}): Bridge {
  const { endpoints } = provider;
  return startBridge({
    config: {
      token_endpoint: endpoints.token,
      introspection_endpoint: endpoints.introspection,
      revocation_endpoint: endpoints.revocation,
      client_id: 'xmpp',
      client_secret_file: secretFile(canaries.clientSecret),
      resource_owner_password: true,
      token_prefix: 'token:',
      state: store.address,
      ...store.settings,
      cache: { password_ttl: '5m', unavailable_grace: '10m' },
      log: { level: 'debug' },
      ...more,
    },
  });
}

const login = (secret: string): string => `auth:${user}:${host}:${secret}`;

for (const [name, startStore] of Object.entries(stores)) {
  describe(`what is in ${name}`, () => {
    it('holds no secret, nor anything that a secret can be tried on; nor do the log and /proc', async () => {
      const provider = await startScripted();
      teach(provider);
      const store = await startStore();
      const bridges = [
        start(provider, store, { password_otp_digits: 6 }),
        start(provider, store),
        start(provider, store, { log: { level: 'debug', users: 'hashed' } }),
      ] as const;
      try {
        const [withCode, ...plain] = bridges;
        assert.equal(await withCode.ask(login(canaries.passwordWithCode)), 1);
        assert.equal(await withCode.ask(login(`${canaries.password}000000`)), 0);
        for (const bridge of plain) {
          assert.equal(await bridge.ask(login(canaries.second)), 1);
          assert.equal(await bridge.ask(login(`token:${canaries.token}`)), 1);
          assert.equal(await bridge.ask(login(canaries.wrong)), 0);
          assert.equal(await bridge.ask(login(canaries.otherWrong)), 0);
          assert.equal(await bridge.ask(login(`token:${canaries.wrongToken}`)), 0);
        }
        // A failure that has been sent is counted, too.
        provider.set('token', { status: 500, body: canaries.password });
        assert.equal(await plain[0].ask(login(`${canaries.wrong}${canaries.otherWrong}`)), 0);
        teach(provider);
        // One who waits for a turn, and has one.
        provider.set('token', { delay: 300, status: 400, body: { error: 'invalid_grant' } });
        const waiting = bridges.map((bridge, n) => bridge.ask(login(`${canaries.otherWrong}${n}`)));
        await sleep(150);
        const meanwhile = await store.everything();
        await Promise.all(waiting);
        await sleep(100);
        const kept = await store.everything();
        const peer = await store.open();
        const all = await peer.list('');
        await peer.close();
        for (const kind of ['v:', 'wrong:', 'counted:'])
          assert.ok(
            [...all.keys()].some((key) => key.startsWith(kind)),
            `${kind} is in use`,
          );

        const shown = 'names' in kept ? JSON.stringify([...all]) : '';
        for (const [where, bytes] of [...Object.entries(meanwhile), ...Object.entries(kept), ['all', shown]])
          assert.deepEqual(leaksIn(bytes as Buffer, long, names), [], `in ${where}`);
        // The names of users are nobody's business either, but where it is kept who has been here, and who that is.
        for (const [key, value] of all)
          assert.doesNotMatch(key + (/^(?:v|user|pin):/.test(key) ? '' : value), /alice|example/);
        for (const bridge of bridges)
          for (const file of ['environ', 'cmdline'])
            assert.deepEqual(
              leaksIn(readFileSync(`/proc/${bridge.child.pid}/${file}`), canaries, names),
              [],
              file,
            );
        const used = provider.seen.map(({ headers, body }) => JSON.stringify(headers) + body).join('');
        for (const each of [
          'second',
          'wrong',
          'token',
          'clientSecret',
          'accessToken',
          'refreshToken',
        ] as const)
          assert.ok(used.includes(formsOf(canaries[each]).get('of a form') as string), `${each} was in use`);
        assert.match(used, /totp=493817/);
      } finally {
        await Promise.all(bridges.map((bridge) => bridge.stop()));
        await store.end();
        await provider.stop();
      }
      for (const bridge of bridges) {
        assert.ok(bridge.logLines().length > 5);
        assert.deepEqual(leaksIn(bridge.log(), long, names), [], 'in the log');
        // Beside times and numbers of milliseconds.
        assert.doesNotMatch(bridge.log(), new RegExp(`"[^"]*\\b${canaries.code}\\b[^"]*"`));
      }
    });

    it('lets nobody in who can write to it', async () => {
      const provider = await startScripted();
      teach(provider);
      const store = await startStore();
      const peer = await store.open();
      /** A process that remembers nothing itself. */
      async function tryFresh(request: string, more: Record<string, unknown> = {}): Promise<number> {
        const bridge = start(provider, store, more);
        try {
          return await bridge.ask(request);
        } finally {
          await bridge.stop();
        }
      }
      /** Logs in, and finds the entry that has come of it. */
      async function entryOf(
        request: string,
        answer: number,
        more: Record<string, unknown> = {},
      ): Promise<{ name: string; value: string }> {
        const before = await peer.list('v:');
        assert.equal(await tryFresh(request, more), answer);
        const fresh = [...(await peer.list('v:'))].filter(([name]) => !before.has(name));
        assert.equal(fresh.length, 1, 'one new entry');
        const [[name, value] = ['', '']] = fresh;
        return { name, value };
      }
      try {
        const good = await entryOf(login(canaries.second), 1);
        const goodToken = await entryOf(login(`token:${canaries.token}`), 1);
        const bad = await entryOf(login(canaries.wrong), 0);
        const badToken = await entryOf(login(`token:${canaries.wrongToken}`), 0);
        const stranger = await entryOf(`auth:mallory:${host}:${canaries.second}`, 0);
        const elsewhere = await entryOf(`auth:${user}:other.example:${canaries.otherWrong}`, 0);

        // From here on the provider knows nobody: who gets in does by what is in the store.
        provider.set('token', { status: 400, body: { error: 'invalid_grant' } });
        provider.set('introspection', { body: { active: false } });
        assert.equal(await tryFresh(login(canaries.second)), 1, 'what is in the store counts');
        assert.equal(await tryFresh(login(`token:${canaries.token}`)), 1, 'what is in the store counts');

        const targets = [
          [bad.name, login(canaries.wrong)],
          [badToken.name, login(`token:${canaries.wrongToken}`)],
          [stranger.name, `auth:mallory:${host}:${canaries.second}`],
          [elsewhere.name, `auth:${user}:other.example:${canaries.otherWrong}`],
        ] as const;
        const SEAL = 43;
        const forgeries: [string, (old: string) => string][] = [
          ['the entry of one who got in', () => good.value],
          ['that of a token', () => goodToken.value],
          ['a good text with the seal there was', (old) => old.slice(0, SEAL) + good.value.slice(SEAL)],
          ['a good seal with the text there was', (old) => good.value.slice(0, SEAL) + old.slice(SEAL)],
          [
            'the same, but accepted',
            (old) =>
              old.slice(0, SEAL) +
              JSON.stringify(['accepted', ...(JSON.parse(old.slice(SEAL)) as unknown[]).slice(1)]),
          ],
          ['text without a seal', () => good.value.slice(SEAL)],
          ['an empty seal', () => ' '.repeat(SEAL) + good.value.slice(SEAL)],
          ['nothing', () => ''],
          ['no JSON', () => 'x'.repeat(100)],
        ];
        const originals = await peer.list('v:');
        for (const [what, forge] of forgeries) {
          for (const [entry] of targets) await peer.set(entry, forge(originals.get(entry) as string), HOUR);
          const bridge = start(provider, store);
          const away = start(provider, store);
          try {
            for (const [, request] of targets) assert.equal(await bridge.ask(request), 0, what);
            assert.equal(await bridge.ask(login(canaries.second)), 1, 'who was in is in');
            // Where it cannot be asked, the grace must not help either.
            for (const [entry] of targets) await peer.set(entry, forge(originals.get(entry) as string), HOUR);
            provider.set('token', { status: 503 });
            provider.set('introspection', { status: 503 });
            for (const [, request] of targets) assert.equal(await away.ask(request), 0, `${what}, by grace`);
          } finally {
            provider.set('token', { status: 400, body: { error: 'invalid_grant' } });
            provider.set('introspection', { body: { active: false } });
            await Promise.all([bridge.stop(), away.stop()]);
          }
        }

        // What has been tampered with costs nobody a login.
        teach(provider);
        await peer.set(good.name, `${good.value.slice(0, -1)} ]`, HOUR);
        assert.equal(await tryFresh(login(canaries.second)), 1);
        await peer.set(good.name, bad.value, HOUR);
        assert.equal(await tryFresh(login(canaries.second)), 1, "another's refusal is not this one's");

        // What has ended has ended, however long the store is told to keep it.
        const short = { cache: { token_ttl: '1s', password_ttl: '1s', unavailable_grace: '1s' } };
        await peer.delete(good.name);
        await peer.delete(goodToken.name);
        const old = await entryOf(login(canaries.second), 1, short);
        const oldToken = await entryOf(login(`token:${canaries.token}`), 1, short);
        assert.equal(old.name, good.name);
        await sleep(1100);
        for (const fault of [{ status: 400, body: { error: 'invalid_grant' } }, { status: 503 }]) {
          for (const each of [old, oldToken]) await peer.set(each.name, each.value, Number.POSITIVE_INFINITY);
          provider.set('token', fault);
          provider.set('introspection', fault.status === 503 ? fault : { body: { active: false } });
          for (const more of [short, {}]) {
            assert.equal(await tryFresh(login(canaries.second), more), 0, 'it has ended');
            assert.equal(await tryFresh(login(`token:${canaries.token}`), more), 0, 'it has ended');
            for (const each of [old, oldToken])
              await peer.set(each.name, each.value, Number.POSITIVE_INFINITY);
          }
        }
      } finally {
        await peer.close();
        await store.end();
        await provider.stop();
      }
    });
  });
}
