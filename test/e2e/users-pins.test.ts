// Whose a localpart is when two have a claim to it: the same answer by every method, in memory and in LMDB.
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { temporaryFolder } from '../support/bridge.ts';
import { type Daemon, startDaemon } from '../support/daemon.ts';
import { connectPeer, type Peer } from '../support/peer.ts';
import { firstLogins, HOST, pinContract, type World } from '../support/pins.ts';
import { lastingWorld } from '../support/worlds.ts';

const newState = (): object => ({ state: `lmdb:${join(temporaryFolder(), 'state')}` });

describe('a localpart with a state in LMDB', () => {
  pinContract(async () => lastingWorld(newState()));

  it('is one of two who come first at the same time, each to a process of its own', async () => {
    await firstLogins(newState());
  });
});

describe('a localpart with the state of one process', () => {
  pinContract(async () => inOneProcess());
});

/** What it has in memory stays when it reads another configuration. */
function inOneProcess(): World {
  const path = join(temporaryFolder(), 'socket');
  let daemon: Daemon | undefined;
  let peer: Peer | undefined;
  let began = 0;
  return {
    async use(config) {
      const complete = { ...config, pin_subject: true, listen: [{ path, protocol: 'extauth' as const }] };
      began = daemon?.logLines().length ?? 0;
      if (daemon === undefined) daemon = await startDaemon({ config: complete });
      else await daemon.reload(complete);
      peer?.leave();
      peer = connectPeer(path);
    },
    ask: (request) => (peer as Peer).ask(request),
    log: () => (daemon?.logLines() ?? []).slice(began),
    async unpin(localpart) {
      await (peer as Peer).ask(`removeuser:${localpart}:${HOST}`);
    },
    async stop() {
      peer?.leave();
      await daemon?.stop();
    },
  };
}
