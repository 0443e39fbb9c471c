// The Containerfile as far as it can be looked at without building it: its grammar, and that what it names exists.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { load } from 'js-yaml';
import { root } from './support/bridge.ts';

interface Instruction {
  readonly word: string;
  readonly rest: string;
}

/** Comments go, lines that end in a backslash go on. */
function instructionsOf(text: string): Instruction[] {
  const lines = text
    .replaceAll(/^\s*#.*\n/gm, '')
    .replaceAll(/\\\n\s*/g, '')
    .split('\n');
  return lines
    .filter((line) => line.trim() !== '')
    .map((line) => {
      const [, word = '', rest = ''] = /^([A-Z]+) +(.+)$/.exec(line) ?? [];
      assert.notEqual(word, '', `no instruction: ${line}`);
      return { word, rest };
    });
}

describe('examples/Containerfile', () => {
  const text = readFileSync(join(root, 'examples/Containerfile'), 'utf8');
  const instructions = instructionsOf(text);
  const only = (word: string): string => {
    const found = instructions.filter((each) => each.word === word);
    assert.equal(found.length, 1, word);
    return found[0]?.rest ?? '';
  };
  const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    name: string;
    version: string;
    engines: { node: string };
    bin: Record<string, string>;
  };

  it('has instructions that there are, in their order', () => {
    const words = ['FROM', 'COPY', 'RUN', 'USER', 'VOLUME', 'STOPSIGNAL', 'ENTRYPOINT', 'CMD'];
    assert.deepEqual(
      instructions.map(({ word }) => word),
      words,
    );
  });

  it('starts from a Node that runs the program', () => {
    const major = /^docker\.io\/library\/node:(\d+)-\w+-slim$/.exec(only('FROM'))?.[1];
    assert.ok(Number(major) >= 22 && manifest.engines.node.includes('>=22.12'), major);
  });

  it('copies what npm pack makes', () => {
    const [source = '', target] = only('COPY').split(' ');
    const pattern = new RegExp(`^${source.replaceAll('.', '\\.').replace('*', '.*')}$`);
    assert.match(`${manifest.name}-${manifest.version}.tgz`, pattern);
    assert.equal(target, '/tmp/');
    assert.ok(only('RUN').includes(`/tmp/${source} `));
  });

  it('runs commands that a shell understands', () => {
    execFileSync('sh', ['-n', '-c', only('RUN')]);
  });

  it('starts the daemon, and not as root', () => {
    assert.deepEqual(
      [...(JSON.parse(only('ENTRYPOINT')) as string[]), ...(JSON.parse(only('CMD')) as string[])],
      ['extauth-oauth', 'serve'],
    );
    assert.ok(Object.hasOwn(manifest.bin, 'extauth-oauth'));
    const user = /--uid (\d+) /.exec(only('RUN'))?.[1];
    assert.equal(only('USER'), `${user}:${user}`);
  });

  it('has the folder in which serve.yml puts its sockets', () => {
    const { listen } = load(readFileSync(join(root, 'examples/serve.yml'), 'utf8')) as {
      listen: { path: string }[];
    };
    const folders = JSON.parse(only('VOLUME')) as string[];
    for (const { path } of listen)
      assert.ok(
        folders.some((folder) => path.startsWith(`${folder}/`)),
        path,
      );
    for (const folder of folders) assert.ok(only('RUN').includes(` ${folder}`), folder);
  });
});
