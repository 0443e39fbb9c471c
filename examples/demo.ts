// `npm run demo`: a real OpenID provider and the bridge, started and asked as ejabberd would do it. Nothing is
// installed, nothing is left behind, and nothing but the loopback interface is used.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { type Bridge, startBridge } from '../test/support/bridge.ts';
import { startProvider } from '../test/support/provider.ts';

interface Step {
  /** Operation, user and host as they stand in the request. */
  readonly request: string;
  readonly secret?: Secret;
  readonly expected: Answer;
}

interface Secret {
  readonly value: string;
  /** What the table says instead. */
  readonly shown: string;
}

type Answer = 'yes' | 'no' | 'error';

const ANSWERS: Readonly<Record<number, Answer>> = { 0: 'no', 1: 'yes', 2: 'error' };
const HOST = 'chat.example';

const folder = mkdtempSync(join(tmpdir(), 'extauth-oauth-demo-'));
const provider = await startProvider({
  users: { alice: { password: 'wonderland' }, bob: { password: 'builder' } },
});
const configuration = {
  issuer: provider.issuer,
  client_id: provider.clientId,
  resource_owner_password: true,
  // The user's name is in preferred_username, which belongs to the scope profile.
  scope: 'openid profile',
  token_prefix: 'token:',
  hosts: { [HOST]: {} },
};
const file = join(folder, 'config.json');
writeFileSync(file, JSON.stringify(configuration), { mode: 0o600 });
const bridge = startBridge({
  config: file,
  cwd: folder,
  env: { EXTAUTH_OAUTH_CLIENT_SECRET: provider.clientSecret },
});

const password = (value: string, shown: string): Secret => ({ value, shown });
const aliceToken = { value: `token:${await provider.token('alice')}`, shown: "alice's access token" };
const jwt = (client: 'post' | 'other', shown: string): Promise<Secret> =>
  provider
    .token('alice', { format: 'jwt', client, audience: provider.clients[client].id })
    .then((value) => ({ value, shown }));
const steps: readonly Step[] = [
  { request: `auth:alice:${HOST}`, secret: password('wonderland', 'her password'), expected: 'yes' },
  { request: `auth:alice:${HOST}`, secret: password('looking-glass', 'a wrong password'), expected: 'no' },
  { request: `auth:mallory:${HOST}`, secret: password('wonderland', 'any password'), expected: 'no' },
  { request: `auth:alice:${HOST}`, secret: aliceToken, expected: 'yes' },
  { request: `auth:bob:${HOST}`, secret: aliceToken, expected: 'no' },
  { request: `auth:alice:${HOST}`, secret: await jwt('post', 'a JWT for us'), expected: 'yes' },
  { request: `auth:alice:${HOST}`, secret: await jwt('other', "another website's"), expected: 'no' },
  { request: 'auth:alice:other.example', secret: password('wonderland', 'her password'), expected: 'no' },
  { request: `isuser:alice:${HOST}`, expected: 'yes' },
  { request: `setpass:alice:${HOST}`, secret: password('jabberwocky', 'a new password'), expected: 'error' },
  { request: 'open sesame', expected: 'no' },
];

const coloured = process.stdout.isTTY;
const paint = (code: number, text: string): string => (coloured ? `\x1b[${code}m${text}\x1b[0m` : text);
const COLOURS: Readonly<Record<Answer, number>> = { yes: 32, no: 31, error: 33 };

let surprises = 0;
try {
  console.log(
    '\nextauth-oauth between an XMPP server and an OpenID provider, both of them here for a moment.',
  );
  console.log('Its whole configuration; the client secret comes in the environment:\n');
  for (const [option, value] of Object.entries(configuration)) {
    // Text that ends in a colon must be quoted in YAML.
    const plain = typeof value === 'string' && !value.endsWith(':');
    console.log(`  ${option}: ${plain ? value : JSON.stringify(value)}`);
  }
  console.log('\nWhat ejabberd asks, what it is answered, and why, as the log says:\n');
  // ejabberd starts the program long before the first user comes.
  await pause(300);
  row(['REQUEST', 'SECRET', 'ANSWER', 'VERDICT', 'REASON', 'MS'], (text) => paint(1, text));
  for (const [index, { request, secret, expected }] of steps.entries()) {
    const started = performance.now();
    const reply = await bridge.ask(secret === undefined ? request : `${request}:${secret.value}`);
    const milliseconds = performance.now() - started;
    const answer = ANSWERS[reply] ?? 'error';
    const { verdict, reason } = await logLine(bridge, index);
    const surprise = answer === expected ? '' : `  expected: ${expected}`;
    if (surprise !== '') surprises++;
    row(
      [
        request,
        secret?.shown ?? '-',
        answer,
        String(verdict ?? '?'),
        String(reason ?? '-'),
        milliseconds.toFixed(1),
      ],
      (text, column) => (column === 2 ? paint(COLOURS[answer], text) : text),
      surprise,
    );
  }
  // Revocation goes on after the answer. What stays is the token that the demo made for itself.
  for (const until = Date.now() + 1000; provider.tokensAlive() > 1 && Date.now() < until; ) await pause(10);
  const left = provider.tokensAlive() - 1;
  const revoked = left === 0 ? 'none, they were revoked' : `${left}, which should have been revoked`;
  console.log(`\nTokens of the password logins that are left at the provider: ${revoked}.`);
  console.log('Now your own provider and XMPP server: README.md says how.\n');
  if (left !== 0) surprises++;
} catch (error) {
  surprises++;
  console.error(error instanceof Error ? error.message : error);
} finally {
  await bridge.stop(2000);
  await provider.stop();
  rmSync(folder, { recursive: true, force: true });
}
process.exitCode = surprises === 0 ? 0 : 1;

/** 98 columns with the widest cells, without a remark. */
function row(cells: readonly string[], style: (text: string, column: number) => string, remark = ''): void {
  const widths = [26, 20, 6, 11, 15, 6];
  const padded = cells.map((cell, column) => {
    const width = widths[column] ?? 0;
    return style(column === cells.length - 1 ? cell.padStart(width) : cell.padEnd(width), column);
  });
  console.log(`  ${padded.join('  ')}${remark}`);
}

/** The log comes in the background, shortly after the answer. */
async function logLine({ log }: Bridge, index: number): Promise<Record<string, unknown>> {
  for (const until = Date.now() + 2000; Date.now() < until; await pause(10)) {
    const lines = log()
      .split('\n')
      .slice(0, -1)
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line) as Record<string, unknown>)
      .filter(({ event }) => event === 'request');
    const line = lines[index];
    if (line !== undefined) return line;
  }
  return {};
}
