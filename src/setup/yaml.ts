// Writes a configuration for people to read and change: each option with the sentence that says why it is there.

export interface Entry {
  /** Stands above it, one line each. */
  readonly why?: string | readonly string[];
  readonly key: string;
  readonly value: Value;
  /** Written as a comment: for the reader to switch on. */
  readonly off?: true;
}

export type Value =
  | string
  | boolean
  | { readonly texts: readonly string[] }
  | { readonly entries: readonly Entry[] }
  | { readonly list: readonly (readonly Entry[])[] };

const WIDTH = 116;

/** `title`: what the file is, above all. */
export function toYaml(entries: readonly Entry[], title: string): string {
  return `${[...comment(title, ''), '', ...lines(entries, '')].join('\n')}\n`;
}

function lines(entries: readonly Entry[], indent: string): string[] {
  return entries.flatMap(({ why, key, value, off }, index) => {
    const above = [why ?? []].flat().flatMap((each) => comment(each, indent));
    const apart = above.length > 0 || entries[index - 1]?.off === true;
    const gap = apart && index > 0 && indent === '' ? [''] : [];
    const option = optionLines(key, value, indent);
    return [
      ...gap,
      ...above,
      ...(off ? option.map((line) => `${indent}# ${line.slice(indent.length)}`) : option),
    ];
  });
}

function optionLines(key: string, value: Value, indent: string): string[] {
  const name = `${indent}${scalar(key)}:`;
  if (typeof value === 'string' || typeof value === 'boolean') return [`${name} ${scalar(value)}`];
  if ('entries' in value)
    return value.entries.length === 0 ? [`${name} {}`] : [name, ...lines(value.entries, `${indent}  `)];
  if ('list' in value) {
    return [
      name,
      ...value.list.flatMap((item) =>
        lines(item, `${indent}    `).map((line, index) =>
          index === 0 ? `${indent}  - ${line.trimStart()}` : line,
        ),
      ),
    ];
  }
  return [`${name} [${value.texts.map(scalar).join(', ')}]`];
}

/** Without quotes where YAML reads it as the same text in any case. */
function scalar(value: string | boolean): string {
  if (typeof value === 'boolean') return String(value);
  const plain = /^[A-Za-z/][\w./@+-]*(?::\/\/[\w./@+:-]*|(?: [\w./@+-]+)+)?$/.test(value);
  const special = /^(?:true|false|yes|no|on|off|y|n|null|\.inf|\.nan)$/i.test(value);
  return plain && !special ? value : JSON.stringify(value);
}

/** Lines that fit a screen. */
function comment(text: string, indent: string): string[] {
  const found: string[] = [];
  for (const word of text.split(' ')) {
    const last = found.at(-1);
    if (last !== undefined && last.length + word.length + 1 <= WIDTH)
      found[found.length - 1] = `${last} ${word}`;
    else found.push(`${indent}# ${word}`);
  }
  return found;
}
