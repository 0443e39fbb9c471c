// lpty, through which Prosody's mod_auth_external speaks to its program: is there one for Prosody's Lua, and one that works?
import { type Finding, fault, ok } from './finding.ts';
import type { Root } from './root.ts';

const WHY =
  'the module does not load, and Prosody offers no login at all; lpty 1.0.1 works (for Lua 5.4 it has to be compiled by hand: gcc -shared -fPIC -I/usr/include/lua5.4)';
const LINE = 'authentication = "dovecot"      -- with extauth-oauth serve: no terminal, and no lpty';

export function* examineLpty(root: Root): Generator<Finding> {
  const first = (root.read('/usr/bin/prosody') ?? '').split('\n', 1)[0] ?? '';
  const lua = /lua(?:jit)?-?(5\.\d)/.exec(first)?.[1];
  const versions = lua === undefined ? ['5.4', '5.3', '5.2', '5.1'] : [lua];
  const found = versions
    .flatMap((version) => librariesOf(root, version))
    .find((file) => root.stat(file)?.isFile());
  if (found === undefined) {
    const other = ['5.1', '5.2', '5.3', '5.4'].find((version) =>
      librariesOf(root, version).some((file) => root.stat(file)),
    );
    const where = other === undefined ? '' : ` (there is one for Lua ${other})`;
    yield fault('lpty', `there is none for Lua ${versions.join(' or ')}, which Prosody runs on${where}`, {
      why: WHY,
      line: LINE,
    });
    return;
  }
  const version = versionOf(root, found);
  // From 1.2 on it makes the terminal the child's own, and says so when it fails.
  const takesTerminal =
    version === undefined ? hasWord(root, found, 'controlling tty') : !/^1\.[01]\b/.test(version);
  yield takesTerminal
    ? fault('lpty', `${version ?? '1.2 or later'} (${found}) wants the terminal for its own`, {
        why: 'under systemd that fails: "lpty failed to set the controlling tty", and nobody can log in; lpty 1.0.1 does not',
        line: LINE,
      })
    : ok('lpty', `${version ?? 'before 1.2'} (${found})`);
}

function librariesOf(root: Root, version: string): string[] {
  const triplets = root.list('/usr/lib').filter((name) => name.includes('-linux-'));
  return ['/usr/local/lib', ...triplets.map((name) => `/usr/lib/${name}`), '/usr/lib'].map(
    (folder) => `${folder}/lua/${version}/lpty.so`,
  );
}

/** As LuaRocks notes it: rocks-5.4/lpty/1.0.1-1. */
function versionOf(root: Root, file: string): string | undefined {
  const [, version = ''] = /\/lua\/(5\.\d)\/lpty\.so$/.exec(file) ?? [];
  if (!file.startsWith('/usr/local/')) return undefined;
  const [rock] = root.list(`/usr/local/lib/luarocks/rocks-${version}/lpty`);
  return rock?.replace(/-\d+$/, '');
}

function hasWord(root: Root, file: string, word: string): boolean {
  return (root.read(file) ?? '').includes(word);
}
