// Nodeprep, the stringprep profile of localparts (RFC 6122 appendix A, RFC 3454), over Unicode 3.2 as in the XMPP
// servers. Pure. A code point that Unicode 3.2 does not assign is refused: ejabberd does so, Prosody lets it pass, and
// a name that only one of them accepts has no settled prepared form.
import * as tables from './nodeprep-tables.ts';

/** RFC 6122 section 2.3, in bytes of UTF-8. Both servers refuse longer input too, not only longer results. */
const LONGEST = 1023;

/** ASCII without control characters, space and `"&'/:<>@`: nothing but A to Z changes. */
const PLAIN = /^[!#-%(-.0-9;=?A-Z[-~]+$/;

/** The prepared form of a localpart, or `undefined` where the profile forbids it. */
export function nodeprep(name: string): string | undefined {
  if (PLAIN.test(name)) return name.length > LONGEST ? undefined : name.toLowerCase();
  if (Buffer.byteLength(name) > LONGEST) return undefined;

  const prepared = fold(name);
  if (!prepared || Buffer.byteLength(prepared) > LONGEST) return undefined;

  const codes = Array.from(prepared, codeOf);
  return isProhibited(codes) || !readsOneWay(codes) ? undefined : prepared;
}

/** The mapping and normalisation of Nodeprep without its prohibitions; `undefined` with an unassigned code point. */
export function fold(name: string): string | undefined {
  const { unassigned, ignored, folded, correctedLater } = profile();
  let mapped = '';
  for (const char of name) {
    const code = codeOf(char);
    if (contains(unassigned, code)) return undefined;
    if (contains(ignored, code)) continue;
    mapped += folded.get(code) ?? correctedLater.get(code) ?? char;
  }
  return mapped.normalize('NFKC');
}

function codeOf(char: string): number {
  return char.codePointAt(0) as number;
}

function isProhibited(codes: readonly number[]): boolean {
  const { prohibited } = profile();
  return codes.some((code) => contains(prohibited, code));
}

/** RFC 3454 section 6: a name with a right-to-left letter begins and ends with one and has no left-to-right letter. */
function readsOneWay(codes: readonly number[]): boolean {
  const { rightToLeft, leftToRight } = profile();
  if (!codes.some((code) => contains(rightToLeft, code))) return true;
  return (
    contains(rightToLeft, codes[0]) &&
    contains(rightToLeft, codes.at(-1)) &&
    !codes.some((code) => contains(leftToRight, code))
  );
}

let read: ReturnType<typeof readTables> | undefined;

/** The tables, read when the first name beyond ASCII comes: most installations never see one. */
function profile(): ReturnType<typeof readTables> {
  read ??= readTables();
  return read;
}

function readTables() {
  return {
    unassigned: readSet(tables.unassigned),
    ignored: readSet(tables.ignored),
    prohibited: readSet(tables.prohibited),
    rightToLeft: readSet(tables.rightToLeft),
    leftToRight: readSet(tables.leftToRight),
    folded: new Map([...readRuns(tables.folded), ...readReplacements(tables.foldedToSeveral)]),
    correctedLater: new Map(readReplacements(tables.correctedLater)),
  };
}

/** The ascending code points at which membership changes, beginning outside. */
type CodePointSet = readonly number[];

function readSet(text: string): CodePointSet {
  let last = 0;
  return readNumbers(text, ' ').map((distance) => {
    last += distance;
    return last;
  });
}

function contains(set: CodePointSet, code: number | undefined): boolean {
  if (code === undefined) return false;
  let changes = 0; // how many changes lie at or below the code point
  let above = set.length;
  while (changes < above) {
    const middle = (changes + above) >>> 1;
    if ((set[middle] as number) <= code) changes = middle + 1;
    else above = middle;
  }
  return changes % 2 === 1;
}

function* readRuns(text: string): Generator<[number, string]> {
  const numbers = readNumbers(text, ' ').values();
  let first = 0;
  for (const distance of numbers) {
    const [count, step, shift] = [numbers.next().value, numbers.next().value, numbers.next().value];
    if (count === undefined || step === undefined || shift === undefined) return;
    first += distance;
    for (let index = 0; index < count; index++) {
      const code = first + index * step;
      yield [code, String.fromCodePoint(code + shift)];
    }
  }
}

function* readReplacements(text: string): Generator<[number, string]> {
  for (const entry of text.split(' ')) {
    const [code, ...replacement] = readNumbers(entry, '.');
    if (code !== undefined) yield [code, String.fromCodePoint(...replacement)];
  }
}

function readNumbers(text: string, separator: string): number[] {
  return text.split(separator).map((digits) => Number.parseInt(digits, 36));
}
