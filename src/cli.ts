// The command line, first look: is it the bridge? Servers start that by the dozen, so it does without yargs. Everything
// else is left to src/commands/.
import { parseArgs } from 'node:util';
import { type RunOptions, run } from './commands/run.ts';

const args = process.argv.slice(2);
const bridge = bridgeOptions(args);
if (bridge !== undefined) run(bridge);

/** The arguments when they are for somebody else. */
export const forCommands: readonly string[] | undefined = bridge === undefined ? args : undefined;

/**
 * The options of `run`, or `undefined` when the arguments ask for something else: a word as the first of them, or help.
 * What is wrong with an option does not end the bridge: a server would start it again and again.
 */
function bridgeOptions(given: readonly string[]): RunOptions | undefined {
  // As ejabberd and Prosody start it, and parseArgs takes 2 ms.
  if (given.length === 0) return {};
  const [first = ''] = given;
  if (/^[a-z]+$/.test(first) && first !== 'run') return undefined;
  const { values, positionals } = parseArgs({
    args: given.filter((_, index) => index > 0 || first !== 'run'),
    strict: false,
    options: {
      config: { type: 'string', multiple: true },
      'log-level': { type: 'string' },
      help: { type: 'boolean', short: 'h' },
      version: { type: 'boolean', short: 'V' },
    },
  });
  const { config = [], 'log-level': level, help, version, ...unknown } = values;
  if (help || version) return undefined;
  const files = Array.isArray(config) ? config : [config];
  const file = files.at(-1);
  const problems = Object.keys(unknown).map((name) => `unknown option --${name}`);
  if (positionals.length > 0)
    problems.push(`unexpected ${positionals.length === 1 ? 'argument' : 'arguments'} without an option`);
  if (files.length > 1) problems.push('--config is given twice: the last one counts');
  if (files.some((name) => typeof name !== 'string' || name === '')) problems.push('--config needs a file');
  if (level !== undefined && !isLevel(level))
    problems.push('--log-level is debug, info, warn, error or silent');
  return {
    config: typeof file === 'string' && file !== '' ? file : undefined,
    logLevel: isLevel(level) ? level : undefined,
    usageProblem: problems.length === 0 ? undefined : problems.join('; '),
  };
}

function isLevel(level: unknown): level is NonNullable<RunOptions['logLevel']> {
  return typeof level === 'string' && ['debug', 'info', 'warn', 'error', 'silent'].includes(level);
}
