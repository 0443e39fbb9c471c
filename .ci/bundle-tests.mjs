// Bundles each of test/*.test.ts into a file that Node runs as it is: tsx takes half a second of CPU of every test process,
// and there are more than fifty. By itself a file runs as well with `node --import tsx --test`.
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { build } from 'esbuild';

// Where packages are found, and nobody looks for anything else.
const outdir = 'node_modules/.tests';
/** Modules find other files by their own addresses, which must stay what they are. */
const ownAddress = {
  name: 'own-address',
  setup(bundle) {
    bundle.onLoad({ filter: /\.ts$/ }, ({ path }) => ({
      loader: 'ts',
      contents: readFileSync(path, 'utf8').replaceAll(
        'import.meta.url',
        JSON.stringify(pathToFileURL(path).href),
      ),
    }));
  },
};

rmSync(outdir, { recursive: true, force: true });
await build({
  entryPoints: readdirSync('test')
    .filter((name) => name.endsWith('.test.ts'))
    .map((name) => `test/${name}`),
  outdir,
  outExtension: { '.js': '.mjs' },
  bundle: true,
  packages: 'external',
  platform: 'node',
  target: 'node20.19',
  format: 'esm',
  // The names of errors are printed.
  keepNames: true,
  sourcemap: 'linked',
  plugins: [ownAddress],
  logLevel: 'warning',
});
