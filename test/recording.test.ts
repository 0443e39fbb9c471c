// The recording of the demo in the README is of the demo as it is: its text is what `npm run demo` prints, but for times.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { root } from './support/bridge.ts';

const file = join(root, 'examples/demo.svg');
const ENTITIES: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>' };

interface Element {
  readonly name: string;
  text: string;
}

/** The elements with their text. Throws where it is not well-formed; knows no more of XML than the recording needs. */
function parseXml(xml: string): Element[] {
  const open: Element[] = [];
  const closed: Element[] = [];
  const tokens =
    /<(?<tag>[a-z]+)(?<attributes>(?:\s+[a-zA-Z:-]+="[^"<&]*")*)\s*(?<empty>\/?)>|<\/(?<end>[a-z]+)>|(?<text>(?:[^<>&]|&(?:amp|lt|gt);|>)+)/gy;
  let at = 0;
  for (const match of xml.matchAll(tokens)) {
    at = match.index + match[0].length;
    const { tag, attributes = '', empty, end, text } = match.groups ?? {};
    if (tag !== undefined) {
      const names = [...attributes.matchAll(/([a-zA-Z:-]+)="/g)].map(([, name]) => name);
      assert.equal(new Set(names).size, names.length, `an attribute twice: ${attributes}`);
      if (empty !== '/') open.push({ name: tag, text: '' });
    } else if (end !== undefined) {
      const element = open.pop();
      assert.equal(element?.name, end);
      if (element !== undefined) closed.push(element);
      const parent = open.at(-1);
      if (parent !== undefined) parent.text += element?.text;
    } else {
      const parent = open.at(-1);
      const plain = (text ?? '').replace(/&(\w+);/g, (_, name: string) => ENTITIES[name] ?? '');
      if (parent !== undefined) parent.text += plain;
      else assert.equal(plain.trim(), '', 'text outside');
    }
  }
  assert.equal(at, xml.length, `not well-formed at ${at}: ${xml.slice(at, at + 60)}`);
  assert.deepEqual(open, []);
  return closed;
}

/** Times and ports are others each time; how wide a time is, too. */
function timeless(line: string): string {
  return line
    .replace(/ +\d+\.\d$/, ' TIME')
    .replace(/127\.0\.0\.1:\d+/, '127.0.0.1:PORT')
    .trimEnd();
}

describe('the recording of the demo', () => {
  const svg = readFileSync(file, 'utf8');
  const elements = parseXml(svg);

  it('is well-formed, small, and needs nothing from anywhere', () => {
    assert.equal(elements.at(-1)?.name, 'svg');
    assert.ok(statSync(file).size < 30_000);
    assert.deepEqual(
      elements.filter(({ name }) => !['svg', 'style', 'text', 'tspan'].includes(name)),
      [],
    );
    assert.doesNotMatch(
      svg.replace('xmlns="http://www.w3.org/2000/svg"', ''),
      /url\(|@import|@font-face|href|src=|on\w+=/,
    );
  });

  it('is made for light and dark, and for who wants nothing to move', () => {
    for (const asked of ['prefers-color-scheme: dark', 'prefers-reduced-motion: reduce'])
      assert.ok(svg.includes(`@media (${asked})`), asked);
  });

  it('says what the demo prints', { timeout: 60_000 }, () => {
    const printed = execFileSync(process.execPath, ['--import', 'tsx', 'examples/demo.ts'], {
      cwd: root,
      encoding: 'utf8',
    });
    const lines = printed.split('\n').map(timeless).filter(Boolean);
    const [prompt, ...shown] = elements
      .filter(({ name }) => name === 'text')
      .map(({ text }) => timeless(text));
    assert.equal(prompt, '$ npm run demo');
    assert.deepEqual(shown, lines, 'npm run record makes a new one');
    assert.ok(lines.length > 20 && lines.some((line) => line.endsWith('TIME')));
  });
});
