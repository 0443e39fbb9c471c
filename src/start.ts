// Runs the bridge's bundle, from V8's code cache where that fits this Node: compiling is half of a start. V8 checks by
// itself that the cache was made by this version, with these flags, and compiles as ever when it was not. Built-in modules
// are asked for by function: an import makes Node go through every export of theirs.
const { readFileSync } = process.getBuiltinModule('node:fs');
const { createRequire } = process.getBuiltinModule('node:module');
const { Script } = process.getBuiltinModule('node:vm');

const file = decodeURIComponent(new URL('./bridge.cjs', import.meta.url).pathname);
const script = new Script(readFileSync(file, 'latin1'), {
  filename: file,
  cachedData: readCache(`${file}.cache`),
});
const module: { exports: { forCommands?: readonly string[] } } = { exports: {} };
script.runInThisContext()(createRequire(file), module, module.exports);

const { forCommands } = module.exports;
if (forCommands !== undefined) {
  try {
    process.cwd();
  } catch {
    // Whoever became another user stands in a folder that this one may not look at (setpriv, in /root); libraries ask.
    process.chdir('/');
  }
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
