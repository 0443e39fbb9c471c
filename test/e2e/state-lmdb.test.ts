// The LMDB state through many crashes.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, it } from 'node:test';
import { crash } from '../support/lmdb-crash.ts';

const root = mkdtempSync(join(tmpdir(), 'extauth-oauth-lmdb-'));
after(() => rmSync(root, { recursive: true, force: true }));

it('an LMDB state keeps what was written through 100 kills', async (t) => {
  const survived = await crash({ folder: join(root, 'state'), kills: 100 });
  t.diagnostic(JSON.stringify(survived));
  assert.ok(survived.persistent > 100);
});
