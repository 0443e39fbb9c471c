// One login through the bridge, by itself or behind ejabberd, and what came of it: what the client hears and what the log
// says, which must be the same.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Bridge, startBridge, temporaryFolder, writeConfig } from '../../support/bridge.ts';
import { attempt } from './xmpp.ts';

export interface Logins {
  /** The configuration file: that of the program on pipes, and perhaps ejabberd's. */
  readonly config: string;
  readonly bridge: Bridge;
  /** `accepted by password`, `refused: user_mismatch`, `unavailable: client_refused`... */
  on(host: string, user: string, password: string): Promise<string>;
  /** The same by an XMPP client at the ejabberd that listens there. */
  byXmpp(port: number, host: string, user: string, password: string): Promise<string>;
  isUser(user: string, host: string): Promise<boolean>;
  /** Everything that was logged so far. */
  log(): string;
}

/** Starts the program with these virtual hosts; what it logs goes to a file that ejabberd's workers may share. */
export function startLogins(hosts: Record<string, unknown>): Logins {
  const file = join(temporaryFolder(), 'bridge.log');
  const config = writeConfig({
    hosts,
    deadline: '6s',
    log: { level: 'debug', destination: file },
    // Wrong passwords are what these tests are about.
    limits: { wrong_passwords: '100/15m' },
  });
  const bridge = startBridge({ config });
  const log = () => (existsSync(file) ? readFileSync(file, 'utf8') : '');

  function entries(): Record<string, string>[] {
    const text = log();
    const lines = text.slice(0, text.lastIndexOf('\n') + 1).split('\n');
    return lines.filter((line) => line.includes('"op":"auth"')).map((line) => JSON.parse(line));
  }

  async function outcome(host: string, user: string, logIn: () => Promise<boolean>): Promise<string> {
    const before = entries().length;
    const isIn = await logIn();
    // Dozens of logins wait here: in shorter steps than anywhere else.
    const until = Date.now() + 3000;
    while (entries().length === before && Date.now() < until) await sleep(5);
    assert.ok(entries().length > before, 'nothing in the log');
    const [entry = {}, ...others] = entries().slice(before);
    assert.deepEqual(others, [], 'one login, one line');
    assert.deepEqual([entry.host, entry.user], [host, user]);
    const { verdict, reason, method } = entry;
    assert.equal(isIn, verdict === 'accepted', `the log says ${verdict} ${reason}`);
    return isIn ? `accepted by ${method}` : `${verdict}: ${reason}`;
  }

  return {
    config,
    bridge,
    log,
    on: (host, user, password) =>
      outcome(host, user, async () => (await bridge.ask(`auth:${user}:${host}:${password}`)) === 1),
    byXmpp: (port, domain, username, password) =>
      outcome(domain, username, async () => {
        const answer = await attempt({ port, domain, username, password });
        assert.ok(['ok', 'not-authorized'].includes(answer), answer);
        return answer === 'ok';
      }),
    isUser: async (user, host) => (await bridge.ask(`isuser:${user}:${host}`)) === 1,
  };
}

/** Secrets of one test file; none may turn up in a log. */
export function createSecrets() {
  const all: string[] = [];
  const keep = (value: string): string => {
    all.push(value);
    return value;
  };
  return {
    keep,
    random: () => keep(`secret-${randomBytes(9).toString('hex')}`),
    /** A private file that holds it. */
    file(value: string): string {
      const file = join(temporaryFolder(), 'secret');
      writeFileSync(file, keep(value), { mode: 0o600 });
      return file;
    },
    assertNoneIn(text: string): void {
      for (const value of all) assert.ok(!text.includes(value.slice(0, 20)), 'a secret in a log');
    },
  };
}
