// Kills processes that write to an LMDB state, at random moments, and looks whether what they said was done is there.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { openLmdbState } from '../../src/state/lmdb.ts';
import { bundled } from './bundle.ts';

const AT_A_TIME = 4;
/** The longest a writer lives once it has opened the state. */
const LIFE_MS = 120;

export interface Survived {
  readonly kills: number;
  readonly persistent: number;
  readonly firsts: number;
  readonly counts: number;
}

export async function crash({ folder, kills }: { folder: string; kills: number }): Promise<Survived> {
  const writer = await bundled(new URL('lmdb-writer.ts', import.meta.url).href);
  const persistent = new Set<string>();
  const firsts = new Map<string, string>();
  let counts = 0;
  const errors: string[] = [];
  function take(line: string): void {
    const [what, name = '', value = ''] = line.split(' ');
    if (what === 'set') persistent.add(name);
    else if (what === 'count') counts++;
    else if (what === 'first') {
      assert.ok(
        (firsts.get(name) ?? value) === value,
        `${name} has two first: ${firsts.get(name)}, ${value}`,
      );
      firsts.set(name, value);
    }
  }
  async function live(id: number): Promise<void> {
    const child: ChildProcess = spawn(process.execPath, [writer, folder, `${id}`], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    child.stderr?.on('data', (text) => errors.push(String(text)));
    const closed = once(child, 'close');
    const lines = createInterface({ input: child.stdout as NodeJS.ReadableStream });
    const opened = once(lines, 'line');
    lines.on('line', take);
    await Promise.race([opened, closed]);
    await sleep(Math.random() * LIFE_MS);
    child.kill('SIGKILL');
    const [, signal] = await closed;
    assert.equal(signal, 'SIGKILL', errors.join(''));
  }

  for (let killed = 0; killed < kills; killed += AT_A_TIME) {
    await Promise.all(Array.from({ length: AT_A_TIME }, (_, n) => live(killed + n)));
    const state = await openLmdbState({ folder });
    for (const name of persistent) assert.equal(state.get(name), `value of ${name}`);
    for (const [name, value] of firsts) assert.equal(state.get(name), value);
    assert.ok(Number(state.get('count') ?? 0) >= counts, `${state.get('count')} of ${counts}`);
    await state.set('after', `${killed}`, 60_000);
    assert.equal(state.get('after'), `${killed}`);
    await state.ping();
    await state.close();
  }
  assert.deepEqual(errors, []);
  return { kills, persistent: persistent.size, firsts: firsts.size, counts };
}
