// Questions on a terminal. They are shown on stderr: stdout may be a file.
import { createInterface } from 'node:readline';
import { Writable } from 'node:stream';
import { SetupError } from './files.ts';

export interface Asker {
  /** The answer without spaces around it; `preset` for an empty one, the question again where there is none. */
  ask(question: string, preset?: string): Promise<string>;
  /** True for an empty answer. */
  confirm(question: string): Promise<boolean>;
  /** What is typed is not shown. */
  hidden(question: string): Promise<string>;
  close(): void;
}

export function createAsker(): Asker {
  let shown = true;
  const output = new Writable({
    write(chunk, _encoding, done) {
      if (shown) process.stderr.write(chunk);
      done();
    },
  });
  const lines = createInterface({ input: process.stdin, output, terminal: true, historySize: 0 });
  let giveUp = (_: Error): void => {};
  lines.on('SIGINT', () => lines.close());
  lines.on('close', () => giveUp(new SetupError('given up: nothing is written')));

  function line(question: string): Promise<string> {
    return new Promise((resolve, reject) => {
      giveUp = reject;
      lines.question(question, resolve);
    });
  }

  async function ask(question: string, preset?: string): Promise<string> {
    for (;;) {
      const answer =
        (await line(`${question}${preset === undefined ? '' : ` [${preset}]`}: `)).trim() || preset;
      if (answer !== undefined) return answer;
    }
  }

  return {
    ask,
    confirm: async (question) => /^y/i.test(await ask(`${question} (yes or no)`, 'yes')),
    async hidden(question) {
      process.stderr.write(`${question} (not shown): `);
      shown = false;
      try {
        return await line('');
      } finally {
        shown = true;
        process.stderr.write('\n');
      }
    },
    close: () => lines.close(),
  };
}
