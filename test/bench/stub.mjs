// A provider that always says the same: a token, and alice. Arguments: what is wrong with it (`none`, `hang`, `reset`,
// `drip`, `flood`), and perhaps a file with its key set and the ID tokens that it hands out in turn. Prints its port.
// With `everybody` for the first argument it knows whoever it is asked about: `token-of-bob` is bob's, and a secret that
// begins with `wrong` is wrong.
// POST /latency/50 makes it hold each answer for 50 ms.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';

const fault = process.argv[2] ?? 'none';
const { jwks = { keys: [] }, idTokens = [] } = process.argv[3]
  ? JSON.parse(readFileSync(process.argv[3], 'utf8'))
  : {};
let latency = 0;
let asked = 0;

const TOKEN = JSON.stringify({ access_token: 'dG9rZW4tb2YtYWxpY2U', token_type: 'Bearer', expires_in: 300 });
const USER = JSON.stringify({ sub: 'a1', preferred_username: 'alice', name: 'Alice' });
const ACTIVE = JSON.stringify({
  active: true,
  client_id: 'bench',
  username: 'alice',
  sub: 'a1',
  scope: 'openid profile email',
  exp: Math.floor(Date.now() / 1000) + 24 * 3600,
});
/** Signed beforehand: a signature costs as much as several logins. */
const WITH_ID_TOKEN = idTokens.map((id_token) => JSON.stringify({ ...JSON.parse(TOKEN), id_token }));
const ANSWERS = {
  '/token': () => (idTokens.length === 0 ? TOKEN : WITH_ID_TOKEN[asked % idTokens.length]),
  '/userinfo': () => USER,
  '/introspect': () => ACTIVE,
  '/jwks': () => JSON.stringify(jwks),
  '/.well-known/openid-configuration': (origin) =>
    JSON.stringify({ issuer: origin, jwks_uri: `${origin}/jwks` }),
};
const FLOOD = 64 * 1024 * 1024;
const SPACES = Buffer.alloc(64 * 1024, ' ');
const DRIP_EVERY = 50;

/** How long each answer was really held: timers are late. */
const holds = [];

const server = createServer((request, response) => {
  let body = '';
  if (fault === 'everybody') request.on('data', (part) => (body += part.latin1Slice()));
  else request.resume();
  request.on('end', () => {
    if (request.url.startsWith('/latency/')) {
      latency = Number(request.url.slice('/latency/'.length));
      return answer(response, '{}');
    }
    if (request.url === '/holds') return answer(response, JSON.stringify(holds.splice(0)));
    if (request.url === '/asked') return answer(response, String(asked));
    asked++;
    if (fault === 'everybody') return hold(() => answerAbout(request, body, response));
    if (fault !== 'none') return FAULTS[fault](response);
    const text = ANSWERS[request.url]?.(`http://${request.headers.host}`);
    if (text === undefined) return response.writeHead(404).end();
    hold(() => answer(response, text));
  });
});

function hold(say) {
  if (latency === 0) return say();
  const since = performance.now();
  setTimeout(() => {
    holds.push(performance.now() - since);
    say();
  }, latency);
}

function answer(response, text) {
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': text.length });
  response.end(text);
}

function answerAbout({ url, headers }, body, response) {
  if (url === '/token') {
    if (body.includes('password=wrong')) return refuse(response, 400, '{"error":"invalid_grant"}');
    const [, name] = /(?:^|&)username=([^&]*)/.exec(body);
    return answer(response, `{"access_token":"token-of-${name}","token_type":"Bearer","expires_in":300}`);
  }
  if (url === '/introspect') {
    const [, name] = /(?:^|&)token=token-of-([^&]*)/.exec(body) ?? [];
    return answer(response, `{"active":true,"client_id":"bench","sub":"id-of-${name}","username":"${name}"}`);
  }
  const [, name] = /^Bearer token-of-(.*)/.exec(headers.authorization) ?? [];
  if (name === undefined) return refuse(response, 401, '{"error":"invalid_token"}');
  answer(response, `{"sub":"id-of-${name}","preferred_username":"${name}"}`);
}

function refuse(response, status, text) {
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': text.length });
  response.end(text);
}

const FAULTS = {
  hang() {},
  reset: (response) => response.socket.resetAndDestroy(),
  drip(response) {
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': 1000 });
    const timer = setInterval(() => response.write(' '), DRIP_EVERY);
    response.on('close', () => clearInterval(timer));
  },
  flood(response) {
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': FLOOD });
    let sent = 0;
    const more = () => {
      while (sent < FLOOD) {
        sent += SPACES.length;
        if (!response.write(SPACES)) return;
      }
      response.end();
    };
    response.on('drain', more);
    more();
  },
};

server.keepAliveTimeout = 600_000;
server.requestTimeout = 0;
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
// The benchmark's end of this pipe closes with it.
process.stdin.on('end', () => process.exit(0)).resume();
