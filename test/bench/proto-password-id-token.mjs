// The smallest Node program for one duty: the password grant, the ID token of its answer checked, the name compared. No
// configuration, no log, no deadline, no limit: what a real program can reach at most. Arguments: the provider's origin,
// a file with a JWK Set of one key, and the issuer.
import { writeSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { checkWith } from './proto-check.mjs';

const { hostname, port } = new URL(process.argv[2]);
const check = checkWith(process.argv[3], process.argv[4]);
const agent = new Agent({ keepAlive: true });
const FORM = { 'content-type': 'application/x-www-form-urlencoded' };
let rest = Buffer.alloc(0);

process.stdin.on('data', (chunk) => {
  rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
  if (rest.length < 2) return;
  const end = 2 + rest.readUInt16BE();
  if (rest.length < end) return;
  const [, user, , secret] = rest.latin1Slice(2, end).split(':');
  rest = rest.subarray(end);
  login(user, secret, (ok) => writeSync(1, Buffer.from([0, 2, 0, ok ? 1 : 0])));
});

function login(user, secret, done) {
  const body = `grant_type=password&username=${encodeURIComponent(user)}&password=${encodeURIComponent(secret)}&scope=openid&client_id=bench`;
  const headers = { ...FORM, 'content-length': body.length };
  const sent = request({ agent, hostname, port, method: 'POST', path: '/token', headers }, (response) => {
    let text = '';
    response.on('data', (part) => {
      text += part.latin1Slice();
    });
    response.on('end', () => done(check(JSON.parse(text).id_token)?.preferred_username === user));
  });
  sent.end(body);
}
