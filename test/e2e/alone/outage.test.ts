// A provider that goes away and comes back while people log in: nobody waits for it, nobody gets in by mistake, and the
// logins go on when it does. Every process is a real one. OUTAGE_SECONDS: how long the longest of the outages takes.
import assert from 'node:assert/strict';
import { constants, setPriority } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { startBridge, temporaryFolder } from '../../support/bridge.ts';
import { startDaemon } from '../../support/daemon.ts';
import { connectPeer, type Peer } from '../../support/peer.ts';
import {
  type ProviderProcess,
  passwordOf,
  startProviderProcess,
  tokenFor,
} from '../../support/provider-process.ts';
import { freePorts, within } from '../support/ejabberd.ts';
import {
  type Asked,
  events,
  hostOf,
  loadBridge,
  loadSocket,
  pausedMetric,
  quantile,
  timeOf,
} from '../support/outage.ts';

const seconds = Number(process.env.OUTAGE_SECONDS ?? 20);
const deadline = 4000;
/** Milliseconds from the return of the provider to the first login that succeeds. */
const backWithin = 2000;
/** Milliseconds of a login while the provider is left alone, 99 of 100, as the process counts them. */
const refusedWithin = 5;
/** 9 of 10 as they are seen from outside, by a process that shares two CPUs with all the others. */
const seenWithin = 25;

interface Outage {
  readonly seconds: number;
  readonly perSecond: number;
  begin(provider: ProviderProcess): unknown;
  end(provider: ProviderProcess): unknown;
}

const outages: Record<string, Outage> = {
  'stands still': {
    seconds,
    perSecond: 50,
    begin: (provider) => provider.signal('SIGSTOP'),
    end: (provider) => provider.signal('SIGCONT'),
  },
  'is not there': {
    seconds: 8,
    perSecond: 50,
    begin: (provider) => provider.kill(),
    end: (provider) => provider.start(),
  },
  'answers everything with 503': {
    seconds: 8,
    perSecond: 50,
    begin: (provider) => provider.fault({ status: 503 }),
    end: (provider) => provider.fault(undefined),
  },
};

describe('while a provider', { concurrency: true }, () => {
  for (const [name, outage] of Object.entries(outages)) {
    it(`${name}, a login is refused at once, and the first one succeeds soon after`, async (t) => {
      const provider = await startProviderProcess();
      const [port = 0] = await freePorts(1);
      const metrics = `127.0.0.1:${port}`;
      const path = join(temporaryFolder(), 'socket');
      const common = { ...hostOf(provider), deadline: `${deadline}ms` };
      const listen = [{ path, protocol: 'extauth' }];
      const daemon = await startDaemon({ config: { ...common, listen, metrics: { address: metrics } } });
      // One login after the other, it takes five times as long as one of them until an endpoint is left alone.
      const bridge = startBridge({ config: { ...common, http: { timeout: '1200ms' } } });
      try {
        // What is measured is them, and not who else wants the CPUs that all these processes share.
        for (const pid of [daemon.pid, bridge.child.pid])
          setPriority(pid ?? 0, constants.priority.PRIORITY_HIGHEST);
        // Of fewer than some hundreds, 99 of 100 would be all of them but one.
        const loads = { daemon: loadSocket(path, outage.perSecond), bridge: loadBridge(bridge, 50) };
        await sleep(3000);
        assert.deepEqual(new Set(Object.values(await pausedMetric(metrics))), new Set([0]));
        const begun = Date.now();
        await outage.begin(provider);
        await sleep(outage.seconds * 1000);
        const during = await pausedMetric(metrics);
        assert.deepEqual([during['/token'], during['/introspect']], [1, 1]);
        const ended = Date.now();
        await outage.end(provider);
        const returned = Date.now();
        await sleep(4000);
        await Promise.all([loads.daemon.stop(), loads.bridge.stop()]);

        for (const [who, process, asked] of [
          ['daemon', daemon, loads.daemon.asked],
          ['bridge', bridge, loads.bridge.asked],
        ] as const) {
          const paused = events(process, 'provider_paused');
          const back = events(process, 'provider_back');
          const endpoints = (lines: typeof paused) => lines.map(({ endpoint }) => String(endpoint)).sort();
          const both = [provider.endpoints.introspection, provider.endpoints.token];
          assert.deepEqual(endpoints(paused), both, `${who}: one line for each endpoint that is paused`);
          assert.deepEqual(endpoints(back), both, `${who}: one line for each that is back`);

          for (const { isRight, answer } of asked) if (!isRight) assert.equal(answer, 0, `${who} let in`);
          const right = asked.filter(({ isRight }) => isRight);
          assert.ok(asked.length - right.length > asked.length / 20, `${who}: some are wrong`);
          const before = right.filter(({ at, ms }) => at + ms < begun);
          assert.ok(before.length > 10 && before.every(({ answer }) => answer === 1), `${who} before`);
          assert.ok(Math.max(...asked.map(({ ms }) => ms)) < deadline + 200, `${who}: in time`);

          const opened = Math.max(...paused.map(timeOf));
          const refused = asked.filter(({ at }) => at > opened + 20 && at < ended - 50);
          assert.ok(refused.length > 30 && refused.every(({ answer }) => answer === 0), `${who} during`);
          const told = events(process, 'request').filter((line) => {
            const at = timeOf(line);
            return at > opened + 20 && at < ended - 50;
          });
          const times = (lines: typeof told) => lines.map(({ ms }) => Number(ms));
          const atOnce = times(told.filter(({ reason }) => reason === 'provider_paused'));
          const own = quantile(atOnce, 0.99);
          const noise = quantile(times(told.filter(({ op }) => op === 'isuser')), 0.99);
          const seen = quantile(
            refused.map(({ ms }) => ms),
            0.9,
          );
          const first = firstAfter(right, returned);
          t.diagnostic(
            `${who}: paused after ${opened - begun} ms; ${refused.length} refused, p99 ${own} ms ` +
              `(of nothing: ${noise} ms), p90 from outside ${seen.toFixed(1)} ms; first password after ${first.password} ms, ` +
              `first token after ${first.token} ms`,
          );
          assert.ok(
            told.length > refused.length / 2,
            `${who}: ${told.length} of ${refused.length} in the log`,
          );
          assert.ok(own < refusedWithin, `${who}: p99 ${own} ms, ${noise} of nothing`);
          assert.ok(seen < seenWithin, `${who}: p99 ${seen} ms from outside`);
          assert.ok(first.password < backWithin, `${who}: first password after ${first.password} ms`);
          assert.ok(first.token < backWithin, `${who}: first token after ${first.token} ms`);
          const after = right.filter(({ at }) => at > returned + backWithin);
          assert.ok(after.length > 5 && after.every(({ answer }) => answer === 1), `${who} afterwards`);
        }
        assert.deepEqual(new Set(Object.values(await pausedMetric(metrics))), new Set([0]));
      } finally {
        await Promise.all([daemon.kill(), bridge.stop(), provider.stop()]);
      }
    });
  }

  it('stands still, who was good before goes on with unavailable_grace, and nobody else', async (t) => {
    const provider = await startProviderProcess();
    const folder = join(temporaryFolder(), 'state');
    const start = (path: string) =>
      startDaemon({
        config: {
          ...hostOf(provider),
          deadline: `${deadline}ms`,
          state: `lmdb:${folder}`,
          cache: { unavailable_grace: '10m', token_ttl: '1s' },
          listen: [{ path, protocol: 'extauth' }],
        },
      });
    const paths = [join(temporaryFolder(), 'one'), join(temporaryFolder(), 'other')] as const;
    const daemons = [await start(paths[0]), await start(paths[1])] as const;
    const peers: Peer[] = [];
    const ask = async (which: 0 | 1, user: string, secret: string): Promise<number> => {
      const peer = connectPeer(paths[which]);
      peers.push(peer);
      const answer = await peer.ask(`auth:${user}:example.org:${secret}`, 10_000);
      peer.leave();
      return answer;
    };
    try {
      const exp = Math.floor(Date.now() / 1000) + 12;
      const token = `token:${tokenFor('tom')}`;
      const ending = `token:${tokenFor('eva', exp)}`;
      const revoked = tokenFor('rob');
      const alice = passwordOf('alice');
      const known = [
        ['alice', alice],
        ['tom', token],
        ['eva', ending],
        ['rob', `token:${revoked}`],
        ['carl', passwordOf('carl')],
      ] as const;
      for (const [user, secret] of known) assert.equal(await ask(0, user, secret), 1, user);
      await sleep(1200);
      // One process is told no; the other one has to know.
      await provider.revoke(revoked);
      await provider.revoke(`carl ${passwordOf('carl')}`);
      assert.equal(await ask(1, 'rob', `token:${revoked}`), 0);
      assert.equal(await ask(1, 'carl', passwordOf('carl')), 0);

      provider.signal('SIGSTOP');
      const stopped = Date.now();
      const waits: number[] = [];
      let rounds = 0;
      const timed = async (which: 0 | 1, user: string, secret: string): Promise<number> => {
        const begun = performance.now();
        const answer = await ask(which, user, secret);
        waits.push(performance.now() - begun);
        return answer;
      };
      async function round(which: 0 | 1, n: number): Promise<void> {
        const sent = Date.now();
        const [password, good, expired, ...others] = await Promise.all([
          timed(which, 'alice', alice),
          timed(which, 'tom', token),
          timed(which, 'eva', ending),
          timed(which, 'rob', `token:${revoked}`),
          timed(which, 'carl', passwordOf('carl')),
          timed(which, 'dora', passwordOf('alice')),
          timed(which, 'alice', token),
          timed(which, 'bob', token),
          timed(which, `new${n}`, passwordOf(`new${n}`)),
          timed(which, `new${n}`, `token:${tokenFor(`new${n}`)}`),
        ]);
        const into = `at ${which}, ${sent - stopped} ms into it`;
        assert.deepEqual([password, good], [1, 1], `who is known ${into}`);
        if (Date.now() < exp * 1000) assert.equal(expired, 1, `before the end of the token ${into}`);
        if (sent >= exp * 1000) assert.equal(expired, 0, `after the end of the token ${into}`);
        assert.deepEqual(new Set(others), new Set([0]), `nobody else ${into}`);
      }
      const running: Promise<void>[] = [];
      for (; Date.now() < exp * 1000 + 3000; rounds++) {
        running.push(round(0, 2 * rounds), round(1, 2 * rounds + 1));
        await sleep(300);
      }
      await Promise.all(running);
      t.diagnostic(`${rounds} rounds; the slowest login took ${Math.max(...waits).toFixed(0)} ms`);
      assert.ok(Math.max(...waits) < deadline + 200);
      const grace = daemons.map((daemon) =>
        events(daemon, 'request').filter((line) => line.cache === 'grace'),
      );
      assert.ok(
        grace.every((lines) => lines.length >= 2 * rounds),
        'by the grace',
      );

      provider.signal('SIGCONT');
      await sleep(backWithin + 1000);
      for (const which of [0, 1] as const) {
        assert.equal(await ask(which, 'new', passwordOf('new')), 1);
        assert.equal(await ask(which, 'tom', token), 1);
        assert.equal(await ask(which, 'rob', `token:${revoked}`), 0);
        assert.equal(await ask(which, 'eva', ending), 0);
      }
    } finally {
      for (const peer of peers) peer.leave();
      await Promise.all([...daemons.map((daemon) => daemon.kill()), provider.stop()]);
    }
  });

  for (const status of [429, 503]) {
    it(`says ${status} and Retry-After: 3, it is left alone for so long and no longer`, async () => {
      const provider = await startProviderProcess();
      const [port = 0] = await freePorts(1);
      const metrics = `127.0.0.1:${port}`;
      const path = join(temporaryFolder(), 'socket');
      const daemon = await startDaemon({
        config: {
          ...hostOf(provider),
          listen: [{ path, protocol: 'extauth' }],
          metrics: { address: metrics },
        },
      });
      const peer = connectPeer(path);
      const ask = (user: string) => peer.ask(`auth:${user}:example.org:token:${tokenFor(user)}`);
      try {
        assert.equal(await ask('u0'), 1);
        await provider.fault({ status, headers: { 'retry-after': '3' } });
        const said = Date.now();
        assert.equal(await ask('u1'), 0);
        await provider.fault(undefined);
        const asked = provider.seen.length;
        let user = 2;
        for (; Date.now() < said + 2950; user++) {
          assert.equal(await ask(`u${user}`), 0);
          assert.equal((await pausedMetric(metrics))['/introspect'], 1);
          await sleep(20);
        }
        assert.ok(user > 10);
        assert.equal(provider.seen.length, asked, 'nothing is sent before its time');
        assert.equal(await within(1000, async () => (await ask(`u${user++}`)) === 1), true, 'and then it is');
        assert.ok(Date.now() < said + 3500);
        assert.equal((await pausedMetric(metrics))['/introspect'], 0);
        for (let more = 0; more < 5; more++) assert.equal(await ask(`v${more}`), 1);
        assert.ok(await within(1000, () => events(daemon, 'provider_back').length > 0));
        assert.equal(events(daemon, 'provider_paused').length, 1);
        assert.equal(events(daemon, 'provider_back').length, 1);
      } finally {
        peer.leave();
        await Promise.all([daemon.kill(), provider.stop()]);
      }
    });
  }
});

describe('with a deadline of one second and an http.timeout of more', { concurrency: true }, () => {
  const config = { deadline: '1s', http: { timeout: '3500ms' } };

  for (const kind of ['password', 'token'] as const) {
    it(`a provider that stands still is left alone after five logins with a ${kind}`, async () => {
      const provider = await startProviderProcess();
      const path = join(temporaryFolder(), 'socket');
      const listen = [{ path, protocol: 'extauth' }];
      const daemon = await startDaemon({ config: { ...hostOf(provider), ...config, listen } });
      const peer = connectPeer(path);
      const ask = async (user: string): Promise<number> => {
        const begun = performance.now();
        const secret = kind === 'password' ? passwordOf(user) : `token:${tokenFor(user)}`;
        assert.equal(await peer.ask(`auth:${user}:example.org:${secret}`), 0);
        return performance.now() - begun;
      };
      try {
        await provider.fault({ stall: true });
        for (let n = 0; n < 5; n++) {
          const ms = await ask(`u${n}`);
          assert.ok(ms > 500 && ms < 1100, `login ${n} took ${ms} ms`);
        }
        assert.ok(await within(1000, () => events(daemon, 'provider_paused').length === 1), 'paused after 5');
        for (let n = 5; n < 20; n++) assert.ok((await ask(`u${n}`)) < 100, `login ${n} is refused at once`);
        await provider.fault(undefined);
        const back = await within(
          backWithin,
          async () => (await peer.ask(`auth:back:example.org:${passwordOf('back')}`)) === 1,
        );
        assert.ok(back, 'and it is back');
      } finally {
        peer.leave();
        await Promise.all([daemon.kill(), provider.stop()]);
      }
    });
  }

  it('a GET is sent again where there is time, and not where there is none', async () => {
    const provider = await startProviderProcess();
    const host = hostOf(provider);
    const bridge = startBridge({ config: { ...host, ...config, validation: 'userinfo' } });
    const gets = () => provider.seen.filter(({ method }) => method === 'GET').length;
    try {
      assert.equal(await bridge.ask(`auth:u0:example.org:token:${tokenFor('u0')}`), 1);
      let before = gets();
      await provider.fault({ resetAfter: 10 });
      assert.equal(await bridge.ask(`auth:u1:example.org:token:${tokenFor('u1')}`), 0);
      assert.equal(gets() - before, 2, 'once more');
      before = gets();
      await provider.fault({ resetAfter: 850 });
      const begun = performance.now();
      assert.equal(await bridge.ask(`auth:u2:example.org:token:${tokenFor('u2')}`), 0);
      assert.ok(performance.now() - begun < 1100);
      await sleep(300);
      assert.equal(gets() - before, 1, 'no more');
    } finally {
      await Promise.all([bridge.stop(), provider.stop()]);
    }
  });
});

function firstAfter(asked: readonly Asked[], returned: number): Record<'password' | 'token', number> {
  const first = (kind: string): number =>
    Math.min(
      ...asked
        .filter((each) => each.kind === kind && each.answer === 1 && each.at + each.ms > returned)
        .map(({ at, ms }) => Math.round(at + ms - returned)),
    );
  return { password: first('password'), token: first('token') };
}
