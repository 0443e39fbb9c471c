// Lets a bridge log one user in at a provider made for the purpose, and keeps what V8 has compiled by then beside it: half of
// a start. The cache is for this version of Node, any other one does without. Run by the build, and by the Debian package
// when it or Node is installed: node code-cache.mjs FOLDER
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** `program`: the folder that holds bin/ and dist/. */
export async function makeCodeCache(program) {
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
    const { renameSync, writeFileSync } = require('node:fs');
    // V8 refuses a cache made under other flags than those at the start; src/oauth/http.ts sets some later.
    require('node:v8').setFlagsFromString = () => {};
    vm.Script = class extends vm.Script {
      constructor(code, options) {
        // The name is kept in the cache, and is nobody's business.
        super(code, { filename: 'bridge.cjs' });
        // Whoever reads it meanwhile must find a whole one.
        const made = options.filename + '.cache.new';
        process.on('exit', () => {
          writeFileSync(made, this.createCachedData());
          renameSync(made, options.filename + '.cache');
        });
      }
    };`,
  );
  const env = { PATH: process.env.PATH, EXTAUTH_OAUTH_CONFIG: config };
  try {
    // On a machine so busy that its log cannot be written at the end, a bridge ends by SIGKILL, and has kept nothing.
    for (let attempt = 1; !(await login(program, hook, env)); attempt++)
      if (attempt === 5) throw new Error('the new bridge does not end as it should');
  } finally {
    server.close();
    server.closeAllConnections();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Whether the bridge came to its own end. */
async function login(program, hook, env) {
  const child = spawn(process.execPath, ['--require', hook, join(program, 'bin/extauth-oauth.js')], {
    env,
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const ended = once(child, 'exit');
  const request = Buffer.from('\0\x16auth:alice:host:secret', 'latin1');
  child.stdin.write(request);
  for await (const answer of child.stdout) {
    if (answer.toString('hex') !== '00020001')
      throw new Error(`the new bridge answers ${answer.toString('hex')}`);
    setTimeout(() => child.stdin.end(), 400);
  }
  const [code] = await ended;
  return code === 0;
}

const [, script, folder] = process.argv;
if (script === fileURLToPath(import.meta.url) && folder !== undefined) await makeCodeCache(folder);
