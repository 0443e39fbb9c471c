// The smallest Node program for one duty: introspection of the token given, the name compared. No configuration, no log,
// no deadline, no limit: what a real program can reach at most. Arguments: the provider's origin, our secret there.
import { writeSync } from 'node:fs';
import { Agent, request } from 'node:http';

const { hostname, port } = new URL(process.argv[2]);
const secret = encodeURIComponent(process.argv[3]);
const agent = new Agent({ keepAlive: true });
const FORM = { 'content-type': 'application/x-www-form-urlencoded' };
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
  const body = `token=${encodeURIComponent(token)}&token_type_hint=access_token&client_id=bench&client_secret=${secret}`;
  const headers = { ...FORM, 'content-length': body.length };
  const sent = request(
    { agent, hostname, port, method: 'POST', path: '/introspect', headers },
    (response) => {
      let text = '';
      response.on('data', (part) => {
        text += part.latin1Slice();
      });
      response.on('end', () => {
        const { active, username } = JSON.parse(text);
        done(active === true && username === user);
      });
    },
  );
  sent.end(body);
}
