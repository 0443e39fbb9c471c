// Bundles src/ into dist/. Node spends most of a start on opening, compiling and linking many small files, so the bridge
// is one file (bridge.cjs) with V8's code cache beside it; start.js runs it, commands.js is for people.
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'esbuild';

const common = {
  bundle: true,
  write: false,
  platform: 'node',
  target: 'node20.19',
  minifySyntax: true,
  minifyWhitespace: true,
  minifyIdentifiers: true,
  charset: 'ascii',
  legalComments: 'linked',
  logLevel: 'warning',
};
/** Stores of state, which few need. */
const whenConfigured = ['lmdb', 'ioredis'];
/** cosmiconfig asks for the TypeScript compiler to load .ts configurations; we never load code. */
const typescript = 'typescript';

/** What is loaded later, by the file that it becomes. */
const commands = {
  name: 'commands',
  setup(bundle) {
    bundle.onResolve({ filter: /\/commands\/index\.ts$/ }, () => ({ path: './commands.js', external: true }));
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
    plugins: [commands],
  }),
  build({
    ...common,
    entryPoints: { bridge: 'src/cli.ts' },
    outdir: 'dist',
    outExtension: { '.js': '.cjs' },
    format: 'cjs',
    external: [typescript, ...whenConfigured],
    // What is loaded when it is configured comes by require, too: a script has no import().
    supported: { 'dynamic-import': false },
    plugins: [lean],
    // What Node puts around a CommonJS module; start.js runs it as a script.
    banner: { js: '(function(require,module,exports){' },
    footer: { js: '})' },
  }),
  build({
    ...common,
    entryPoints: { commands: 'src/commands/index.ts' },
    outdir: 'dist',
    format: 'esm',
    external: [typescript, 'yargs', 'koffi', ...whenConfigured],
    banner: { js: "import{createRequire as _cr}from'node:module';const require=_cr(import.meta.url);" },
  }),
]);

// Only a build that has succeeded replaces the last one.
rmSync('dist', { recursive: true, force: true });
mkdirSync('dist');
for (const { path, contents } of outputs.flatMap(({ outputFiles }) => outputFiles))
  writeFileSync(path, contents);
await makeCodeCache();

/**
 * Lets the new bridge log one user in at a provider made for the purpose, and keeps what V8 has compiled by then. The
 * cache is for this version of Node; another one does without.
 */
async function makeCodeCache() {
  const folder = mkdtempSync(join(tmpdir(), 'extauth-oauth-build-'));
  const answers = {
    '/token': { access_token: 'x', token_type: 'Bearer' },
    '/userinfo': { preferred_username: 'alice' },
  };
  const server = createServer((request, response) => response.end(JSON.stringify(answers[request.url])));
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const origin = `http://127.0.0.1:${server.address().port}`;
  const config = join(folder, 'config.json');
  const options = {
    token_endpoint: `${origin}/token`,
    validation_endpoint: `${origin}/userinfo`,
    client_id: 'build',
  };
  writeFileSync(config, JSON.stringify({ ...options, log: { destination: join(folder, 'log') } }), {
    mode: 0o600,
  });
  const hook = join(folder, 'hook.cjs');
  writeFileSync(
    hook,
    `const vm = require('node:vm');
    const { writeFileSync } = require('node:fs');
    // V8 refuses a cache made under other flags than those at the start; src/oauth/http.ts sets some later.
    require('node:v8').setFlagsFromString = () => {};
    vm.Script = class extends vm.Script {
      constructor(code, options) {
        super(code, options);
        process.on('exit', () => writeFileSync(options.filename + '.cache', this.createCachedData()));
      }
    };`,
  );
  try {
    const env = { PATH: process.env.PATH, EXTAUTH_OAUTH_CONFIG: config };
    const child = spawn(process.execPath, ['--require', hook, 'bin/extauth-oauth.js'], {
      env,
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const request = Buffer.from('\0\x16auth:alice:host:secret', 'latin1');
    child.stdin.write(request);
    for await (const answer of child.stdout) {
      if (answer.toString('hex') !== '00020001')
        throw new Error(`the new bridge answers ${answer.toString('hex')}`);
      setTimeout(() => child.stdin.end(), 400);
    }
  } finally {
    server.close();
    server.closeAllConnections();
    rmSync(folder, { recursive: true, force: true });
  }
}
