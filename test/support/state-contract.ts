// What every store of State must do, as tests that any of them can be put through.
import assert from 'node:assert/strict';
import { after, before, it } from 'node:test';
import type { State } from '../../src/state/state.ts';

export interface UnderTest {
  readonly state: State;
  /** Lets so many milliseconds pass, on whatever clock the store goes by. */
  pass(milliseconds: number): Promise<void>;
  /** Another way into the same store, as another process has it; left out where there is none. */
  readonly other?: State;
  end?(): Promise<void>;
}

/** Short enough to be waited for, long enough for a slow machine to do something within. */
const SHORT = 400;
const LONG = 60_000;

export function stateContract(open: () => Promise<UnderTest>): void {
  let test: UnderTest;
  let serial = 0;
  let name: (text?: string) => string;
  before(async () => {
    test = await open();
    const run = `${process.pid}.${Date.now()}`;
    name = (text = 'x') => `${run}:${++serial}:${text}`;
  });
  after(async () => {
    await test?.state.close();
    await test?.other?.close();
    await test?.end?.();
  });

  it('gets what was set, and nothing before', async () => {
    const key = name();
    assert.equal(await test.state.get(key), undefined);
    await test.state.set(key, 'first', LONG);
    assert.equal(await test.state.get(key), 'first');
    await test.state.set(key, 'second', LONG);
    assert.equal(await test.state.get(key), 'second');
  });

  it('keeps values as they are', async () => {
    for (const value of ['', ' ', '0', 'null', '{"a":1}', 'ü€😀', 'a\nb\tc\0d', 'x'.repeat(1500)]) {
      const key = name();
      await test.state.set(key, value, Number.POSITIVE_INFINITY);
      assert.equal(await test.state.get(key), value);
    }
  });

  it('keeps names apart, whatever is in them', async () => {
    const names = ['a', 'A', 'a:b', 'a*', 'a?', '[a]', 'a\\', 'a/b', 'a+b=', 'x'.repeat(400)].map((text) =>
      name(text),
    );
    for (const each of names) await test.state.set(each, each, LONG);
    for (const each of names) assert.equal(await test.state.get(each), each);
  });

  it('forgets what has lived its time, and not sooner', async () => {
    const key = name();
    const lasting = name();
    await test.state.set(key, 'gone soon', SHORT);
    await test.state.set(lasting, 'stays', Number.POSITIVE_INFINITY);
    assert.equal(await test.state.get(key), 'gone soon');
    await test.pass(SHORT + 50);
    assert.equal(await test.state.get(key), undefined);
    assert.equal(await test.state.get(lasting), 'stays');
    assert.deepEqual([...(await test.state.list(key)).keys()], []);
  });

  it('gives a second life to what is set again', async () => {
    const key = name();
    await test.state.set(key, 'a', SHORT);
    await test.state.set(key, 'b', LONG);
    await test.pass(SHORT + 50);
    assert.equal(await test.state.get(key), 'b');
  });

  it('puts only what is not there, and says what was', async () => {
    const key = name();
    assert.equal(await test.state.putIfAbsent(key, 'mine', SHORT), undefined);
    assert.equal(await test.state.putIfAbsent(key, 'yours', LONG), 'mine');
    assert.equal(await test.state.get(key), 'mine');
    await test.pass(SHORT + 50);
    assert.equal(
      await test.state.putIfAbsent(key, 'yours', LONG),
      undefined,
      'what has lived its time is absent',
    );
    assert.equal(await test.state.get(key), 'yours');
  });

  it('lets one of many put', async () => {
    const key = name();
    const ways = [test.state, test.other ?? test.state];
    const answers = await Promise.all(
      Array.from({ length: 40 }, async (_, n) => (ways[n % 2] as State).putIfAbsent(key, `n${n}`, LONG)),
    );
    assert.equal(answers.filter((each) => each === undefined).length, 1);
    const winner = `n${answers.indexOf(undefined)}`;
    assert.equal(await test.state.get(key), winner);
    assert.ok(answers.every((each) => each === undefined || each === winner));
  });

  it('counts, and the count lives as long as was said when it began', async () => {
    const key = name();
    assert.equal(await test.state.increment(key, 1, SHORT), 1);
    assert.equal(await test.state.increment(key, 2, LONG), 3);
    assert.equal(await test.state.increment(key, -1, LONG), 2);
    assert.equal(await test.state.get(key), '2', 'a count is a value like any other');
    await test.pass(SHORT + 50);
    assert.equal(await test.state.get(key), undefined);
    assert.equal(await test.state.increment(key, 1, SHORT), 1);
  });

  it('loses no count when many count at once', async () => {
    const key = name();
    const ways = [test.state, test.other ?? test.state];
    await Promise.all(
      Array.from({ length: 50 }, async (_, n) => (ways[n % 2] as State).increment(key, 1, LONG)),
    );
    assert.equal(await test.state.get(key), '50');
  });

  it('deletes, also what is not there', async () => {
    const key = name();
    await test.state.set(key, 'a', LONG);
    await test.state.delete(key);
    assert.equal(await test.state.get(key), undefined);
    await test.state.delete(key);
    assert.equal(await test.state.putIfAbsent(key, 'b', LONG), undefined);
  });

  it('lists by prefix, and the prefix is no pattern', async () => {
    const [common, strange] = [name('list'), name('l*[st]?\\')];
    for (let n = 0; n < 120; n++)
      await test.state.set(`${common}/${n}`, `v${n}`, n % 2 ? LONG : Number.POSITIVE_INFINITY);
    await test.state.set(`${strange}/1`, 'odd', LONG);
    const found = await test.state.list(`${common}/`);
    assert.equal(found.size, 120);
    assert.equal(found.get(`${common}/77`), 'v77');
    assert.deepEqual([...(await test.state.list(strange))], [[`${strange}/1`, 'odd']]);
    assert.equal((await test.state.list(name('nothing'))).size, 0);
  });

  it('is there', async () => {
    await test.state.ping();
  });

  it('has a key of 32 bytes, which all who share it have', () => {
    assert.equal(test.state.key.length, 32);
    if (test.other !== undefined) assert.deepEqual(test.other.key, test.state.key);
  });

  it('shows one what another has done', async (t) => {
    const { other } = test;
    if (other === undefined) return t.diagnostic('this store is of one process');
    const key = name();
    await test.state.set(key, 'a', LONG);
    assert.equal(await other.get(key), 'a');
    await other.set(key, 'b', LONG);
    assert.equal(await test.state.get(key), 'b');
    await other.delete(key);
    assert.equal(await test.state.get(key), undefined);
  });
}
