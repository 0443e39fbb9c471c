// npm run bench [-- --quick] [-- --only NAME]: measures the bridge against the smallest programs of the same duty, in
// pairs, and prints a table. Figures move with the machine; ratios to a base measured right before hold.
// Exit code 1 when a figure misses what it must reach.
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { measures } from './measures.ts';
import { pin } from './program.ts';
import { type Figure, judge, table } from './table.ts';

const { values } = parseArgs({
  options: { quick: { type: 'boolean', default: false }, only: { type: 'string', multiple: true } },
});

const names = values.only ?? Object.keys(measures);
const unknown = names.filter((name) => !Object.hasOwn(measures, name));
if (unknown.length > 0) {
  console.error(`no such measure: ${unknown.join(', ')}. There are: ${Object.keys(measures).join(', ')}`);
  process.exit(2);
}

const effort = {
  pairs: values.quick ? 3 : 7,
  size: values.quick ? 0.3 : 1,
  onPair: () => void process.stderr.write('.'),
};
const cpu = pin();
const figures: Figure[] = [];
for (const name of names) {
  process.stderr.write(`${name} `);
  figures.push(...((await measures[name]?.(effort)) ?? []));
  process.stderr.write('\n');
}

const where =
  cpu === undefined
    ? 'No taskset: nothing is pinned, and rates measure how fast idle CPUs wake up. '
    : `Driver, program and provider share CPU ${cpu} (taskset): a figure is work, not waiting. Rates are without the driver's time, with the provider's.`;
console.log(`Node ${process.version}, ${cpus()[0]?.model.trim()}, ${cpus().length} CPUs. ${where}
Medians of ${effort.pairs} pairs; the base of each pair ran right before.

${table(figures)}

The base is test/bench/echo.mjs, or test/bench/proto-*.mjs for rates and times of logins: node:http with keep-alive and
the same exchanges (a login by password: token endpoint, then UserInfo, unless there is an ID token), or node:crypto's
verify, and nothing else, neither log nor deadline nor limit. The bridge logs every request to a file. Revocation is off.
The base of serve is as many bridges, asked by the same driver, which has an event loop: their absolute rates are lower.`);

process.exit(figures.some((figure) => judge(figure) === 'missed') ? 1 : 0);
