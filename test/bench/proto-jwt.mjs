// The smallest Node program for one duty: a JWT checked against one key, the name compared. No configuration, no log, no
// header looked at, no kind of token told from another: what a real program can reach at most. Arguments: a file with a
// JWK Set of one key, and the issuer.
import { writeSync } from 'node:fs';
import { checkWith } from './proto-check.mjs';

const check = checkWith(process.argv[2], process.argv[3]);
let rest = Buffer.alloc(0);

process.stdin.on('data', (chunk) => {
  rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
  if (rest.length < 2) return;
  const end = 2 + rest.readUInt16BE();
  if (rest.length < end) return;
  const [, user, , token] = rest.latin1Slice(2, end).split(':');
  rest = rest.subarray(end);
  writeSync(1, Buffer.from([0, 2, 0, check(token)?.preferred_username === user ? 1 : 0]));
});
