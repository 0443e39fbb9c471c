// What an editor says of a configuration is what the program says of it, as far as a JSON Schema can.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { Ajv } from 'ajv';
import { load } from 'js-yaml';
import { configSchema } from '../.ci/config-schema.ts';
import { reference } from '../.ci/reference.ts';
import { parseConfig } from '../src/config/parse.ts';
import { root } from './support/bridge.ts';

const built: unknown = JSON.parse(readFileSync(join(root, 'dist/config.schema.json'), 'utf8'));
const validate = new Ajv({ allErrors: true, strict: true, strictTypes: false }).compile(built as object);
const problems = (config: unknown): string[] => {
  validate(config);
  return (validate.errors ?? []).map(({ instancePath, message }) => `${instancePath} ${message}`);
};

const issuer = 'https://id.example.org';

describe('config.schema.json', () => {
  it('is made of the schema as it is', () => {
    assert.deepEqual(built, configSchema());
  });

  const examples = readdirSync(join(root, 'examples')).filter(
    (name) => name.endsWith('.yml') && name !== 'ejabberd.yml',
  );
  for (const name of examples) {
    it(`takes ${name}`, () => {
      assert.deepEqual(problems(load(readFileSync(join(root, 'examples', name), 'utf8'))), []);
    });
  }

  const good: readonly [string, unknown][] = [
    ['the names of mod_auth_oauth_external', { oauth_external_issuer: issuer }],
    ['a virtual host that says nothing of its own', { issuer, hosts: { 'chat.example.org': null } }],
    ['a pattern', { issuer, hosts: { '*.example.org': { scope: 'openid' } } }],
    ['times with and without a unit', { issuer, clock_skew: 0, cache: { token_ttl: '90s' } }],
    ['one provider of several', { providers: [{ issuer, client_id: 'xmpp' }] }],
    ['one text for a list', { issuer, audience: 'xmpp', username_field: ['name', 'email'] }],
    ['a socket', { issuer, listen: [{ protocol: 'extauth', path: '/run/x.sock', mode: 660 }] }],
    ['words of YAML', { issuer, user_exists: false, setpass_reply: false }],
    ['rules', { issuer, require: { groups: ['a', 'b'] } }],
  ];
  for (const [what, config] of good) {
    it(`takes ${what}, as the program does`, () => {
      assert.deepEqual(problems(config), []);
      assert.deepEqual(parseConfig(config).problems, []);
    });
  }

  const bad: readonly [string, unknown][] = [
    ['an unknown option', { isuer: issuer }],
    ['an unknown option of a virtual host', { issuer, hosts: { 'chat.example.org': { isuer: issuer } } }],
    ['an unknown option of a group', { issuer, http: { time_out: '1s' } }],
    ['an unknown option of a socket', { issuer, listen: [{ protocol: 'extauth', path: '/a', pth: '/b' }] }],
    ['an option of the process in a virtual host', { issuer, hosts: { 'a.example': { state: 'memory' } } }],
    ['an option of the host in a provider', { providers: [{ issuer, user_exists: true }] }],
    ['a time without a unit', { issuer, deadline: 4 }],
    ['a time with a unit that there is not', { issuer, deadline: '4 seconds' }],
    ['text for a flag', { issuer, revoke_after_login: 'yes' }],
    ['a word that there is not', { issuer, validation: 'jws' }],
    ['a number out of bounds', { issuer, limits: { provider_concurrency: 0 } }],
    ['an address without a scheme', { issuer: 'id.example.org' }],
    ['a relative path', { issuer, jwks_file: 'keys.json' }],
    ['a virtual host that is none', { issuer, hosts: { 'alice@chat.example.org': {} } }],
    ['no virtual hosts', { issuer, hosts: {} }],
    ['a list for a mapping', { issuer, hosts: ['chat.example.org'] }],
  ];
  for (const [what, config] of bad) {
    it(`does not take ${what}, nor does the program`, () => {
      assert.notDeepEqual(problems(config), []);
      assert.notDeepEqual(parseConfig(config).problems, []);
    });
  }

  it('explains every option', () => {
    const text = JSON.stringify(built);
    for (const { name, meaning } of reference()) {
      if (name === 'hosts') continue;
      const [first = ''] = meaning
        .replaceAll(/\[([^\]]*)\]\([^)]*\)/g, '$1')
        .replaceAll('`', '')
        .split('"');
      assert.ok(text.includes(first), name);
    }
  });
});
