// The measures of tokens: judged locally, by introspection, and the ID token that spares a login by password an exchange.
import { writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Algorithm, createKey, ISSUER, type Key, opensslVerifies } from './jwt.ts';
import {
  addedToLatency,
  type Effort,
  figuresOf,
  firstAnswer,
  inPairs,
  memoryAfter,
  type PingPong,
  pingPong,
  pingPongs,
  warmPingPong,
  warmUp,
} from './pairs.ts';
import {
  CLIENT,
  configured,
  echo,
  frame,
  proto,
  type Subject,
  start,
  startStub,
  temporaryPath,
} from './program.ts';
import type { Figure, Target } from './table.ts';

const USERS = 100;

/** Logins in a run of full size that ask the provider. */
const ASKING = 8000;
/** Those of which each is a first time: with the warm-up, more tokens than the bridge may remember (10,000). */
const FIRST = 10_000;
const DISTINCT = FIRST + warmUp(FIRST);

/** Milliseconds after which the bridge has asked by itself for what it wants to know. */
const SETTLED = 600;

interface Tokens {
  readonly key: Key;
  /** Logins of 100 users, each with a token that no other one has. */
  readonly requests: readonly Buffer[];
}

const login = (user: string, token: string): Buffer => frame(`auth:${user}:localhost:${token}`);

const made = new Map<Algorithm, Tokens>();

/** Takes seconds the first time. */
function distinctTokens(algorithm: Algorithm): Tokens {
  const before = made.get(algorithm);
  if (before !== undefined) return before;
  const key = createKey(algorithm);
  const requests = Array.from({ length: DISTINCT }, (_, n) => {
    const user = `user${n % USERS}`;
    return login(user, key.accessToken(user));
  });
  made.set(algorithm, { key, requests });
  return { key, requests };
}

/** The bridge that has keys and no provider: nobody listens at any address that it is told. */
const jwtBridge = ({ jwksFile }: Key): Subject =>
  configured({ issuer: ISSUER, jwks_file: jwksFile, validation: 'jwt' });

interface FirstTime {
  readonly algorithm: Algorithm;
  readonly againstProto: Target;
  readonly againstOpenssl: Target;
}

const FIRST_TIMES: readonly FirstTime[] = [
  {
    algorithm: 'RS256',
    againstProto: { better: 'higher', must: 0.7, aim: 0.9 },
    againstOpenssl: { better: 'higher', must: 0.3, aim: 0.42 },
  },
  {
    algorithm: 'ES256',
    againstProto: { better: 'higher', must: 0.85, aim: 0.95 },
    againstOpenssl: { better: 'higher', must: 0.6, aim: 0.68 },
  },
];

/** Tokens judged locally: each one seen for the first time, and the same 100 again and again. */
export async function jwt(effort: Effort): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const each of FIRST_TIMES) figures.push(...(await firstTime(effort, each)));
  const { key, requests } = distinctTokens('RS256');
  const repeated = await pingPongs(
    'auth by JWT RS256, 100 tokens repeated / echo',
    effort,
    { base: echo, ours: jwtBridge(key), requests: requests.slice(0, USERS), count: 40_000 },
    { rate: { better: 'higher', must: 0.5, aim: 0.7 } },
  );
  return [...figures, ...repeated];
}

/** No token comes twice in the life of a process: a run takes all there are, the warm-up among them, once. */
async function firstTime(
  effort: Effort,
  { algorithm, againstProto, againstOpenssl }: FirstTime,
): Promise<Figure[]> {
  const { key, requests } = distinctTokens(algorithm);
  const duty = { requests, count: FIRST };
  const pairs = await inPairs<{ openssl: number; smallest: PingPong }, PingPong>(
    effort,
    async () => ({
      openssl: opensslVerifies(algorithm),
      smallest: await warmPingPong(proto('jwt', key.jwksFile, ISSUER), duty, effort),
    }),
    () => warmPingPong(jwtBridge(key), duty, effort),
  );
  const name = `auth by JWT ${algorithm}, first time`;
  return [
    ...figuresOf(
      name,
      { base: pairs.base.map(({ smallest }) => smallest), ours: pairs.ours },
      { rate: againstProto },
    ),
    {
      name: `${name} / openssl speed, verify`,
      unit: '/s',
      ours: pairs.ours.map(({ rate }) => rate),
      base: pairs.base.map(({ openssl }) => openssl),
      target: againstOpenssl,
    },
  ];
}

export async function jwtCold(effort: Effort): Promise<Figure[]> {
  const key = createKey('RS256');
  const request = login('alice', key.accessToken('alice'));
  const results = await inPairs(
    effort,
    () => firstAnswer(echo, request),
    () => firstAnswer(jwtBridge(key), request),
  );
  return [{ name: 'cold start to the first login by JWT / bare Node', unit: 'ms', ...results }];
}

/** Each with another token: what is remembered of a token counts, too. */
export function jwtMemory(effort: Effort): Promise<Figure[]> {
  const { key, requests } = distinctTokens('RS256');
  return memoryAfter(effort, {
    name: 'logins by JWT (each a first time)',
    base: echo,
    ours: jwtBridge(key),
    requests,
  });
}

/** Logins that leave the process: how often the provider, which has the keys, is asked for anything at all. */
export async function jwtOutside(effort: Effort): Promise<Figure[]> {
  const key = createKey('RS256');
  const issued = temporaryPath('issued.json');
  writeFileSync(issued, JSON.stringify({ jwks: key.jwks }));
  const logins = Math.round(40_000 * effort.size);
  const run = async (): Promise<number> => {
    const stub = await startStub({ issued });
    const { origin } = stub;
    const requests = Array.from({ length: USERS }, (_, n) =>
      login(`user${n}`, key.accessToken(`user${n}`, origin)),
    );
    const program = start(configured({ issuer: origin, jwks_uri: `${origin}/jwks`, validation: 'jwt' }));
    pingPong(program, requests, { count: 1 });
    await sleep(SETTLED);
    pingPong(program, requests, { count: logins - 1, from: 1 });
    const asked = await stub.asked();
    await program.stop();
    await stub.stop();
    return asked;
  };
  const results = await inPairs(effort, async () => logins, run);
  return [
    {
      name: 'logins by JWT, 100 tokens repeated: requests to the provider, its keys among them / logins',
      unit: '',
      ...results,
      judged: 'ours',
    },
  ];
}

export async function introspection(effort: Effort): Promise<Figure[]> {
  const stub = await startStub();
  const { origin } = stub;
  const base = proto('introspection', origin, CLIENT.client_secret);
  const ours = configured({
    introspection_endpoint: `${origin}/introspect`,
    validation: 'introspection',
    username_field: 'username',
    token_prefix: 'token:',
    cache: { token_ttl: 0 },
  });
  const request = frame('auth:alice:localhost:token:dG9rZW4tb2YtYWxpY2U');
  const figures = [
    ...(await pingPongs(
      'auth by token (introspection)',
      effort,
      { base, ours, requests: [request], count: ASKING, provider: { stub, exchanges: 1 } },
      { rate: { better: 'higher', must: 0.65, aim: 0.85 } },
    )),
    await addedToLatency(effort, stub, {
      name: 'token (introspection, 1 exchange)',
      base,
      ours,
      request,
      exchanges: 1,
    }),
  ];
  await stub.stop();
  return figures;
}

/** The answer to the password has an ID token, so that UserInfo need not be asked. */
export async function passwordIdToken(effort: Effort): Promise<Figure[]> {
  const key = createKey('RS256');
  const idTokens = Array.from({ length: ASKING + warmUp(ASKING) }, () => key.idToken('dG9rZW4tb2YtYWxpY2U'));
  const issued = temporaryPath('issued.json');
  writeFileSync(issued, JSON.stringify({ jwks: key.jwks, idTokens }));
  const stub = await startStub({ issued });
  const { origin } = stub;
  const base = proto('password-id-token', origin, key.jwksFile, ISSUER);
  const ours = configured({
    issuer: ISSUER,
    jwks_uri: `${origin}/jwks`,
    token_endpoint: `${origin}/token`,
    validation_endpoint: `${origin}/userinfo`,
    resource_owner_password: true,
    revoke_after_login: false,
  });
  const request = frame('auth:alice:localhost:secret');
  const figures = [
    ...(await pingPongs(
      'auth by password, with an ID token',
      effort,
      { base, ours, requests: [request], count: ASKING, provider: { stub, exchanges: 1 } },
      { rate: { better: 'higher', must: 0.65, aim: 0.85 } },
    )),
    await addedToLatency(effort, stub, {
      name: 'password (with an ID token, 1 exchange)',
      base,
      ours,
      request,
      exchanges: 1,
    }),
  ];
  await stub.stop();
  return figures;
}
