// Runs the bridge's bundle, from V8's code cache where that fits this Node: compiling is half of a start. V8 checks by
// itself that the cache was made by this version, with these flags, and compiles as ever when it was not.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import { Script } from 'node:vm';

// undici's HTTP parser is WebAssembly: optimising it takes 100 ms of CPU and 5 MB, for what is fast enough without.
setFlagsFromString('--liftoff-only');
// A login leaves little behind. 1 MB for young objects does; V8 would grow to 16, in every worker.
setFlagsFromString('--semi-space-growth-factor=1');

const file = fileURLToPath(new URL('./bridge.cjs', import.meta.url));
const script = new Script(`(function(require,module,exports){${readFileSync(file, 'latin1')}\n})`, {
  filename: file,
  cachedData: readCache(`${file}.cache`),
});
const module: { exports: { forCommands?: readonly string[] } } = { exports: {} };
script.runInThisContext()(createRequire(file), module, module.exports);

const { forCommands } = module.exports;
if (forCommands !== undefined) {
  const { main } = await import('./commands/index.ts');
  await main(forCommands);
}

/** Empty, which V8 refuses like any other that does not fit, when there is none. */
function readCache(name: string): Buffer {
  try {
    return readFileSync(name);
  } catch {
    return Buffer.alloc(0);
  }
}
