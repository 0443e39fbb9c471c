// `login`: one login as the server would do it, with every step shown. Not through the wire, but through all the rest.
import { createInterface } from 'node:readline';
import { Writable } from 'node:stream';
import { text as readAll } from 'node:stream/consumers';
import { ConfigError, loadConfig } from '../config/index.ts';
import { createHosts } from '../host.ts';
import { judgeLogin } from '../judge.ts';
import { Secret } from '../verdict.ts';
import { toLocalpart } from '../xmpp/localpart.ts';
import { nodeprep } from '../xmpp/nodeprep.ts';
import { EXIT } from './exit.ts';

export interface LoginOptions {
  readonly config: string | undefined;
  readonly jid: string;
  readonly stdin: boolean;
  readonly print: (line: string) => void;
}

const WIDTH = 16;
const DEADLINE = 8000;

/** The exit code: 0 accepted, 1 not, 2 wrong usage, 78 no usable configuration. */
export async function login({ config, jid, stdin, print }: LoginOptions): Promise<number> {
  const show = (name: string, result: string): void => print(`  ${name.padEnd(WIDTH)} ${result}`);
  const at = jid.lastIndexOf('@');
  if (at <= 0 || at === jid.length - 1) {
    print(`${jid} is no JID: user@virtual.host`);
    return EXIT.usage;
  }
  if (stdin === process.stdin.isTTY) {
    print(
      stdin
        ? 'This is a terminal, which would show the secret: leave --stdin out, and it is asked for'
        : 'The secret is asked for on the terminal, and this is none: use --stdin',
    );
    return EXIT.usage;
  }

  let settings: ReturnType<typeof loadConfig>;
  try {
    settings = loadConfig({ config });
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    for (const { path, message } of error.problems) show('configuration', `${path} ${message}`.trim());
    return EXIT.config;
  }
  show('configuration', settings.file);

  const { createKept, exists } = await import('../state/index.ts');
  // Made by whoever tries a login, it might not be the server's.
  const kept = createKept(exists(settings.state) ? settings.state : { store: 'memory' }, {
    maxEntries: settings.process.cache.max_entries,
    onChange: ({ up, why }) => {
      if (!up) show('state', `${why}: this login goes on without it`);
    },
  });
  const afterwards: (() => Promise<void>)[] = [];
  const hosts = createHosts(settings, {
    afterwards: (work) => afterwards.push(work),
    state: async () => kept,
    step: show,
    warn: (message) => show('warning', message),
    observe: ({ method, url, status, milliseconds, error }) =>
      show(
        `${method} ${status ?? '---'}`,
        `${url}  ${Math.round(milliseconds)} ms${error === undefined ? '' : `  ${error}`}`,
      ),
  });
  const name = jid.slice(at + 1).toLowerCase();
  const host = hosts.find(name);
  if (host === undefined) {
    print(`refused (unknown_host): ${name} is not listed under hosts`);
    return EXIT.failed;
  }
  show('virtual host', `${name} (${host.settings.pattern || 'settings for all hosts'})`);
  const typed = jid.slice(0, at);
  const rules = { username_case: 'nodeprep', jid_escape: host.settings.providers[0].jid_escape } as const;
  const localpart = nodeprep(typed) ?? toLocalpart(typed, rules);
  if (localpart === undefined) {
    show('localpart', 'no XMPP server takes this name');
    return EXIT.failed;
  }
  if (localpart !== typed) show('localpart', localpart);

  const secret = stdin ? (await readAll(process.stdin)).replace(/\r?\n$/, '') : await askForSecret();
  const started = performance.now();
  const credentials = {
    localpart,
    authcid: localpart,
    host: name,
    secret: new Secret(secret),
    isBearer: false,
  };
  const verdict = await judgeLogin(host, credentials, {
    deadlineAt: started + (settings.process.deadline ?? DEADLINE),
    now: () => performance.now(),
    onInternalError: (error, where) => show('internal error', `${error} ${where ?? ''}`),
  });
  for (const work of afterwards) await work();
  hosts.close();
  await kept.state.close();

  const milliseconds = Math.round(performance.now() - started);
  const reason = verdict.outcome === 'accepted' ? verdict.method : verdict.reason;
  print(`${verdict.outcome} (${reason}) after ${milliseconds} ms`);
  if ('detail' in verdict && verdict.detail !== undefined) print(verdict.detail);
  return verdict.outcome === 'accepted' ? EXIT.fine : EXIT.failed;
}

/** Reads one line from the terminal without showing it. The prompt goes to stderr: stdout may be a file. */
function askForSecret(): Promise<string> {
  process.stderr.write('Password or token (not shown): ');
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() });
  const lines = createInterface({ input: process.stdin, output: nowhere, terminal: true, historySize: 0 });
  return new Promise((resolve) => {
    let answered = false;
    lines.question('', (secret) => {
      answered = true;
      lines.close();
      process.stderr.write('\n');
      resolve(secret);
    });
    const giveUp = (): void => {
      process.stderr.write('\n');
      process.exit(EXIT.failed);
    };
    lines.on('SIGINT', giveUp);
    // ^D; after an answer it comes too late to matter.
    lines.on('close', () => setImmediate(() => answered || giveUp()));
  });
}
