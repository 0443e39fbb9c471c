// Our own configuration: every problem with what to write in its place, or the settings and the files they come from.
import { createReader } from '../config/files.ts';
import { type Config, ConfigError, loadConfig } from '../config/index.ts';
import type { Problem } from '../config/problems.ts';
import { type Finding, fault, ok, warning } from './finding.ts';

export interface Configuration {
  readonly findings: readonly Finding[];
  /** `undefined` where they are not usable. */
  readonly settings: Config | undefined;
  /** Every file that was read: the configuration, secrets, keys, certificates. */
  readonly files: readonly string[];
}

export function examineConfiguration(config: string | undefined): Configuration {
  const files = new Set<string>();
  try {
    const settings = loadConfig(
      { config },
      createReader((file) => files.add(file)),
    );
    const findings = [
      ok('configuration', settings.file),
      ...settings.warnings.map((problem) =>
        problem.unsafe === true
          ? ({ ...fault(problem.path, problem.message, adviceOn(problem)), isConfiguration: true } as const)
          : warning(problem.path, problem.message, adviceOn(problem)),
      ),
    ];
    return { findings, settings, files: [...files] };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const findings = error.problems.map((problem): Finding => {
      const { path, message } = problem;
      const what = path || error.file || 'configuration';
      return { ...fault(what, message, adviceOn(problem)), isConfiguration: true };
    });
    return { findings, settings: undefined, files: [...files] };
  }
}

/** What to write, where the message names one thing. */
function adviceOn({ path, message }: Problem): { readonly line?: string } {
  const line = lineFor(path, message);
  return line === undefined ? {} : { line };
}

function lineFor(path: string, message: string): string | undefined {
  const meant = /did you mean (\S+)\?$/.exec(message)?.[1];
  if (meant !== undefined) return `${meant}: ...`;
  const open = /^(\/\S*) can be read by group or others: chmod 600$/.exec(message)?.[1];
  if (open !== undefined) return `chmod 600 ${open}`;
  if (path.endsWith('audience') && message.startsWith('neither audience'))
    return 'client_id: ...      # or audience: [...], or accepted_clients: [...]';
  return undefined;
}
