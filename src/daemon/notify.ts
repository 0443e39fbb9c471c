// Tells systemd how the daemon is (Type=notify, sd_notify(3)). Only `serve` does: a program that an XMPP server starts has
// the server's NOTIFY_SOCKET in its environment, and would declare the server ready.
import type { Systemd } from '../config/environment.ts';
import type { Libc } from './libc.ts';

export interface Notify {
  /** All sockets are open. From here on systemd hears from us as often as it wants to. */
  ready(status: string): void;
  reloading(): void;
  stopping(): void;
}

export interface NotifyOptions {
  readonly systemd: Systemd;
  readonly loadLibc: () => Promise<Libc>;
  readonly onProblem: (message: string) => void;
}

/** Does nothing where systemd has not asked. Never throws. */
export async function createNotify({ systemd, loadLibc, onProblem }: NotifyOptions): Promise<Notify> {
  const { notifySocket, watchdog } = systemd;
  let send = (_text: string): void => {};
  if (notifySocket !== undefined) {
    try {
      const libc = await loadLibc();
      send = (text) => {
        try {
          libc.sendDatagram(notifySocket, text);
        } catch (error) {
          onProblem(`systemd cannot be told how we are: ${(error as Error).message}`);
        }
      };
    } catch (error) {
      onProblem(
        `systemd cannot be told how we are (use Type=exec and no WatchdogSec): ${(error as Error).message}`,
      );
    }
  }
  let timer: NodeJS.Timeout | undefined;

  return {
    ready(status) {
      send(`READY=1\nSTATUS=${status}`);
      if (watchdog === undefined || timer !== undefined) return;
      // Twice as often as it must be (sd_watchdog_enabled(3)). What cannot run this timer cannot answer logins, either.
      timer = setInterval(() => send('WATCHDOG=1'), watchdog / 2);
      timer.unref();
    },
    reloading() {
      // systemd compares with its own clock of this kind.
      send(`RELOADING=1\nMONOTONIC_USEC=${process.hrtime.bigint() / 1000n}`);
    },
    stopping: () => send('STOPPING=1'),
  };
}
