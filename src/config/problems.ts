// What is wrong with a configuration: all of it at once, each with its path.

export interface Problem {
  /** Where: `hosts."chat.example.org".issuer`, or the file itself. */
  readonly path: string;
  readonly message: string;
  /** It works, and it lets somebody in who should not get in: `check` fails for it. */
  readonly unsafe?: true;
}

/** The configuration is unusable. For the operator: the message names every problem. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  readonly problems: readonly Problem[];
  /** The file it is about, when one was found. */
  readonly file: string | undefined;

  constructor(problems: readonly Problem[], file?: string) {
    super(problems.map(({ path, message }) => (path === '' ? message : `${path}: ${message}`)).join('; '));
    this.problems = problems;
    this.file = file;
  }
}

/** `a.b`, with quotes where a part has a dot in it. */
export function pathOf(...parts: readonly unknown[]): string {
  return parts
    .map(String)
    .map((part) => (/^[\w-]+$/.test(part) ? part : JSON.stringify(part)))
    .join('.');
}
