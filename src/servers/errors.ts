// What can be wrong with a configuration file of an XMPP server, said without quoting from it: there are secrets in it.

/** For the operator: which file, which line, what. */
export class ServerConfigError extends Error {
  override readonly name = 'ServerConfigError';
  readonly file: string;
  readonly line: number | undefined;

  constructor({ file, line, what }: { file: string; line?: number | undefined; what: string }) {
    super(line === undefined ? `${file}: ${what}` : `${file}, line ${line}: ${what}`);
    this.file = file;
    this.line = line;
  }
}
