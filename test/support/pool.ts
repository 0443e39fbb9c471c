// Bridges as an XMPP server has them: several processes, logins dealt to one after the other, and to each the next one only
// after its answer.
import { type Bridge, startBridge, temporaryFolder, writeConfig } from './bridge.ts';

export interface Pool {
  readonly bridges: readonly Bridge[];
  /** Resolves with the answer of the process that is next, once that has come to it. */
  login(localpart: string, secret: string): Promise<number>;
  /** The same through one process, by its place. */
  loginThrough(place: number, localpart: string, secret: string): Promise<number>;
  /** Once through every process, at the same moment. */
  loginThroughAll(localpart: string, secret: string): Promise<number[]>;
  /** What the logs say of logins, process by process. Complete once the processes have ended. */
  requests(): Record<string, unknown>[];
  /** What the logs say besides, as warnings and errors; not that the store was away. */
  complaints(): Record<string, unknown>[];
  /** How often a process has given up the shared store for a while: what others know is then not known to it. */
  outages(): number;
  stop(): Promise<void>;
}

/** Longer than a whole storm: who is last has all the others before him. */
const patience = 200_000;

/** `configs`: one for each process. Resolves when all of them answer. */
export async function startPool(host: string, configs: readonly unknown[]): Promise<Pool> {
  const bridges = configs.map((config) =>
    startBridge({ config: writeConfig(config), cwd: temporaryFolder() }),
  );
  const queues: Promise<unknown>[] = bridges.map(() => Promise.resolve());
  let dealt = 0;

  function ask(place: number, request: string): Promise<number> {
    const turn = (queues[place] as Promise<unknown>).then(() => bridge(place).ask(request, patience));
    queues[place] = turn.catch(() => {});
    return turn;
  }

  function bridge(place: number): Bridge {
    return bridges[place] as Bridge;
  }

  const isOutage = ({ event, up }: Record<string, unknown>): boolean =>
    event === 'state_store' && up === false;
  const lines = (): Record<string, unknown>[] => bridges.flatMap((each) => each.logLines());
  const loginThrough = (place: number, localpart: string, secret: string): Promise<number> =>
    ask(place, `auth:${localpart}:${host}:${secret}`);

  // Of somebody that nobody asks the provider about.
  await Promise.all(bridges.map((_, place) => ask(place, `isuser:nobody:${host}`)));
  return {
    bridges,
    login: (localpart, secret) => loginThrough(dealt++ % bridges.length, localpart, secret),
    loginThrough,
    loginThroughAll: (localpart, secret) =>
      Promise.all(bridges.map((_, place) => loginThrough(place, localpart, secret))),
    requests: () => lines().filter(({ event, op }) => event === 'request' && op === 'auth'),
    complaints: () =>
      lines().filter((line) => (line.level === 'warn' || line.level === 'error') && !isOutage(line)),
    outages: () => lines().filter(isOutage).length,
    async stop() {
      await Promise.all(bridges.map((each) => each.stop()));
    },
  };
}
