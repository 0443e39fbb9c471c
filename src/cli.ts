// The command line, first look: is it the bridge? Servers start that by the dozen, so it does without yargs. Everything
// else is left to src/commands/.
import { parseArgs } from 'node:util';
import { type RunOptions, run } from './commands/run.ts';

const args = process.argv.slice(2);
const bridge = bridgeOptions(args);
if (bridge !== undefined) run(bridge);

/** The arguments when they are for somebody else. */
export const forCommands: readonly string[] | undefined = bridge === undefined ? args : undefined;

/** The options of `run`, or `undefined` when the arguments ask for something else. */
function bridgeOptions(given: readonly string[]): RunOptions | undefined {
  // As ejabberd and Prosody start it, and parseArgs takes 2 ms.
  if (given.length === 0) return {};
  const { values, positionals } = parseArgs({
    args: [...given],
    strict: false,
    options: {
      config: { type: 'string' },
      'log-level': { type: 'string' },
      help: { type: 'boolean' },
      version: { type: 'boolean' },
    },
  });
  const { config, 'log-level': level, help, version, ...unknown } = values;
  if (help || version || (positionals[0] !== undefined && positionals[0] !== 'run')) return undefined;
  const problems = Object.keys(unknown).map((name) => `unknown option --${name}`);
  if (positionals.length > 1) problems.push('run takes no arguments');
  if (config !== undefined && typeof config !== 'string') problems.push('--config needs a file');
  if (level !== undefined && !isLevel(level))
    problems.push('--log-level is debug, info, warn, error or silent');
  return {
    config: typeof config === 'string' ? config : undefined,
    logLevel: isLevel(level) ? level : undefined,
    usageProblem: problems.length === 0 ? undefined : problems.join('; '),
  };
}

function isLevel(level: unknown): level is NonNullable<RunOptions['logLevel']> {
  return typeof level === 'string' && ['debug', 'info', 'warn', 'error', 'silent'].includes(level);
}
