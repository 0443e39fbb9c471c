// What is written about the program by the program: the manual pages and the JSON Schema in dist/, the table of options in
// the README. `npm run docs` brings the README's up to date; a test holds it to that.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { configSchema } from './config-schema.ts';
import { readHelp } from './help.ts';
import { commandPage, configPage } from './man.ts';
import { type Option, reference } from './reference.ts';

const root = new URL('../', import.meta.url);
const read = (name: string): string => readFileSync(new URL(name, root), 'utf8');

/** Where the README's table is. */
const TABLE = /(<!-- options: npm run docs -->\n)[\s\S]*?(\n<!-- options end -->)/;

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

export function readmeWithTable(readme: string): string {
  const rows = ['| option | default | meaning |', '| --- | --- | --- |', ...reference().map(row)];
  if (!TABLE.test(readme)) throw new Error('the README has no place for the options');
  return readme.replace(TABLE, (_, before, after) => `${before}\n${rows.join('\n')}\n${after}`);
}

function row({ name, fallback, meaning, values }: Option): string {
  const unsaid = values.some((value) => !`${meaning} ${fallback}`.includes(`\`${value}\``));
  const choices = unsaid ? `${values.map((value) => `\`${value}\``).join(', ')}. ` : '';
  return `| \`${name}\` | ${fallback} | ${choices}${meaning} |`.replaceAll('  ', ' ');
}

const [, script] = process.argv;
if (script !== undefined && import.meta.url === pathToFileURL(script).href)
  writeFileSync(new URL('README.md', root), readmeWithTable(read('README.md')));
