// Bundles src/ into dist/: one small file for what runs before the first answer, chunks behind dynamic imports
// for the rest. Node spends most of a start on opening and compiling many small files.
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { build } from 'esbuild';

const { outputFiles } = await build({
  write: false,
  entryPoints: ['src/cli.ts'],
  outdir: 'dist',
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node20.19',
  minifySyntax: true,
  legalComments: 'linked',
  // cosmiconfig asks for the TypeScript compiler to load .ts configurations; we never load code.
  external: ['typescript', 'pino', 'sonic-boom', 'yargs'],
  banner: {
    js: "import{createRequire as _cr}from'node:module';const require=_cr(import.meta.url);",
  },
  logLevel: 'warning',
});
// Only a build that has succeeded replaces the last one.
rmSync('dist', { recursive: true, force: true });
mkdirSync('dist');
for (const { path, contents } of outputFiles) writeFileSync(path, contents);
