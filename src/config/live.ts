// A configuration that follows its files: read at the start, on demand (SIGHUP) and when a file has changed. A broken
// new one keeps the old settings; as long as there has been no good one there are none, and the bridge answers no.
import { readFile, stat } from 'node:fs/promises';
import { createReader } from './files.ts';
import { type Config, loadConfig, locateConfig, type Surroundings } from './load.ts';
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

/** A change is to be noticed within 5 s, and seen twice: the first time it may be half written. */
const POLL = 1500;

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
          read.set(file, signature(content.text, content.mode, content.owner));
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

  /** What the files say now, as one text. */
  async function look(): Promise<string> {
    const { file } = locateConfig(surroundings);
    const names = new Set([...files.keys(), ...(file === undefined ? [] : [file])]);
    const contents = await Promise.all(
      [...names].map((name) =>
        Promise.all([readFile(name, 'utf8'), stat(name)]).then(
          ([text, { mode, uid }]) => `${name}\n${signature(text, mode, uid)}`,
          () => `${name}\n`,
        ),
      ),
    );
    return contents.join('\n');
  }

  let lastLook = '';
  async function poll(): Promise<void> {
    const now = await look();
    const loaded = [...files].map(([name, content]) => `${name}\n${content}`).join('\n');
    if (now !== loaded && now === lastLook) reload();
    lastLook = now;
  }

  reload();
  const timer = setInterval(() => void poll().catch(() => {}), POLL);
  timer.unref();
  return { current: () => current, reload };
}

function signature(text: string, mode: number, owner: number): string {
  return `${mode} ${owner} ${text}`;
}
