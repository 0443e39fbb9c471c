// The Debian package is installed and purged on a layer on top of this machine, in a checkout of its own: others use what is
// installed and built here meanwhile.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makeCheckout } from './support/checkout.ts';
import { startMachine } from './support/machine.ts';

test('the life of the Debian package', { timeout: 235_000 }, async (t) => {
  const machine = await startMachine();
  t.after(() => machine.stop());
  const cwd = makeCheckout({ installed: true });
  // Else it would report to the runner of this test, and not in words.
  const lines =
    'env -u NODE_TEST_CONTEXT node --import tsx --test --test-timeout=230000 test/e2e/inside/deb.test.ts';
  const { code, out } = await machine.sh(lines, { cwd });
  t.diagnostic(out);
  assert.equal(code, 0);
});
