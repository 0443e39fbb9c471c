// The licences of what is bundled: each asks that its text goes wherever the code goes.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Whoever is in none of these has to be looked at by a person before it is shipped. */
const KNOWN = [
  'MIT',
  'ISC',
  'BSD-2-Clause',
  'BSD-3-Clause',
  'Apache-2.0',
  '0BSD',
  'BlueOak-1.0.0',
  'Python-2.0',
];

/** Name, version, licence and its text of every package that esbuild has taken anything from. */
export function licences(outputs) {
  const inputs = outputs.flatMap(({ metafile }) => Object.keys(metafile.inputs));
  // The innermost: a package may have others of its own.
  const folders = inputs.map((path) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path)?.[0]);
  const parts = [...new Set(folders)].filter((folder) => folder !== undefined).map(licenceOf);
  const texts = new Map(parts.map((part) => [`${part.name} ${part.version}`, part]));
  const packages = [...texts.keys()]
    .sort()
    .map((name) => `${name} (${texts.get(name).licence})\n\n${texts.get(name).text}\n`);
  return [...packages, ...comments(outputs)].join(`\n${'-'.repeat(80)}\n\n`);
}

/** What stands in the code itself, of parts that are no packages of their own. */
function comments(outputs) {
  const files = outputs.flatMap(({ outputFiles }) => outputFiles);
  const found = files
    .filter(({ path }) => path.endsWith('.LEGAL.txt'))
    .flatMap(({ text }) => [...text.matchAll(/^\S+:\n {2}\/\*!.*\*\/$/gm)].map(([comment]) => comment));
  return [...new Set(found)].map((comment) => `${comment}\n`);
}

function licenceOf(folder) {
  const { name, version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
  if (!KNOWN.includes(license)) throw new Error(`${folder} has the licence ${license}: may it be bundled?`);
  const files = readdirSync(folder).filter((file) => /^(?:licen[cs]e|copying|notice)/i.test(file));
  const own = files.map((file) => readFileSync(join(folder, file), 'utf8').trim()).join('\n\n');
  // Where there is no file, the README says it.
  const text = own === '' ? inReadme(folder) : own;
  if (text === '') throw new Error(`${folder} has no text of its licence`);
  return { name, version, licence: license, text };
}

function inReadme(folder) {
  const readme = readdirSync(folder).find((file) => /^readme/i.test(file));
  const text = readme === undefined ? '' : readFileSync(join(folder, readme), 'utf8');
  return (/^#+ *licen[cs]e[^\n]*\n([\s\S]*?)(?=^#|$(?![\s\S]))/im.exec(text)?.[1] ?? '').trim();
}
