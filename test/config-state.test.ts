// The options that say what is kept, how long, and where others find it.
import assert from 'node:assert/strict';
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { inspect } from 'node:util';
import { type Config, ConfigError, loadConfig } from '../src/config/index.ts';
import { temporaryFolder, writeConfig } from './support/bridge.ts';

const provider = { issuer: 'https://id.example' };

function load(config: object, env: NodeJS.ProcessEnv = {}): Config {
  return loadConfig({ config: writeConfig({ ...provider, ...config }), env });
}

function problems(config: object, env?: NodeJS.ProcessEnv): string[] {
  try {
    load(config, env);
    return [];
  } catch (error) {
    assert.ok(error instanceof ConfigError);
    return error.problems.map(({ path, message }) => `${path}: ${message}`);
  }
}

function file(content: string, mode = 0o600): string {
  const name = join(temporaryFolder(), 'file');
  writeFileSync(name, content);
  chmodSync(name, mode);
  return name;
}

const KEY = 'k'.repeat(44);

describe('cache and limits', () => {
  it('are what the table of options says', () => {
    const { cache, limits } = load({}).process;
    assert.deepEqual(cache, {
      token_ttl: 60_000,
      password_ttl: 0,
      negative_ttl: 300_000,
      max_entries: 10_000,
      unavailable_grace: 0,
    });
    assert.deepEqual(limits, {
      wrong_passwords: { count: 5, window: 900_000 },
      provider_concurrency: 32,
    });
  });

  const budgets: [text: string, value: unknown][] = [
    ['3/1h', { count: 3, window: 3_600_000 }],
    ['10/90s', { count: 10, window: 90_000 }],
    ['none', undefined],
  ];
  for (const [text, value] of budgets) {
    it(`take ${text} for a budget`, () =>
      assert.deepEqual(load({ limits: { wrong_passwords: text } }).process.limits.wrong_passwords, value));
  }

  const wrong: [config: object, problem: RegExp][] = [
    ...['5', '0/15m', '5/15', '5 / 15m', '-1/1m', '5/m', 5, true, null].map((value): [object, RegExp] => [
      { limits: { wrong_passwords: value } },
      /^limits\.wrong_passwords: must be a number and a time such as 5\/15m, or none$/,
    ]),
    [{ limits: { provider_concurrency: 0 } }, /^limits\.provider_concurrency: must be a whole number from 1/],
    [{ cache: { token_ttl: '60' } }, /^cache\.token_ttl: must be a duration/],
    [{ cache: { token_ttl: -1 } }, /^cache\.token_ttl: must be a duration/],
    [{ cache: { max_entries: 10 } }, /^cache\.max_entries: must be a whole number from 100/],
    [{ cache: { ttl: '60s' } }, /^cache\.ttl: unknown option/],
    [{ cache: { tokenttl: '60s' } }, /^cache\.tokenttl: unknown option; did you mean token_ttl\?$/],
    [
      { 'cache.token_ttl': '60s' },
      /^"cache\.token_ttl": unknown option; write it nested: cache: \{ token_ttl/,
    ],
    [{ limits: { wrong_password: 'none' } }, /^limits\.wrong_password: unknown.*wrong_passwords\?$/],
    [{ cache: '60s' }, /^cache: must be a mapping/],
    [
      { hosts: { 'a.example': { cache: { token_ttl: 0 } } } },
      /^hosts\."a\.example"\.cache: holds for the whole process: put it at the top level$/,
    ],
  ];
  for (const [config, problem] of wrong) {
    it(`are refused as ${JSON.stringify(config)}`, () => {
      const found = problems(config);
      assert.equal(found.length, 1, found.join('\n'));
      assert.match(String(found[0]), problem);
    });
  }
});

describe('state', () => {
  it('is in memory when nothing is said', () => assert.deepEqual(load({}).state, { store: 'memory' }));
  it('may be in a folder', () =>
    assert.deepEqual(load({ state: 'lmdb:/var/lib/x' }).state, { store: 'lmdb', folder: '/var/lib/x' }));

  it('may be in Redis, with a key from a file, less its newline', () => {
    const [state, same, other] = [`${KEY}\n`, KEY, `${KEY}x`].map(
      (key) => load({ state: 'redis://127.0.0.1', state_key_file: file(key) }).state,
    );
    assert.ok(state?.store === 'redis' && same?.store === 'redis' && other?.store === 'redis');
    assert.equal(state.key.length, 32);
    assert.deepEqual(state.key, same.key);
    assert.notDeepEqual(state.key, other.key);
  });

  it('takes passwords and authorities from the files that it names', () => {
    const [password, sentinel, ca] = [file('canary-one\n'), file('canary-two'), file('PEM', 0o644)];
    const state = `rediss://x@r.example?sentinel=m&password_file=${password}&sentinel_password_file=${sentinel}&ca_file=${ca}`;
    const loaded = load({ state, state_key_file: file(KEY) });
    assert.ok(loaded.state.store === 'redis');
    assert.equal(loaded.state.password?.reveal(), 'canary-one');
    assert.equal(loaded.state.sentinelPassword?.reveal(), 'canary-two');
    assert.equal(loaded.state.ca, 'PEM');
    assert.doesNotMatch(inspect(loaded, { depth: 9 }) + JSON.stringify(loaded), /canary/);
  });

  it('takes a key as systemd shows it, to a group by its access list', () => {
    const key = file(KEY, 0o440);
    const env = { CREDENTIALS_DIRECTORY: key.replace(/\/file$/, '') };
    assert.deepEqual(problems({ state: 'redis://127.0.0.1', state_key_file: key }, env), []);
    assert.equal(problems({ state: 'redis://127.0.0.1', state_key_file: key }).length, 1);
  });

  const wrong: [title: string, config: () => object, problem: RegExp][] = [
    ['another store', () => ({ state: 'sqlite:/x' }), /^state: write memory, lmdb:/],
    ['a relative folder', () => ({ state: 'lmdb:x' }), /^state: the folder of an LMDB must be absolute/],
    ['Redis without a key', () => ({ state: 'redis://r' }), /^state_key_file: is missing:.*openssl rand/],
    ['a key for the memory', () => ({ state_key_file: file(KEY) }), /^state_key_file: is for redis/],
    [
      'a key for an LMDB',
      () => ({ state: 'lmdb:/x', state_key_file: file(KEY) }),
      /^state_key_file: is for redis/,
    ],
    [
      'a key that others can read',
      () => ({ state: 'redis://127.0.0.1', state_key_file: file(KEY, 0o640) }),
      /^state_key_file: .* can be read by group or others: chmod 600$/,
    ],
    [
      'a short key',
      () => ({ state: 'redis://127.0.0.1', state_key_file: file('short') }),
      /^state_key_file: .* must hold one line of at least 16 characters/,
    ],
    [
      'a key that is not there',
      () => ({ state: 'redis://127.0.0.1', state_key_file: '/nonexistent/key' }),
      /^state_key_file: \/nonexistent\/key does not exist$/,
    ],
    [
      'a password file that others can read',
      () => ({
        state: `redis://127.0.0.1?password_file=${file('canary', 0o644)}`,
        state_key_file: file(KEY),
      }),
      /^state: .* can be read by group or others: chmod 600$/,
    ],
    [
      'an empty password file',
      () => ({ state: `redis://127.0.0.1?password_file=${file('\n')}`, state_key_file: file(KEY) }),
      /^state: .* is empty: it must hold the password$/,
    ],
  ];
  for (const [title, config, problem] of wrong) {
    it(`is refused as ${title}`, () => {
      const found = problems(config());
      assert.equal(found.length, 1, found.join('\n'));
      assert.match(String(found[0]), problem);
      assert.doesNotMatch(found.join(), /canary/);
    });
  }

  it('with a password in it must not be readable by everybody', () => {
    const config = writeConfig({
      ...provider,
      state: 'redis://:canary@127.0.0.1',
      state_key_file: file(KEY),
    });
    chmodSync(config, 0o644);
    assert.throws(
      () => loadConfig({ config, env: {} }),
      (error: unknown) =>
        error instanceof ConfigError &&
        /holds a secret and can be read by everybody/.test(error.message) &&
        !/canary/.test(inspect(error)),
    );
  });

  it('in clear text over the network is worth a warning', () => {
    const warnings = (state: string): string[] =>
      load({ state, state_key_file: file(KEY) }).warnings.flatMap(({ path }) =>
        path === 'state' ? [path] : [],
      );
    assert.deepEqual(warnings('redis://r.example'), ['state']);
    assert.deepEqual(warnings('redis://127.0.0.1'), []);
    assert.deepEqual(warnings('rediss://r.example'), []);
  });
});
