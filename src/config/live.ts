// A configuration that follows its files: read at the start, on demand (SIGHUP) and when a file has changed. A broken
// new one keeps the old settings; as long as there has been no good one there are none, and the bridge answers no.
import { readFile, stat } from 'node:fs/promises';
import { type Config, createReader, loadConfig, locateConfig, type Surroundings } from './load.ts';
import { ConfigError } from './problems.ts';

export interface LiveConfig {
  /** The newest usable configuration. */
  current(): Config | undefined;
  /** Reads everything again now. */
  reload(): void;
}

export interface LiveOptions {
  readonly surroundings: Surroundings;
  /** A usable configuration, at the start and after each change. */
  readonly onConfig: (config: Config) => void;
  readonly onProblem: (error: ConfigError) => void;
}

/** A change is to be noticed within 5 s. */
const POLL = 2000;

export function liveConfig({ surroundings, onConfig, onProblem }: LiveOptions): LiveConfig {
  let current: Config | undefined;
  let files = new Map<string, string>();

  function reload(): void {
    // Contents, not times: a file that is changed right after it was read may keep size and time.
    const read = new Map<string, string>();
    const plain = createReader();
    try {
      const config = loadConfig(surroundings, {
        read(file) {
          read.set(file, '');
          const content = plain.read(file);
          read.set(file, content.text + content.mode);
          return content;
        },
      });
      files = read;
      current = config;
      onConfig(config);
    } catch (error) {
      files = read;
      onProblem(
        error instanceof ConfigError
          ? error
          : new ConfigError([{ path: '', message: `cannot be read (${(error as Error).name})` }]),
      );
    }
  }

  async function changed(): Promise<boolean> {
    const { file } = locateConfig(surroundings);
    if (file !== undefined && !files.has(file)) return true;
    for (const [name, before] of files) {
      const now = await Promise.all([readFile(name, 'utf8'), stat(name)]).then(
        ([text, { mode }]) => text + mode,
        () => '',
      );
      if (now !== before) return true;
    }
    return false;
  }

  reload();
  const timer = setInterval(() => {
    changed().then(
      (yes) => yes && reload(),
      () => {},
    );
  }, POLL);
  timer.unref();
  return { current: () => current, reload };
}
