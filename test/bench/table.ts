// Figures: what was measured in pairs, what it is held to, and the table of both. Pure.

/** What a figure is held to; without it the figure is only shown. */
export interface Target {
  readonly better: 'higher' | 'lower';
  /** Missing it fails the run. */
  readonly must: number;
  /** What is close to the bound. */
  readonly aim?: number;
}

export interface Figure {
  readonly name: string;
  readonly unit: string;
  /** One value for each pair. */
  readonly ours: readonly number[];
  readonly base: readonly number[];
  /**
   * What is judged of a pair: the ratio; the difference; or our value alone, where the base only stands beside it.
   */
  readonly judged?: 'ratio' | 'difference' | 'ours';
  /** A promise about every single case is judged by the worst one. */
  readonly by?: 'median' | 'worst';
  readonly target?: Target;
}

export type Result = 'aim' | 'must' | 'missed' | 'shown';

/** The value below which the share `q` of all values lies. */
export function quantile(values: ArrayLike<number>, q: number): number {
  const sorted = Float64Array.from(values).sort();
  const at = (sorted.length - 1) * q;
  const low = sorted[Math.floor(at)] ?? Number.NaN;
  const high = sorted[Math.ceil(at)] ?? Number.NaN;
  return low + (high - low) * (at - Math.floor(at));
}

function judgedValues({ ours, base, judged = 'ratio' }: Figure): number[] {
  const other = (pair: number): number => base[pair] ?? Number.NaN;
  switch (judged) {
    case 'ratio':
      return ours.map((value, pair) => value / other(pair));
    case 'difference':
      return ours.map((value, pair) => value - other(pair));
    case 'ours':
      return [...ours];
  }
}

/** The one number that counts: the median, or the worst. */
export function judgedValue(figure: Figure): number {
  const values = judgedValues(figure);
  if (figure.by !== 'worst') return quantile(values, 0.5);
  return figure.target?.better === 'higher' ? Math.min(...values) : Math.max(...values);
}

export function judge(figure: Figure): Result {
  const { target } = figure;
  if (target === undefined) return 'shown';
  const value = judgedValue(figure);
  const reaches = (limit: number): boolean => (target.better === 'higher' ? value >= limit : value <= limit);
  if (!reaches(target.must)) return 'missed';
  return target.aim === undefined || reaches(target.aim) ? 'aim' : 'must';
}

const MARK: Readonly<Record<Result, string>> = { aim: 'yes', must: 'must only', missed: '**NO**', shown: '' };

/** The figures as a Markdown table. */
export function table(figures: readonly Figure[]): string {
  const rows = [
    ['figure', 'ours', 'base', 'ratio [quartiles]', 'must', 'aim', 'ok?'],
    ['---', '---:', '---:', '---:', '---:', '---:', '---'],
    ...figures.map((figure) => [
      figure.name,
      withUnit(quantile(figure.ours, 0.5), figure.unit),
      withUnit(quantile(figure.base, 0.5), figure.unit),
      spread(figure),
      limit(figure, figure.target?.must),
      limit(figure, figure.target?.aim),
      MARK[judge(figure)],
    ]),
  ];
  return rows.map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}

function spread(figure: Figure): string {
  const values = judgedValues(figure);
  const show = (value: number): string => (isRatio(figure) ? value.toFixed(2) : value.toPrecision(3));
  const quartiles = `[${show(quantile(values, 0.25))} - ${show(quantile(values, 0.75))}]`;
  const unit = isRatio(figure) ? '' : ` ${figure.unit}`;
  return `${show(judgedValue(figure))}${unit}${figure.by === 'worst' ? ' (worst)' : ''} ${quartiles}`;
}

function limit(figure: Figure, value: number | undefined): string {
  if (value === undefined) return '';
  const sign = figure.target?.better === 'higher' ? '>=' : '<=';
  return `${sign} ${value}${isRatio(figure) ? '' : ` ${figure.unit}`}`;
}

function isRatio({ judged = 'ratio' }: Figure): boolean {
  return judged === 'ratio';
}

function withUnit(value: number, unit: string): string {
  const digits = value >= 1000 ? Math.round(value / 10 ** (Math.floor(Math.log10(value)) - 2)) : undefined;
  const text =
    digits === undefined
      ? value.toPrecision(3)
      : (digits * 10 ** (Math.floor(Math.log10(value)) - 2)).toLocaleString('en');
  return `${text} ${unit}`;
}
