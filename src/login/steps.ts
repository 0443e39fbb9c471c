// What `login` prints: one line a step, with a mark, the time it took, what it was and what it came to.
import type { Looks } from '../config/terminal.ts';
import { printable } from '../log.ts';

export type Mark = 'good' | 'bad' | 'warning' | 'note';

export interface Step {
  readonly mark: Mark;
  readonly name: string;
  readonly result: string;
  /** Milliseconds; left out where it says nothing. */
  readonly took?: number | undefined;
}

export interface Steps {
  show(step: Step): void;
  /** The same, with the time since the last step that was shown or the last `begin`. */
  timed(step: Omit<Step, 'took'>): void;
  begin(): void;
}

export interface StepsOptions extends Looks {
  readonly print: (line: string) => void;
  /** Milliseconds of a monotonic clock. */
  readonly now: () => number;
}

const SIGNS: Readonly<Record<Mark, { utf8: string; ascii: string; colour: number }>> = {
  good: { utf8: '\u2714', ascii: 'ok', colour: 32 },
  bad: { utf8: '\u2718', ascii: 'NO', colour: 31 },
  warning: { utf8: '!', ascii: '! ', colour: 33 },
  note: { utf8: ' ', ascii: '  ', colour: 0 },
};
const DIM = 2;
const BOLD = 1;
const TIME = 8;
const NAME = 16;

export function createSteps({ print, now, utf8, coloured }: StepsOptions): Steps {
  let last = now();
  const paint = (colour: number, text: string): string =>
    coloured && colour !== 0 ? `\x1b[${colour}m${text}\x1b[0m` : text;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: whoever named it, a line stays one line
  const plain = (text: string): string => printable(text.replace(/[\x00-\x1f]+/g, ' '));
  /** Options are set off from their sentence by colour, or not at all. */
  const prose = (text: string): string =>
    plain(text).replace(/`([^`]+)`/g, (_, name: string) => paint(BOLD, name));

  function show({ mark, name, result, took }: Step): void {
    const sign = SIGNS[mark];
    const time = (took === undefined ? '' : duration(took)).padStart(TIME);
    const shown = `${paint(sign.colour, utf8 ? sign.utf8 : sign.ascii)} ${paint(DIM, time)}  ${plain(name).padEnd(NAME)}  ${prose(result)}`;
    print(shown.trimEnd());
    last = now();
  }

  return {
    show,
    timed: (step) => show({ ...step, took: now() - last }),
    begin() {
      last = now();
    },
  };
}

/** Below ten, the first decimal says something. */
function duration(milliseconds: number): string {
  return `${milliseconds < 10 ? milliseconds.toFixed(1) : Math.round(milliseconds)} ms`;
}
