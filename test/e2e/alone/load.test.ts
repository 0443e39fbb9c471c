// Many connections and logins through one daemon, and then the same beside peers that do all they can to be in the way:
// every answer is right, nobody waits much longer, and the memory comes back.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { frame, temporaryFolder } from '../../support/bridge.ts';
import { type Daemon, startDaemon } from '../../support/daemon.ts';
import { connectPeer, connectTo } from '../../support/peer.ts';
import { type Scripted, startScripted } from '../../support/scripted-provider.ts';
import { createSigner } from '../../support/signer.ts';

const connections = 1000;
/** Logins that are being judged at a time: what a busy server has. */
const inFlight = 16;
/** Quiet and not, in turns: what else this machine does is then in all of them. */
const rounds = 9;
/** A machine that does much else has its own slow moments: what is in doubt is measured longer, and all of it counts. */
const longest = 3 * rounds;
const kinds = ['quiet', 'garbage', 'zeros'] as const;
const perRound = 600;
const logins = rounds * kinds.length * perRound;
/** How much longer the slowest of a hundred may wait, and the memory that may stay. */
const slower = 2;
const larger = 1.2;

const host = 'example.org';
const extauth = join(temporaryFolder(), 'extauth.sock');
const dovecot = join(temporaryFolder(), 'dovecot.sock');

let provider: Scripted;
let daemon: Daemon;
/** Requests and what they must be answered with. */
let mix: { request: Buffer; expected: number }[];
let forged: string;

before(async () => {
  provider = await startScripted();
  const { origin, endpoints } = provider;
  const signer = createSigner('ES256', 'k');
  provider.set('jwks', { body: { keys: [signer.jwk] } });
  const claims = (name: string) => ({
    iss: origin,
    aud: 'xmpp',
    exp: 4e9,
    sub: name,
    preferred_username: name,
  });
  const tokens = await Promise.all(
    Array.from({ length: 400 }, (_, index) =>
      signer.token({ ...claims(`user-${index}`), jti: String(index) }),
    ),
  );
  forged = await createSigner('ES256', 'k').token(claims('user-0'));
  const login = (user: string, secret: string, expected: number) => ({
    request: frame(`auth:${user}:${host}:${secret}`),
    expected,
  });
  mix = tokens.flatMap((token, index) => [
    login(`user-${index}`, token, 1),
    login(`user-${index + 1}`, token, 0),
    index % 4 === 0 ? login('user-0', forged, 0) : login(`user-${index}`, token, 1),
    index % 2 === 0 ? login('alice', 'alice-password', 1) : login(`nobody-${index}`, 'wrong', 0),
  ]);
  daemon = await startDaemon({
    config: {
      hosts: { [host]: null },
      issuer: origin,
      jwks_uri: endpoints.jwks,
      token_endpoint: endpoints.token,
      client_id: 'xmpp',
      client_secret: 'load-secret',
      listen: [
        { path: extauth, protocol: 'extauth' },
        { path: dovecot, protocol: 'dovecot', host },
      ],
      // The provider is asked for each wrong password, every time.
      cache: { negative_ttl: 0 },
      limits: { wrong_passwords: 'none' },
      // Every request is a line; what a disk makes of that is another question.
      log: { destination: '/dev/null' },
    },
  });
});

after(async () => {
  await daemon?.stop();
  await provider?.stop();
});

test(`${connections} connections carry ${logins} logins, whatever others do`, async (t) => {
  const carriers = await Promise.all(Array.from({ length: connections }, () => openCarrier()));
  // What is loaded, compiled and remembered on the way is not what is measured.
  for (const kind of kinds) await measure(kind, carriers);
  const before = await settled();
  const slowest: Record<(typeof kinds)[number], Figures[]> = { quiet: [], garbage: [], zeros: [] };
  const middle = (kind: (typeof kinds)[number], figure: keyof Figures): number =>
    median(slowest[kind].map((figures) => figures[figure]));
  const isFair = (kind: 'garbage' | 'zeros'): boolean =>
    middle(kind, 'p99') <= slower * middle('quiet', 'p99');
  for (let round = 0; round < longest; round++) {
    if (round >= rounds && isFair('garbage') && isFair('zeros')) break;
    for (const kind of kinds) slowest[kind].push(await measure(kind, carriers));
  }
  const afterwards = await settled();

  for (const kind of kinds) {
    const all = slowest[kind].map(({ p99 }) => p99.toFixed(1)).join(', ');
    t.diagnostic(
      `${kind}: p50 ${middle(kind, 'p50').toFixed(2)} ms, p99 ${middle(kind, 'p99').toFixed(2)} ms (${all}), ` +
        `${Math.round(middle(kind, 'rate'))} logins/s`,
    );
  }
  t.diagnostic(`memory ${before} MiB, and ${afterwards} MiB afterwards`);
  for (const kind of ['garbage', 'zeros'] as const)
    assert.ok(isFair(kind), `others wait too long beside ${kind}`);
  assert.ok(afterwards <= larger * before, `${before} MiB have become ${afterwards}`);
  for (const carrier of carriers) carrier.socket.destroy();
});

/** A connection over which one login at a time is judged, as ejabberd does it. */
interface Carrier {
  readonly socket: Socket;
  ask(request: Buffer): Promise<number>;
}

async function openCarrier(): Promise<Carrier> {
  const socket = connectTo(extauth);
  await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject));
  let answered = (_answer: number): void => {};
  socket.on('data', (data: Buffer) => answered(data.length === 4 ? data.readUInt32BE() - 0x20000 : -1));
  socket.on('close', () => answered(-2));
  return {
    socket,
    ask: (request) =>
      new Promise((resolve) => {
        answered = resolve;
        socket.write(request);
      }),
  };
}

interface Figures {
  /** Milliseconds. */
  readonly p50: number;
  readonly p99: number;
  /** Logins in a second. */
  readonly rate: number;
}

let asked = 0;

async function measure(kind: (typeof kinds)[number], carriers: readonly Carrier[]): Promise<Figures> {
  const stop = kind === 'quiet' ? () => {} : disturb(kind);
  // They have what they need to be at full speed.
  await sleep(200);
  const took: number[] = [];
  const started = performance.now();
  const wrong: string[] = [];
  const lanes = Array.from({ length: inFlight }, async () => {
    for (let left = Math.ceil(perRound / inFlight); left > 0; left--) {
      const number = asked++;
      const carrier = carriers[number % carriers.length] as Carrier;
      const { request, expected } = mix[number % mix.length] as (typeof mix)[number];
      const start = performance.now();
      const answer = await carrier.ask(request);
      took.push(performance.now() - start);
      if (answer !== expected) wrong.push(`${request.toString('latin1').slice(2, 60)}: ${answer}`);
    }
  });
  await Promise.all(lanes);
  const rate = (took.length * 1000) / (performance.now() - started);
  stop();
  provider.seen.length = 0;
  assert.deepEqual(wrong, []);
  took.sort((a, b) => a - b);
  const at = (part: number): number => took[Math.floor(took.length * part)] ?? 0;
  return { p50: at(0.5), p99: at(0.99), rate };
}

/** Starts those who are in the way; the function that is returned ends them. */
function disturb(kind: 'garbage' | 'zeros'): () => void {
  const sockets = new Set<Socket>();
  let going = true;
  const open = (place: string): Socket => {
    const socket = connectTo(place);
    sockets.add(socket);
    socket.on('error', () => {});
    return socket;
  };
  /** As fast as it is taken. */
  const flood = (socket: Socket, block: Buffer | string): void => {
    const more = (): void => {
      while (going && socket.writable && socket.write(block));
    };
    socket.on('drain', more);
    socket.on('data', () => {});
    more();
  };

  flood(open(extauth), kind === 'garbage' ? randomBytes(64 * 1024) : Buffer.alloc(64 * 1024));

  const deaf = open(extauth);
  deaf.pause();
  deaf.write(
    Buffer.concat(Array.from({ length: 400 }, (_, index) => mix[index]?.request ?? Buffer.alloc(0))),
  );
  deaf.write(Buffer.alloc(1024 * 1024));

  const half = open(extauth);
  half.write(frame('auth:alice:example.org:alice-password').subarray(0, 20));

  const nonsense = (): void => {
    if (!going) return;
    const peer = open(dovecot);
    flood(peer, `VERSION\t1\t1\n${'NONSENSE\t1\n'.repeat(1000)}`);
    peer.on('close', () => {
      sockets.delete(peer);
      setTimeout(nonsense, 1);
    });
  };
  const bearer = Buffer.from(`n,,\x01auth=Bearer ${forged}\x01\x01`).toString('base64');
  const requests = Array.from({ length: 100 }, (_, id) => `AUTH\t${id}\tOAUTHBEARER\tresp=${bearer}\n`).join(
    '',
  );
  const impatient = (): void => {
    const peer = open(dovecot);
    peer.write('VERSION\t1\t1\n');
    flood(peer, requests);
  };
  if (kind === 'garbage') nonsense();
  else impatient();

  return () => {
    going = false;
    for (const socket of sockets) socket.destroy();
  };
}

/** MiB of the daemon, when it has had time to clean up. */
async function settled(): Promise<number> {
  await sleep(3000);
  const peer = connectPeer(extauth);
  assert.equal(await peer.ask(`isuser:alice:${host}`), 1);
  peer.leave();
  const kilobytes = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${daemon.pid}/status`, 'utf8'))?.[1];
  return Math.round(Number(kilobytes) / 1024);
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}
