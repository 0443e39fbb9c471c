// The program with a state that a test gives it: bridges that are restarted, where it lasts.
import assert from 'node:assert/strict';
import { type Bridge, startBridge, writeConfig } from './bridge.ts';
import { HOST, usersCommand, type World } from './pins.ts';

/** `state`: the options that say where it is. */
export function lastingWorld(state: object): World {
  let bridge: Bridge | undefined;
  let current: object = {};
  return {
    async use(config) {
      await bridge?.stop();
      current = { ...config, ...state };
      bridge = startBridge({ config: writeConfig(current) });
    },
    ask: (request) => (bridge as Bridge).ask(request),
    log: () => bridge?.logLines() ?? [],
    async unpin(localpart) {
      const { status, out } = usersCommand(current, 'unpin', `${localpart}@${HOST}`);
      assert.equal(status, 0, out);
    },
    async stop() {
      await bridge?.stop();
    },
  };
}
