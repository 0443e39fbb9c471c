// Who has been here, and whose a name is: records and pins, by every method of logging in and in every store.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { after, before, beforeEach, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createMemoryState, type MemoryState } from '../src/state/memory.ts';
import { createSharedState } from '../src/state/shared.ts';
import { createUsers, type Users } from '../src/users/users.ts';
import { type Bridge, program, startBridge, temporaryFolder, writeConfig } from './support/bridge.ts';
import { type Scripted, startScripted } from './support/scripted-provider.ts';
import { createSigner, type Json } from './support/signer.ts';

const HOST = 'chat.example';
const DAY = 86_400_000;
const pin = (sub: string, issuer = 'https://id.example') => ({ issuer, sub });

describe('a user', () => {
  let time: number;
  let state: MemoryState;
  const worker = (): Users => createUsers({ state, wallClock: () => Date.UTC(2026, 10, 24, 23, 0) + time });
  beforeEach(() => {
    time = 0;
    state = createMemoryState({ now: () => time, maxEntries: 10_000 });
  });

  it('is known from the first login on, in every process', async () => {
    const [users, other] = [worker(), worker()];
    assert.equal(await users.isKnown(HOST, 'alice'), false);
    assert.equal(await users.admit({ host: HOST, localpart: 'alice', pin: undefined }), true);
    for (const each of [users, other]) {
      assert.equal(await each.isKnown(HOST, 'alice'), true);
      assert.equal(await each.isKnown(HOST, 'alic'), false);
      assert.equal(await each.isKnown('other.example', 'alice'), false);
    }
  });

  it('has a first and a last day', async () => {
    const users = worker();
    const seen = { host: HOST, localpart: 'alice', pin: pin('a1') };
    await users.admit(seen);
    const { first, last } = (await users.find(HOST, 'alice')) ?? {};
    assert.deepEqual([first, last], ['2026-11-24', '2026-11-24']);
    time += 3 * DAY;
    await users.admit(seen);
    assert.deepEqual(await users.find(HOST, 'alice'), {
      host: HOST,
      localpart: 'alice',
      first: '2026-11-24',
      last: '2026-11-27',
      pin: pin('a1'),
    });
  });

  it('is written once a day, and looked up once a minute', async () => {
    const users = worker();
    const seen = { host: HOST, localpart: 'alice', pin: pin('a1') };
    assert.equal(users.isAdmitted(seen), false);
    await users.admit(seen);
    assert.equal(users.isAdmitted(seen), true);
    assert.equal(users.isAdmitted({ ...seen, pin: pin('a2') }), false);
    time += 59_000;
    assert.equal(users.isAdmitted(seen), true);
    time += 2000;
    assert.equal(users.isAdmitted(seen), false);
    time = 3_600_000;
    await users.admit(seen);
    assert.equal(users.isAdmitted(seen), true, 'the next day has its own record');
  });

  it("who says no subject may have a name that is nobody's, and no other", async () => {
    const [users, other] = [worker(), worker()];
    const who = { host: HOST, localpart: 'alice' };
    const silent = { ...who, pin: 'unsaid' } as const;
    assert.equal(await users.admit(silent), true);
    assert.equal(users.isAdmitted(silent), true);
    assert.equal(await other.admit({ ...who, pin: pin('a1') }), true);
    assert.equal(await other.admit(silent), false);
    assert.equal(other.isAdmitted(silent), false);
    time += 61_000;
    assert.equal(users.isAdmitted(silent), false, 'what another process has written counts within a minute');
    assert.equal(await users.admit(silent), false);
    assert.equal(await users.admit({ ...who, pin: undefined }), true, 'pin_subject: false');
    await users.unpin(HOST, 'alice');
    assert.equal(await users.admit(silent), true);
  });

  const strangers: [title: string, pin: ReturnType<typeof pin>][] = [
    ['another subject', pin('a2')],
    ['the subject of another provider', pin('a1', 'https://other.example')],
    ['a subject that runs together to the same', pin('.examplea1', 'https://id')],
  ];
  for (const [title, stranger] of strangers) {
    it(`is not ${title}, until unpinned or forgotten`, async () => {
      for (const mend of ['unpin', 'forget'] as const) {
        const [users, other] = [worker(), worker()];
        const seen = { host: HOST, localpart: mend, pin: pin('a1') };
        assert.equal(await users.admit(seen), true);
        assert.equal(await other.admit({ ...seen, pin: stranger }), false);
        assert.equal(await users.admit({ ...seen, pin: stranger }), false);
        assert.equal(await users.admit(seen), true);
        assert.equal(await other[mend](HOST, mend), true);
        assert.equal(
          await users.admit({ ...seen, pin: stranger }),
          true,
          'by a process that knew the old one, too',
        );
        time += 61_000;
        assert.equal(await users.admit(seen), false, 'and the old one is a stranger now');
        assert.equal(await other[mend](HOST, 'nobody'), false);
      }
    });
  }

  it('is one of many who come first at the same time', async () => {
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, n) =>
        worker().admit({ host: HOST, localpart: 'alice', pin: pin(`s${n}`) }),
      ),
    );
    assert.equal(answers.filter((each) => each).length, 1);
  });

  it('leaves nothing behind when forgotten', async () => {
    const users = worker();
    await users.admit({ host: HOST, localpart: 'alice', pin: pin('a1') });
    await users.forget(HOST, 'alice');
    assert.equal(state.list('').size, 0);
    assert.equal(await users.isKnown(HOST, 'alice'), false);
    assert.equal(await users.find(HOST, 'alice'), undefined);
  });

  it('is listed, by host and name', async () => {
    const users = worker();
    for (const [host, localpart] of [
      ['b.example', 'zoe'],
      ['a.example', 'bob'],
      ['a.example', 'alice'],
    ] as const)
      await users.admit({ host, localpart, pin: undefined });
    const names = async (host?: string): Promise<string[]> =>
      (await users.list(host)).map((user) => `${user.localpart}@${user.host}`);
    assert.deepEqual(await names(), ['alice@a.example', 'bob@a.example', 'zoe@b.example']);
    assert.deepEqual(await names('a.example'), ['alice@a.example', 'bob@a.example']);
  });

  it('cannot be made somebody else by who can write to the store', async () => {
    const users = worker();
    await users.admit({ host: HOST, localpart: 'alice', pin: pin('a1') });
    await users.admit({ host: HOST, localpart: 'mallory', pin: pin('m1') });
    const pins = [...state.list('pin:')];
    assert.equal(pins.length, 2);
    const mallorys = pins.find(([, sealed]) => sealed.includes('m1'))?.[1] ?? '';
    const [name = '', sealed = ''] = pins.find(([, text]) => text.includes('a1')) ?? [];
    for (const forgery of [mallorys, sealed.replace('a1', 'm1'), sealed.slice(43), '']) {
      state.set(name, forgery, Number.POSITIVE_INFINITY);
      assert.equal(await worker().admit({ host: HOST, localpart: 'alice', pin: pin('m1') }), false);
    }
  });

  it('is not unknown because a store is away', async () => {
    let trouble = false;
    const kept = createMemoryState({ now: () => time, maxEntries: 100 });
    const failing = (): Promise<never> => Promise.reject(new Error('away'));
    const shared = createSharedState({
      open: async () => ({ ...kept, get: (name) => (trouble ? failing() : Promise.resolve(kept.get(name))) }),
      memory: createMemoryState({ now: () => time, maxEntries: 100 }),
      onChange() {},
    });
    await shared.started;
    const users = createUsers({ state: shared, wallClock: () => time });
    await users.admit({ host: HOST, localpart: 'alice', pin: undefined });
    assert.equal(await users.isKnown(HOST, 'bob'), false);
    trouble = true;
    for (let n = 0; n < 4; n++) assert.equal(await users.isKnown(HOST, 'bob'), true, `${n}`);
    assert.equal(await users.isKnown(HOST, 'alice'), true);
    await shared.close();
  });
});

describe('a name that two people of the provider have', () => {
  const signer = createSigner('ES256', 'k');
  let scripted: Scripted;
  let bridge: Bridge;
  /** Whose name `alice` is at the provider now. */
  let sub: string | undefined;
  const folder = `${temporaryFolder()}/state`;

  before(async () => {
    scripted = await startScripted();
    scripted.set('jwks', { body: { keys: [signer.jwk] } });
    scripted.set('token', { body: { access_token: 'granted', token_type: 'Bearer' } });
    scripted.set('userinfo', () => ({
      body: { preferred_username: 'alice', ...(sub === undefined ? {} : { sub }) },
    }));
  });
  after(() => scripted.stop());

  const config = (more: Json = {}): string =>
    writeConfig({
      issuer: scripted.origin,
      jwks_uri: scripted.endpoints.jwks,
      token_endpoint: scripted.endpoints.token,
      validation_endpoint: scripted.endpoints.userinfo,
      client_id: 'xmpp',
      client_secret: 'secret',
      token_prefix: 'token:',
      revoke_after_login: false,
      cache: { token_ttl: 0, negative_ttl: 0 },
      ...more,
    });
  const jwt = (subject: string): Promise<string> =>
    signer.token({
      iss: scripted.origin,
      azp: 'xmpp',
      sub: subject,
      preferred_username: 'alice',
      exp: Math.floor(Date.now() / 1000) + 300,
    });

  /** What the three ways of logging in come to for this subject. */
  async function logIn(subject: string | undefined): Promise<number[]> {
    sub = subject;
    const answers = [
      await bridge.ask(`auth:alice:${HOST}:password`),
      await bridge.ask(`auth:alice:${HOST}:token:opaque-${subject}`),
    ];
    if (subject !== undefined) answers.push(await bridge.ask(`auth:alice:${HOST}:${await jwt(subject)}`));
    return answers;
  }

  function command(file: string, ...args: string[]): { status: number | null; out: string } {
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      [program, 'users', ...args, '--config', file],
      {
        encoding: 'utf8',
        env: { PATH: process.env.PATH ?? '' },
      },
    );
    return { status, out: stdout + stderr };
  }

  it('belongs to the first, by every method and after a restart, until an administrator says otherwise', async () => {
    const file = config({ state: `lmdb:${folder}` });
    bridge = startBridge({ config: file });
    assert.equal(await bridge.ask(`isuser:alice:${HOST}`), 0);
    assert.deepEqual(await logIn('first'), [1, 1, 1]);
    assert.deepEqual(await logIn('second'), [0, 0, 0]);
    assert.equal(await bridge.ask(`isuser:alice:${HOST}`), 1);
    assert.equal(await bridge.ask(`isuser:bob:${HOST}`), 0);
    await bridge.stop();
    bridge = startBridge({ config: file });
    assert.equal(await bridge.ask(`isuser:alice:${HOST}`), 1);
    assert.deepEqual(await logIn('second'), [0, 0, 0]);
    assert.deepEqual(await logIn('first'), [1, 1, 1]);
    await sleep(200);
    const refusal = bridge.logLines().find(({ reason }) => reason === 'subject_changed');
    assert.match(String(refusal?.detail), /extauth-oauth users unpin alice@chat\.example/);

    const shown = command(file, 'show', `alice@${HOST}`);
    assert.equal(shown.status, 0, shown.out);
    assert.match(shown.out, /subject +first/);
    assert.match(
      command(file, 'list').out,
      /^alice@chat\.example +\d{4}-\d\d-\d\d \d{4}-\d\d-\d\d first of http/m,
    );
    const listed = JSON.parse(command(file, 'list', '--json', '--host', HOST).out) as { localpart: string }[];
    assert.deepEqual(
      listed.map(({ localpart }) => localpart),
      ['alice'],
    );
    assert.equal(command(file, 'show', `bob@${HOST}`).status, 1);
    assert.equal(command(file, 'unpin', 'nonsense').status, 2);
    assert.equal(command(file, 'unpin', `alice@${HOST}`).status, 0);
    assert.deepEqual(await logIn('second'), [1, 1, 1]);
    assert.deepEqual(await logIn(undefined), [0, 0], 'who says no subject is not the one who did');
    assert.equal(await bridge.ask(`removeuser:alice:${HOST}`), 0);
    assert.equal(await bridge.ask(`isuser:alice:${HOST}`), 0);
    assert.match(command(file, 'show', `alice@${HOST}`).out, /has not logged in here/);
    await bridge.stop();
  });

  it('keeps to its line where it is listed, whatever its subject has in it', async () => {
    const file = config({ state: `lmdb:${temporaryFolder()}/state` });
    bridge = startBridge({ config: file });
    sub = 'x of y\nroot@chat.example  2026-01-01 2026-01-01 mallory';
    assert.equal(await bridge.ask(`auth:alice:${HOST}:password`), 1);
    await bridge.stop();
    for (const args of [['list'], ['show', `alice@${HOST}`]])
      assert.doesNotMatch(command(file, ...args).out, /^root@/m);
    assert.equal(command(file, 'list').out.trim().split('\n').length, 1);
  });

  it('gives nobody new tries by leaving: what was guessed wrong is counted by account', async () => {
    scripted.set('token', { status: 400, body: { error: 'invalid_grant' } });
    bridge = startBridge({ config: config({ limits: { wrong_passwords: '3/15m' } }) });
    const tried = () => scripted.seen.filter(({ endpoint }) => endpoint === 'token').length;
    const before = tried();
    for (let n = 0; n < 9; n++) {
      assert.equal(await bridge.ask(`auth:alice:${HOST}:guess-${n}`), 0);
      for (const name of ['alice', 'alíce']) await bridge.ask(`removeuser:${name}:${HOST}`);
    }
    assert.equal(tried() - before, 3);
    await bridge.stop();
    scripted.set('token', { body: { access_token: 'granted', token_type: 'Bearer' } });
  });

  it("is nobody in particular's without a state that lasts, unless pin_subject says so", async () => {
    bridge = startBridge({ config: config() });
    assert.deepEqual(await logIn('first'), [1, 1, 1]);
    assert.deepEqual(await logIn('second'), [1, 1, 1]);
    assert.equal(await bridge.ask(`isuser:bob:${HOST}`), 1);
    await bridge.stop();
    const file = config({ pin_subject: true, user_exists: 'known' });
    bridge = startBridge({ config: file });
    assert.deepEqual(await logIn('first'), [1, 1, 1]);
    assert.deepEqual(await logIn('second'), [0, 0, 0]);
    assert.equal(await bridge.ask(`isuser:bob:${HOST}`), 0);
    await bridge.stop();
    const { status, out } = command(file, 'list');
    assert.equal(status, 78);
    assert.match(out, /state: lmdb:/);
  });
});
