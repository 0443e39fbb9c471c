// `login`: one login as the server would do it, explained step by step.
import { ConfigError, loadConfig } from '../config/index.ts';
import { readLooks } from '../config/terminal.ts';
import { loginHere } from '../login/here.ts';
import { parseJid, readSecret, secretProblem } from '../login/request.ts';
import { createSteps } from '../login/steps.ts';
import type { Server } from '../login/surroundings.ts';
import { EXIT } from './exit.ts';

export interface LoginOptions {
  readonly config: string | undefined;
  readonly jid: string;
  readonly stdin: boolean;
  /** Through a child that is started as this server would start it, by this line of its configuration. */
  readonly as?: Server | undefined;
  readonly program?: string | undefined;
  readonly print: (line: string) => void;
}

/** The exit code: 0 accepted, 1 not, 2 wrong usage, 78 no usable configuration. */
export async function login({ config, jid: text, stdin, as, program, print }: LoginOptions): Promise<number> {
  const jid = parseJid(text);
  const problem = jid === undefined ? `${text} is no JID: user@virtual.host` : secretProblem(stdin);
  if (jid === undefined || problem !== undefined) {
    print(problem ?? '');
    return EXIT.usage;
  }
  const looks = readLooks(process.stdout.isTTY);
  const steps = createSteps({ ...looks, print, now: () => performance.now() });
  const secret = (): ReturnType<typeof readSecret> => readSecret(stdin);
  if (as !== undefined) {
    const { loginAs } = await import('../login/as-server.ts');
    const isIn = await loginAs({ server: as, program, config, jid, readSecret: secret, steps });
    return isIn ? EXIT.fine : EXIT.failed;
  }
  let settings: ReturnType<typeof loadConfig>;
  try {
    settings = loadConfig({ config });
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    for (const { path, message } of error.problems)
      steps.show({ mark: 'bad', name: 'configuration', result: `${path} ${message}`.trim() });
    return EXIT.config;
  }
  steps.timed({ mark: 'good', name: 'configuration', result: settings.file });
  const isIn = await loginHere({ settings, jid, readSecret: secret, steps });
  return isIn ? EXIT.fine : EXIT.failed;
}
