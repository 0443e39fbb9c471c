// How root becomes a server's user: what is run on the way there, and as whom.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { wayTo } from '../src/check/become.ts';

describe("root on the way to a server's user", () => {
  const account = { name: 'ejabberd', uid: 106, gids: [110, 42], home: '/var/lib/ejabberd' };

  it("is root no more when it runs the first thing in the server's view of the files", () => {
    const way = wayTo(account, 4711);
    assert.deepEqual(way, [
      ...['setpriv', '--regid=110', '--groups=110,42', '--'],
      ...['nsenter', '--target=4711', '--mount', '--wd', '--setuid=106', '--'],
    ]);
  });

  it('takes the groups that the machine gives the user where the files are those of everybody', () => {
    assert.deepEqual(wayTo(account, undefined), [
      'setpriv',
      '--reuid=106',
      '--regid=110',
      '--init-groups',
      '--',
    ]);
  });
});
