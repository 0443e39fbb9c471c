// A million users who have logged in before: what the answer to whether one exists takes, and what the process has in
// memory for them, against the same bridge with a store in which there is one.
import { execFileSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Effort, firstAnswer, inPairs, pingPong } from './pairs.ts';
import { bridge, frame, type Memory, type Subject, start, temporaryPath } from './program.ts';
import type { Figure } from './table.ts';

const USERS = 1_000_000;
/** Users asked about in a run, of all places of the store, and as many names that nobody has. */
const ASKED = 5000;
/** Nobody is asked: any address will do. */
const NOWHERE = 'http://127.0.0.1:9';
/** The names of users are known only by digests: their neighbours in the store are any others. */
const STEP = 7919;

export async function known(effort: Effort): Promise<Figure[]> {
  const [one, million] = [storeOf(1), storeOf(USERS)];
  const first = frame('isuser:user0:localhost');
  const starts = await inPairs(
    effort,
    () => firstAnswer(one, first),
    () => firstAnswer(million, first),
  );
  const runs = await inPairs(
    effort,
    () => run(one, 1, effort),
    () => run(million, USERS, effort),
  );
  const of = (pick: (run: Run) => number): Pick<Figure, 'ours' | 'base'> => ({
    ours: runs.ours.map(pick),
    base: runs.base.map(pick),
  });
  const grown = { unit: 'MiB', judged: 'difference', target: { better: 'lower', must: 50 } } as const;
  return [
    {
      name: 'isuser, 1,000,000 known users in LMDB / one, p99',
      unit: 'us',
      ...of(({ tail }) => tail),
      judged: 'ours',
      target: { better: 'lower', must: 1000, aim: 250 },
    },
    { name: 'the same, p50', unit: 'us', ...of(({ median }) => median) },
    {
      name: 'RssAnon after 10,000 of them, 1,000,000 known users - one',
      ...grown,
      ...of(({ memory }) => memory.anonymous),
    },
    // The file is mapped: these are pages of the page cache that all workers share, and the kernel takes back.
    {
      name: 'RssFile, the map of the store among it',
      unit: 'MiB',
      ...of(({ memory }) => memory.resident - memory.anonymous),
    },
    {
      name: 'cold start to isuser, 1,000,000 known users in LMDB / one',
      unit: 'ms',
      ...starts,
      target: { better: 'lower', must: 1.15, aim: 1.05 },
    },
  ];
}

interface Run {
  readonly median: number;
  readonly tail: number;
  readonly memory: Memory;
}

async function run(subject: Subject, users: number, { size }: Effort): Promise<Run> {
  const requests: Buffer[] = [];
  const answers: number[] = [];
  for (let n = 0; n < ASKED; n++) {
    const user = (n * STEP) % USERS;
    requests.push(frame(`isuser:user${user}:localhost`), frame(`isuser:nobody${user}:localhost`));
    answers.push(user < users ? 1 : 0, 0);
  }
  const program = start(subject);
  // Half of them to warm up; pages of the others are not mapped yet.
  const warm = requests.length / 2;
  pingPong(program, requests, { count: warm, answers });
  const { median, tail } = pingPong(program, requests, {
    count: Math.round(requests.length * Math.max(size, 0.5)),
    from: warm,
    answers,
  });
  const memory = program.memory();
  await program.stop();
  return { median, tail, memory };
}

/** The bridge with a store in which so many users are known. */
function storeOf(users: number): Subject {
  const folder = temporaryPath('state');
  const script = join(dirname(fileURLToPath(import.meta.url)), 'known-users.ts');
  execFileSync(process.execPath, ['--import', 'tsx', script, folder, String(users)]);
  return bridge(NOWHERE, { state: `lmdb:${folder}`, user_exists: 'known' });
}
