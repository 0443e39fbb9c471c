import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { member, parseJsonObject } from '../src/oauth/json.ts';

describe('JSON from outside', () => {
  const table: (readonly [text: string, kind: 'object' | 'duplicate' | 'other'])[] = [
    ['{}', 'object'],
    ['{"a":1,"b":{"a":2},"c":[{"a":3},{"a":4}]}', 'object'],
    ['{"a":"https://x:8080/:a"}', 'object'],
    ['{"a":"\\":\\"","b":"{\\"a\\":1}"}', 'object'],
    ['{"a":1,"a":1}', 'duplicate'],
    ['{"a" : 1 , "a" : 2}', 'duplicate'],
    ['{"a":1,"\\u0061":2}', 'duplicate'],
    // White space that hides a name from whoever counts quotes with a colon after them.
    ...[' ', '\t', '\r', '\n', ' \n '].map((space) => [`{"a":1,"a"${space}:2}`, 'duplicate'] as const),
    ['{"a":1,"a" :2,"b":"\\":"}', 'duplicate'],
    ['{"x":{"a":1,"a":2}}', 'duplicate'],
    ['{"x":[[{"a":1,"a":2}]]}', 'duplicate'],
    ['{"__proto__":1,"__proto__":2}', 'duplicate'],
    ['{"a":":","b":1,"b":2}', 'duplicate'],
    ['[]', 'other'],
    ['null', 'other'],
    ['"a"', 'other'],
    ['', 'other'],
    ['{"a":1', 'other'],
    ["{'a':1}", 'other'],
    ['<html>', 'other'],
    [`${'['.repeat(100_000)}`, 'other'],
    [`{"a":${'['.repeat(300_000)}${']'.repeat(300_000)}}`, 'object'],
  ];
  for (const [text, kind] of table) {
    it(`${text.slice(0, 50)} is ${kind}`, () => assert.equal(parseJsonObject(text).kind, kind));
  }

  it('is an object when a program wrote it, and a duplicate when any of its members is repeated', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue(), { minKeys: 1 }), (value) => {
        const text = JSON.stringify(value);
        assert.equal(parseJsonObject(text).kind, 'object');
        const [name] = Object.keys(value);
        assert.equal(parseJsonObject(`${text.slice(0, -1)},${JSON.stringify(name)}:0}`).kind, 'duplicate');
      }),
    );
  });

  it('has no members but its own', () => {
    assert.equal(member({}, 'constructor'), undefined);
    assert.equal(member(JSON.parse('{"__proto__":{"a":1}}'), 'a'), undefined);
  });
});
