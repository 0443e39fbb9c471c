// Every form in which a secret might be written down by a program that means well.
import { createHash } from 'node:crypto';

/** As `latin1` text; with the bytes of the digests, too. `names`: what it might have been digested with. */
export function formsOf(secret: string, names: readonly string[] = []): ReadonlyMap<string, string> {
  const forms = new Map<string, string>();
  const bytes = Buffer.from(secret);
  const add = (name: string, text: string | Buffer): void =>
    void forms.set(name, typeof text === 'string' ? text : text.toString('latin1'));
  add('as it is', bytes);
  add('in UTF-16', Buffer.from(secret, 'utf16le'));
  add('reversed', Buffer.from([...secret].reverse().join('')));
  add('hex', bytes.toString('hex'));
  add('HEX', bytes.toString('hex').toUpperCase());
  add('percent-encoded', encodeURIComponent(secret));
  add('of a form', new URLSearchParams({ '': secret }).toString().slice(1));
  // Whatever stands before and behind it: three ways, without the characters that depend on the neighbours.
  for (const encoding of ['base64', 'base64url'] as const)
    for (const before of [0, 1, 2]) {
      const text = Buffer.concat([Buffer.alloc(before), bytes])
        .toString(encoding)
        .replace(/=+$/, '');
      add(`${encoding} after ${before}`, text.slice(before === 0 ? 0 : before + 1, -2));
    }
  const joined = names.flatMap((name) => [`${name}:${secret}`, `${secret}:${name}`, `${name}${secret}`]);
  for (const algorithm of ['sha256', 'sha1', 'md5'])
    for (const [index, text] of [secret, ...joined].entries()) {
      const digest = createHash(algorithm).update(text).digest();
      const what = `${algorithm} of ${index === 0 ? 'the secret' : 'it and a name'} (${index})`;
      add(`${what}, hex`, digest.toString('hex'));
      add(`${what}, HEX`, digest.toString('hex').toUpperCase());
      add(`${what}, base64`, digest.toString('base64').replace(/=+$/, ''));
      add(`${what}, base64url`, digest.toString('base64url'));
      add(`${what}, bytes`, digest);
    }
  return forms;
}

/** Which forms of which secrets are in it. */
export function leaksIn(
  bytes: Buffer | string,
  secrets: Readonly<Record<string, string>>,
  names: readonly string[],
): string[] {
  const text = (typeof bytes === 'string' ? Buffer.from(bytes) : bytes).toString('latin1');
  return Object.entries(secrets).flatMap(([name, secret]) =>
    [...formsOf(secret, names)].filter(([, form]) => text.includes(form)).map(([form]) => `${name}, ${form}`),
  );
}
