// The smallest Node program for one duty: UserInfo with the token given, the name compared. No configuration, no log, no
// deadline, no limit: what a real program can reach at most. Argument: the provider's origin.
import { writeSync } from 'node:fs';
import { Agent, get } from 'node:http';

const { hostname, port } = new URL(process.argv[2]);
const agent = new Agent({ keepAlive: true });
let rest = Buffer.alloc(0);

process.stdin.on('data', (chunk) => {
  rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
  if (rest.length < 2) return;
  const end = 2 + rest.readUInt16BE();
  if (rest.length < end) return;
  const [, user, , , token] = rest.latin1Slice(2, end).split(':');
  rest = rest.subarray(end);
  login(user, token, (ok) => writeSync(1, Buffer.from([0, 2, 0, ok ? 1 : 0])));
});

function login(user, token, done) {
  const headers = { authorization: `Bearer ${token}` };
  get({ agent, hostname, port, path: '/userinfo', headers }, (response) => {
    let text = '';
    response.on('data', (part) => {
      text += part.latin1Slice();
    });
    response.on('end', () => done(JSON.parse(text).preferred_username === user));
  });
}
