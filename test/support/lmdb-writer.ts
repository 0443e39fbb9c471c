// Writes to an LMDB state for as long as it lives, and says on stdout what is done: for test/support/lmdb-crash.ts.
import { writeSync } from 'node:fs';
import { openLmdbState } from '../../src/state/lmdb.ts';

const [folder = '', id = ''] = process.argv.slice(2);
const state = await openLmdbState({ folder, sweepEvery: 50 });
const done = (...words: unknown[]) => writeSync(1, `${words.join(' ')}\n`);
done('open');
for (let n = 0; ; n++) {
  const persistent = `p:${id}:${n}`;
  // The writers' numbers are close to each other, so that they want the same names.
  const first = `f:${Math.floor(Date.now() / 5)}`;
  await Promise.all([
    (async () => {
      await state.set(persistent, `value of ${persistent}`, Number.POSITIVE_INFINITY);
      done('set', persistent);
    })(),
    (async () => {
      const found = await state.putIfAbsent(first, `${id}.${n}`, Number.POSITIVE_INFINITY);
      done('first', first, found ?? `${id}.${n}`);
    })(),
    (async () => {
      await state.increment('count', 1, Number.POSITIVE_INFINITY);
      done('count');
    })(),
    state.set(`t:${id}:${n % 100}`, 'x'.repeat(n % 5000), 20),
  ]);
}
