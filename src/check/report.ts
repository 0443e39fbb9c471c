// Findings for people, line by line as they come, or for machines, as one JSON object at the end.
import type { Finding } from './finding.ts';

export interface Report {
  show(finding: Finding): void;
  end(code: number): void;
}

export interface ReportOptions {
  readonly json: boolean;
  /** Of the terminal; `undefined` where the lines go somewhere else and are not to be broken. */
  readonly columns: number | undefined;
  readonly print: (line: string) => void;
}

const LEVEL = 8;
const WHAT = 34;
const INDENT = LEVEL + WHAT + 2;
/** Narrower than this, lines are left to the terminal. */
const LEAST = 40;

export function createReport({ json, columns, print }: ReportOptions): Report {
  const findings: Finding[] = [];
  const width = columns === undefined || columns - INDENT < LEAST ? undefined : columns - INDENT;

  return {
    show(finding) {
      findings.push(finding);
      if (!json) for (const line of linesOf(finding, width)) print(line);
    },
    end(code) {
      if (!json) return;
      const count = (wanted: string): number => findings.filter(({ level }) => level === wanted).length;
      const shown = findings.map(({ isConfiguration: _, ...finding }) => finding);
      print(
        JSON.stringify(
          { code, errors: count('ERROR'), warnings: count('warning'), findings: shown },
          null,
          2,
        ),
      );
    },
  };
}

function linesOf({ level, what, found, why, line }: Finding, width: number | undefined): string[] {
  const said = wrap(found, width);
  const head = `${level.padEnd(LEVEL)} ${what.padEnd(WHAT)}`;
  // A name that is too long has the line to itself.
  const [first, others] = what.length > WHAT ? [head, said] : [`${head} ${said[0] ?? ''}`, said.slice(1)];
  const below = [
    ...others,
    ...(why === undefined ? [] : wrap(why, width)),
    // Never broken: it is copied.
    ...(line === undefined
      ? []
      : line.split('\n').map((each, index) => `${index === 0 ? '->' : '  '} ${each}`)),
  ];
  return [first, ...below.map((each) => `${' '.repeat(INDENT)}${each}`)];
}

function wrap(text: string, width: number | undefined): string[] {
  if (width === undefined) return [text];
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  return [...lines, line];
}
