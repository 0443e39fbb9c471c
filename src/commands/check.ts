// `check`, the doctor: what it finds, as a table or as JSON, and what it comes to.
import { examineAll } from '../check/index.ts';
import { createReport } from '../check/report.ts';
import { EXIT } from './exit.ts';

export interface CheckOptions {
  readonly config: string | undefined;
  readonly json?: boolean;
  readonly root?: string | undefined;
  readonly ejabberd?: string | undefined;
  readonly prosody?: string | undefined;
  readonly asUser?: string | undefined;
  /** Where a sample token comes from, if there is one. */
  readonly readToken?: () => Promise<string | undefined>;
  /** Of the terminal that it is printed to. */
  readonly columns?: number | undefined;
  readonly print: (line: string) => void;
}

/** The exit code: 0 fine or only warnings, 1 errors, 78 a configuration that is unusable or unsafe. */
export async function check(options: CheckOptions): Promise<number> {
  const { config, json = false, root, ejabberd, prosody, asUser, readToken, columns, print } = options;
  const token = (await readToken?.())?.trim();
  const report = createReport({ json, columns, print });
  let code: number = EXIT.fine;
  for await (const finding of examineAll({ config, root, ejabberd, prosody, asUser, token })) {
    report.show(finding);
    if (finding.level !== 'ERROR' || code === EXIT.config) continue;
    code = finding.isConfiguration === true ? EXIT.config : EXIT.failed;
  }
  report.end(code);
  return code;
}
