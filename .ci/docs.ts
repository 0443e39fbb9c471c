// What is written about the program by the program: the manual pages and the JSON Schema in dist/, the tables of options and of
// reasons in the README. `npm run docs` brings the README's up to date; a test holds it to that.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { FAILURES, REFUSALS } from '../src/login/reasons.ts';
import { configSchema } from './config-schema.ts';
import { readHelp } from './help.ts';
import { commandPage, configPage } from './man.ts';
import { type Option, reference } from './reference.ts';

const root = new URL('../', import.meta.url);
const read = (name: string): string => readFileSync(new URL(name, root), 'utf8');

/** The README's tables, by the names between which they stand there. */
const TABLES: Readonly<Record<string, () => readonly string[]>> = {
  options: () => ['| option | default | meaning |', '| --- | --- | --- |', ...reference().map(row)],
  refusals: () => ['| refused | why, and what to change |', '| --- | --- |', ...explained(REFUSALS)],
  failures: () => ['| unavailable | why, and what to change |', '| --- | --- |', ...explained(FAILURES)],
};

/** After the program itself has been built. */
export async function writeDocs(): Promise<void> {
  const { version } = JSON.parse(read('package.json')) as { version: string };
  const { SOURCE_DATE_EPOCH: epoch } = process.env;
  const date = (epoch === undefined ? new Date() : new Date(Number(epoch) * 1000)).toISOString().slice(0, 10);
  const options = {
    version,
    date,
    help: await readHelp(),
    readme: read('README.md'),
    example: read('examples/oidc.yml'),
  };
  mkdirSync(new URL('dist/man/', root), { recursive: true });
  writeFileSync(new URL('dist/man/extauth-oauth.1', root), commandPage(options));
  writeFileSync(new URL('dist/man/extauth-oauth.5', root), configPage(options));
  writeFileSync(new URL('dist/config.schema.json', root), `${JSON.stringify(configSchema())}\n`);
}

export function readmeWithTables(readme: string): string {
  let text = readme;
  for (const [name, rows] of Object.entries(TABLES)) {
    const place = new RegExp(`(<!-- ${name}: npm run docs -->\\n)[\\s\\S]*?(\\n<!-- ${name} end -->)`);
    if (!place.test(text)) throw new Error(`the README has no place for the ${name}`);
    text = text.replace(place, (_, before, after) => `${before}\n${rows().join('\n')}\n${after}`);
  }
  return text;
}

function explained(reasons: Readonly<Record<string, { readonly advice: string }>>): string[] {
  return Object.entries(reasons).map(([reason, { advice }]) => `| \`${reason}\` | ${advice} |`);
}

function row({ name, fallback, meaning, values }: Option): string {
  const unsaid = values.some((value) => !`${meaning} ${fallback}`.includes(`\`${value}\``));
  const choices = unsaid ? `${values.map((value) => `\`${value}\``).join(', ')}. ` : '';
  return `| \`${name}\` | ${fallback} | ${choices}${meaning} |`.replaceAll('  ', ' ');
}

const [, script] = process.argv;
if (script !== undefined && import.meta.url === pathToFileURL(script).href)
  writeFileSync(new URL('README.md', root), readmeWithTables(read('README.md')));
