// Bundles src/ into dist/. Node spends most of a start on opening, compiling and linking many small files, so the bridge
// is one file (bridge.cjs) with V8's code cache beside it; start.js runs it, commands.js is for people.
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { build } from 'esbuild';
import { tsImport } from 'tsx/esm/api';
import { makeCodeCache } from './code-cache.mjs';
import { licences } from './licences.mjs';

const common = {
  bundle: true,
  write: false,
  platform: 'node',
  target: 'node20.19',
  minifySyntax: true,
  minifyWhitespace: true,
  minifyIdentifiers: true,
  charset: 'ascii',
  legalComments: 'external',
  logLevel: 'warning',
  metafile: true,
};
/** With parts in machine code, which the package manager chooses for the machine. */
const native = ['lmdb', 'koffi'];
/** cosmiconfig asks for the TypeScript compiler to load .ts configurations; we never load code. */
const typescript = 'typescript';

/** What is loaded later, by few, by the file that it becomes. */
const later = {
  name: 'later',
  setup(bundle) {
    bundle.onResolve({ filter: /\/commands\/index\.ts$/ }, ({ kind }) =>
      kind === 'entry-point' ? undefined : { path: './commands.js', external: true },
    );
    bundle.onResolve({ filter: /^ioredis$/ }, () => ({ path: './ioredis.cjs', external: true }));
  },
};
/**
 * Modules that libraries load at once and the bridge needs never or only in an error: 40 ms of a start. Each stand-in
 * that can be used after all loads the real one then.
 */
const standIns = {
  // To name temporary files for .ts configurations.
  '^crypto$': "exports.randomUUID = () => require('node:crypto').randomUUID();",
  // To tell a stream of node:http's from others, and for a default in whose place we set our own.
  '^node:http$': 'exports.IncomingMessage = class {}; exports.maxHeaderSize = 16384;',
  '^(?:node:)?assert$': `const assert = (value, ...rest) => { if (!value) require('node:assert')(value, ...rest); };
    module.exports = new Proxy(assert, { get: (_, name) => require('node:assert')[name] });`,
  // To show where a JSON file is broken; it looks at the terminal first.
  '^@babel/code-frame$':
    "exports.codeFrameColumns = (...all) => require('@babel/code-frame').codeFrameColumns(...all);",
  // HTTP/2, which is off (allowH2).
  '/client-h2\\.js$': "module.exports = () => { throw new Error('HTTP/2 is off'); };",
};
const lean = {
  name: 'lean',
  setup(bundle) {
    for (const path of Object.keys(standIns)) {
      bundle.onResolve({ filter: new RegExp(path) }, ({ namespace }) =>
        namespace === 'lean' ? undefined : { path, namespace: 'lean' },
      );
    }
    bundle.onLoad({ filter: /.*/, namespace: 'lean' }, ({ path }) => ({
      contents: standIns[path],
      resolveDir: process.cwd(),
    }));
  },
};

const outputs = await Promise.all([
  build({
    ...common,
    entryPoints: ['src/start.ts'],
    outfile: 'dist/start.js',
    format: 'esm',
    plugins: [later],
  }),
  build({
    ...common,
    entryPoints: { bridge: 'src/cli.ts' },
    outdir: 'dist',
    outExtension: { '.js': '.cjs' },
    format: 'cjs',
    external: [typescript, ...native],
    // What is loaded when it is configured comes by require, too: a script has no import().
    supported: { 'dynamic-import': false },
    plugins: [lean, later],
    // What Node puts around a CommonJS module; start.js runs it as a script.
    banner: { js: '(function(require,module,exports){' },
    footer: { js: '})' },
  }),
  build({
    ...common,
    entryPoints: { commands: 'src/commands/index.ts' },
    outdir: 'dist',
    format: 'esm',
    external: [typescript, ...native],
    plugins: [later],
    banner: { js: "import{createRequire as _cr}from'node:module';const require=_cr(import.meta.url);" },
  }),
  build({
    ...common,
    // Names that an import() of a script can see.
    stdin: { contents: "export { Cluster, Redis } from 'ioredis';", resolveDir: process.cwd() },
    outfile: 'dist/ioredis.cjs',
    format: 'cjs',
  }),
]);

// Only a build that has succeeded replaces the last one.
rmSync('dist', { recursive: true, force: true });
mkdirSync('dist');
for (const { path, contents } of outputs.flatMap(({ outputFiles }) => outputFiles))
  if (!path.endsWith('.LEGAL.txt')) writeFileSync(path, contents);
writeFileSync('dist/LICENSES.txt', licences(outputs));
await makeCodeCache(process.cwd());
const { writeDocs } = await tsImport('./docs.ts', import.meta.url);
await writeDocs();
