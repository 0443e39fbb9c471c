// The smallest Node program that answers ejabberd's frames: every one with yes. The base of all figures.
import { writeSync } from 'node:fs';

const YES = Buffer.from([0, 2, 0, 1]);
let rest;

process.stdin.on('data', (chunk) => {
  const bytes = rest === undefined ? chunk : Buffer.concat([rest, chunk]);
  let at = 0;
  while (bytes.length - at >= 2) {
    const end = at + 2 + ((bytes[at] << 8) | bytes[at + 1]);
    if (end > bytes.length) break;
    writeSync(1, YES);
    at = end;
  }
  rest = at < bytes.length ? bytes.subarray(at) : undefined;
});
