import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, it } from 'node:test';
import { type LuaValue, readProsodyConfig, ServerConfigError } from '../src/servers/prosody-config.ts';
import { temporaryFolder } from './support/bridge.ts';

/** Writes the files; the first one is read. */
function read(files: Readonly<Record<string, string>> | string) {
  const folder = temporaryFolder();
  const all = typeof files === 'string' ? { 'prosody.cfg.lua': files } : files;
  for (const [name, text] of Object.entries(all)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
  return { folder, ...readProsodyConfig(join(folder, Object.keys(all)[0] as string)) };
}

function values(options: ReadonlyMap<string, { readonly value: LuaValue }> | undefined): object {
  return Object.fromEntries([...(options ?? [])].map(([name, { value }]) => [name, value]));
}

function unclear(files: Parameters<typeof read>[0]): string[] {
  return read(files).notUnderstood.map(({ line, text, why }) => `${line}: ${text}: ${why}`);
}

describe('prosody.cfg.lua', () => {
  const expressions: [string, LuaValue][] = [
    ['"text"', 'text'],
    ["'it''s'".replace("''", "\\'"), "it's"],
    ['[[long\ntext]]', 'long\ntext'],
    ['"J\\195\\188rgen"', 'Jürgen'],
    ['"Jürgen"', 'Jürgen'],
    ['true', true],
    ['60*60*24', 86_400],
    ['-1', -1],
    ['"a" .. "b" .. 3', 'ab3'],
    ['not false', true],
    ['nil or "this"', 'this'],
    ['("in" .. "side")', 'inside'],
    ['{}', []],
    ['{ "a"; "b", "c" }', ['a', 'b', 'c']],
    ['{ a = 1, ["b c"] = { true } }', { a: 1, 'b c': [true] }],
    ['{ info = "x"; { to = "syslog" } }', { 1: { to: 'syslog' }, info: 'x' }],
    ['({ "a", "b" })[2]', 'b'],
    ['({ url = "u" }).url', 'u'],
  ];
  for (const [source, value] of expressions) {
    it(`knows that ${source.replaceAll('\n', '\\n')} is ${JSON.stringify(value)}`, () => {
      const { global, notUnderstood } = read(`option = ${source}`);
      assert.deepEqual(global.get('option')?.value, value);
      assert.deepEqual(notUnderstood, []);
    });
  }

  it('is read where a table is doubled until no memory holds it', () => {
    const tables = Array.from({ length: 40 }, (_, n) => `local t${n + 1} = { t${n}, t${n} }`);
    const { global, notUnderstood } = read(
      ['local t0 = { "x", "x" }', ...tables, 'b = t40', 'c = 1'].join('\n'),
    );
    assert.equal(global.get('c')?.value, 1);
    assert.ok(JSON.stringify(global.get('b') ?? []).length < 1_000_000);
    assert.ok(notUnderstood.some(({ why }) => why.includes('too long')));
  });

  it('is read, as far as a thousand files, where those included include others twice', () => {
    const files = Array.from({ length: 20 }, (_, n) => [`${n}.lua`, `Include "${n + 1}.lua"\n`.repeat(2)]);
    const { files: found, notUnderstood } = read(Object.fromEntries([...files, ['20.lua', 'a = 1']]));
    assert.equal(found.length, 1000);
    assert.ok(notUnderstood.some(({ why }) => why.includes('one file too many')));
  });

  for (const deep of ['1+'.repeat(20_000).concat('1'), `a${'.b'.repeat(20_000)}`])
    it(`is refused in words where it is nested too deeply: ${deep.slice(0, 5)}…`, () => {
      assert.throws(() => read(`option = ${deep}`), ServerConfigError);
    });

  const patterns: [pattern: string, found: readonly string[]][] = [
    ['*.lua', ['conf.lua', 'x.cfg.lua']],
    ['c?nf*a', ['conf.lua']],
    ['*.*.lua', ['x.cfg.lua']],
    ['????.lua', ['conf.lua']],
    ['*', ['conf.lua', 'conf.luac', 'x.cfg.lua', `${'a'.repeat(200)}`]],
    [`${'*a'.repeat(40)}b`, []],
  ];
  for (const [pattern, expected] of patterns)
    it(`includes by ${pattern.slice(0, 12)} what Prosody would, and keeps nobody waiting`, () => {
      const names = ['a'.repeat(200), 'conf.lua', 'conf.luac', '.hidden.lua', 'x.cfg.lua'];
      const files = names.map((name) => [`d/${name}`, 'a = 1'] as const);
      const { files: found, folder } = read({
        'prosody.cfg.lua': `Include "d/${pattern}"`,
        ...Object.fromEntries(files),
      });
      const included = found.slice(1).map((file) => file.slice(`${folder}/d/`.length));
      assert.deepEqual(included.toSorted(), expected.toSorted());
    });

  it('shows no word that may be a secret whose quotes were forgotten', () => {
    assert.deepEqual(unclear('client_secret = canary'), [
      '1: client_secret = …: nothing of this file says what it is',
    ]);
  });

  it('is read where a text is doubled until no memory holds it', () => {
    const text = `local a = "x"\n${'a = a .. a\n'.repeat(60)}b = a\nc = 1\n`;
    const { global, notUnderstood } = read(text);
    assert.equal(global.get('c')?.value, 1);
    assert.ok(!global.has('b') && notUnderstood.length > 0);
  });
  it('gives options to the host they stand under, and says where', () => {
    const { folder, global, hosts, components } = read(`
      authentication = "internal_hashed"
      VirtualHost "A.example"
        authentication = "external"
      VirtualHost("b.example")
      Component "rooms.b.example" "muc"
        name = "Rooms"
      VirtualHost "c.example" { enabled = false; authentication = "dovecot" }
      after = "global"`);
    assert.deepEqual(values(global), { authentication: 'internal_hashed', after: 'global' });
    assert.deepEqual([...hosts.keys()], ['a.example', 'b.example', 'c.example']);
    assert.deepEqual(values(hosts.get('a.example')), { authentication: 'external' });
    assert.deepEqual(values(hosts.get('b.example')), {});
    assert.deepEqual(values(hosts.get('c.example')), { enabled: false, authentication: 'dovecot' });
    assert.deepEqual(components, ['rooms.b.example']);
    const option = hosts.get('a.example')?.get('authentication');
    assert.deepEqual([option?.file, option?.line], [join(folder, 'prosody.cfg.lua'), 4]);
  });

  it('reads what Include names: each file begins outside of all hosts, and the includer goes on where it was', () => {
    const { folder, files, global, hosts } = read({
      'prosody.cfg.lua': `
        VirtualHost "main.example"
        Include "conf.d/*.cfg.lua"
        Include "one/more.lua"
        authentication = "external"`,
      'conf.d/b.cfg.lua': 'VirtualHost "b.example"\nmark = "b"',
      'conf.d/a.cfg.lua': 'shared = "from a"\nInclude "../one/deep.lua"',
      'conf.d/.hidden.cfg.lua': 'hidden = true',
      'conf.d/a.cfg.lua.bak': 'backup = true',
      'one/more.lua': 'VirtualHost "more.example"',
      'one/deep.lua': 'deep = 1',
    });
    const names = ['prosody.cfg.lua', 'conf.d/a.cfg.lua', 'one/deep.lua', 'conf.d/b.cfg.lua', 'one/more.lua'];
    assert.deepEqual(
      files,
      names.map((name) => join(folder, name)),
    );
    assert.deepEqual(values(global), { shared: 'from a', deep: 1 });
    assert.deepEqual(values(hosts.get('main.example')), { authentication: 'external' });
    assert.deepEqual(values(hosts.get('b.example')), { mark: 'b' });
    assert.ok(hosts.has('more.example'));
  });

  it('follows variables, each within its block and its file', () => {
    const { global, hosts, notUnderstood } = read({
      'prosody.cfg.lua': `
        local realm, id = "https://id.example/realms/x", "xmpp"
        local urls = { token = realm .. "/token" }
        do
          local id = "inner"
          inner = id
        end
        token = urls.token
        client = id
        id = "changed"
        VirtualHost ("im." .. "example")
          client = id
        Include "other.lua"`,
      'other.lua': 'nothing = realm',
    });
    assert.deepEqual(values(global), {
      inner: 'inner',
      token: 'https://id.example/realms/x/token',
      client: 'xmpp',
    });
    assert.deepEqual(values(hosts.get('im.example')), { client: 'changed' });
    assert.deepEqual(
      notUnderstood.map(({ text, why }) => `${text}: ${why}`),
      ['nothing = …: nothing of this file says what it is'],
    );
  });

  it('takes an option read back for what was meant, and says that Prosody does not', () => {
    const { global, notUnderstood } = read('base = "https://id.example"\nurl = base .. "/token"');
    assert.equal(global.get('url')?.value, 'https://id.example/token');
    assert.match(notUnderstood[0]?.why ?? '', /Prosody finds nothing in it: write local base = …/);
  });

  it('forgets what is set to nil', () => {
    assert.deepEqual(values(read('a = 1\na = nil').global), {});
  });

  const code: [string, string][] = [
    [
      'a = os.getenv("HOME")',
      '1: a = os.getenv("HOME"): os.getenv("HOME"): what it gives is known to the running server only',
    ],
    [
      'a = "x" .. ENV_HOME',
      '1: a = "…" .. ENV_HOME: ENV_HOME: a variable of the environment of the running server',
    ],
    [
      'a = Credential("db")',
      '1: a = Credential("db"): Credential("db"): what it gives is known to the running server only',
    ],
    ['Lua.require "util.paths"', '1: Lua.require("util.paths"): it is code'],
    ['RunScript "x.lua"', '1: RunScript("…"): it is code'],
    ['if x then a = 1 end', '1: if … end: it is code, which sets a'],
    ['for i = 1, 2 do VirtualHost("x"..i) end', '1: for … end: it is code'],
    ['a = function () return 1 end', '1: a = function …: function …: it is code'],
    ['local t = {}\nt.x = 1', '2: t.x = …: a part of a table is changed'],
    [
      'a = { "x", f(1) }',
      '1: f(1): what it gives is known to the running server only; left out of its table',
    ],
    ['VirtualHost(name)', '1: VirtualHost(name): name: nothing of this file says what it is'],
    ['Include "prosody.cfg.lua"', '1: Include "prosody.cfg.lua": it includes itself'],
  ];
  for (const [source, expected] of code) {
    it(`does not run ${source.replaceAll('\n', '; ')}`, () => assert.deepEqual(unclear(source), [expected]));
  }

  it('keeps no value that code may have changed, and gives none to a host that code may have chosen', () => {
    const { global, hosts, notUnderstood } = read(`
      a = 1
      if os.getenv("X") then a = 2 end
      VirtualHost "known.example"
      while true do VirtualHost "x.example" end
      b = 3
      VirtualHost "sure.example"
      c = 4`);
    assert.deepEqual(values(global), {});
    assert.deepEqual(values(hosts.get('known.example')), {});
    assert.deepEqual(values(hosts.get('sure.example')), { c: 4 });
    assert.match(notUnderstood.at(-1)?.why ?? '', /which host it is for/);
  });

  it('names an Include that is not there', () => {
    const [file, folder] = unclear('Include "none.lua"\nInclude "none.d/*.lua"');
    assert.match(file ?? '', /^1: Include "none.lua": .*none.lua: cannot be read \(ENOENT\)$/);
    assert.match(folder ?? '', /^2: Include "none.d\/\*.lua": .*none.d cannot be listed \(ENOENT\)$/);
  });

  for (const [source, message] of [
    ['a = 1\nb = "CANARY-7', /prosody\.cfg\.lua, line 2: is no Lua: unfinished string$/],
    ['a = "x" "CANARY-7"', /prosody\.cfg\.lua, line 1: is no Lua: unexpected string$/],
    ['a = { CANARY7 CANARY7', /prosody\.cfg\.lua, line 1: is no Lua: '}' expected$/],
  ] as const) {
    it(`says where ${JSON.stringify(source)} is no Lua, and quotes nothing`, () => {
      assert.throws(
        () => read(source),
        (error) => {
          assert.ok(error instanceof ServerConfigError);
          assert.match(error.message, message);
          assert.doesNotMatch(error.message, /CANARY/);
          return true;
        },
      );
    });
  }

  it('shows no text of a line that it does not understand', () => {
    const all = JSON.stringify(
      unclear('client_secret = "CANARY-1" .. f("CANARY-2", { "CANARY-3" })\nf "CANARY-4"'),
    );
    assert.doesNotMatch(all, /CANARY/);
  });

  it('of Debian is understood without rest', () => {
    const { global, hosts, files, notUnderstood } = readProsodyConfig('/etc/prosody/prosody.cfg.lua');
    assert.deepEqual(notUnderstood, []);
    assert.equal(global.get('authentication')?.value, 'internal_hashed');
    assert.ok(hosts.has('localhost'));
    assert.ok(files.length > 1, 'conf.d/localhost.cfg.lua is included');
  });
});
