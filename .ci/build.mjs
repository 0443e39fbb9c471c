// Bundles src/ into dist/: one small file for what runs before the first answer, chunks behind dynamic imports
// for the rest. Node spends most of a start on opening and compiling many small files.
import { rmSync } from 'node:fs';
import { build } from 'esbuild';

rmSync('dist', { recursive: true, force: true });
await build({
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
  external: ['typescript', 'pino', 'yargs'],
  banner: {
    js: "import{createRequire as _cr}from'node:module';const require=_cr(import.meta.url);",
  },
  logLevel: 'warning',
});
