// Fills an LMDB with so many users as if each had logged in: `known-users.ts FOLDER 1000000`. What is written is made by the
// code that makes it of logins; that it is written in order, in few transactions, is what makes it quick.
import { join } from 'node:path';
import { open } from 'lmdb';
import { pack } from '../../src/state/entry.ts';
import { openLmdbState } from '../../src/state/lmdb.ts';
import { createMemoryState } from '../../src/state/memory.ts';
import type { State } from '../../src/state/state.ts';
import { createUsers } from '../../src/users/users.ts';

/** Entries in one transaction. */
const TOGETHER = 50_000;

const [folder = '', count = ''] = process.argv.slice(2);

// Makes the folder, the file and the key.
const made = await openLmdbState({ folder });
const { key } = made;
await made.close();

const entries: { readonly name: string; readonly value: string }[] = [];
const collecting: State = {
  ...createMemoryState({ now: () => 0, maxEntries: 1, key }),
  key,
  putIfAbsent(name, value) {
    entries.push({ name, value });
    return undefined;
  },
};
const users = createUsers({ state: collecting, wallClock: Date.now });
for (let n = 0; n < Number(count); n++)
  await users.admit({ host: 'localhost', localpart: `user${n}`, pin: undefined });
entries.sort((one, other) => (one.name < other.name ? -1 : 1));

const database = open({
  path: join(folder, 'state.mdb'),
  noSubdir: true,
  encoding: 'string',
  useVersions: true,
});
for (let start = 0; start < entries.length; start += TOGETHER) {
  database.transactionSync(() => {
    for (const { name, value } of entries.slice(start, start + TOGETHER))
      database.putSync(name, pack(value, Number.POSITIVE_INFINITY, 0), 1);
  });
}
await database.close();
