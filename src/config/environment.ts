// What the process was told by variables other than those of the configuration itself.

/** Set by bin/extauth-oauth-prosody: the terminal was not raw before, so nobody has answered on it yet. */
export function isFreshTerminal(): boolean {
  return process.env.EXTAUTH_OAUTH_FRESH_TTY === '1';
}

/** What systemd has told the daemon that it has started. */
export interface Systemd {
  /** Descriptors of the sockets that it has opened, by name (sd_listen_fds_with_names(3)). */
  readonly sockets: ReadonlyMap<string, number>;
  /** Where it wants to hear how we are (sd_notify(3)); an abstract name begins with `@`. */
  readonly notifySocket: string | undefined;
  /** Milliseconds within which it wants to hear from us again and again (sd_watchdog_enabled(3)). */
  readonly watchdog: number | undefined;
}

/** The first descriptor that is passed (SD_LISTEN_FDS_START). */
const FIRST_PASSED = 3;

/** Reads what is meant for this very process, and nothing that was meant for the one that started it. */
export function readSystemd(env: NodeJS.ProcessEnv = process.env): Systemd {
  const { LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES = '', NOTIFY_SOCKET, WATCHDOG_PID, WATCHDOG_USEC } = env;
  const pid = String(process.pid);
  const count = LISTEN_PID === pid && /^\d{1,4}$/.test(LISTEN_FDS ?? '') ? Number(LISTEN_FDS) : 0;
  const names = LISTEN_FDNAMES.split(':');
  const sockets = new Map<string, number>();
  for (let index = 0; index < count; index++) {
    const name = names[index] || 'unknown';
    // Of two with one name the second is nobody's, which is said.
    sockets.set(sockets.has(name) ? `${name} (again)` : name, FIRST_PASSED + index);
  }
  const watched =
    (WATCHDOG_PID === undefined || WATCHDOG_PID === pid) && /^\d{4,15}$/.test(WATCHDOG_USEC ?? '');
  return {
    sockets,
    notifySocket: NOTIFY_SOCKET && /^[/@]./.test(NOTIFY_SOCKET) ? NOTIFY_SOCKET : undefined,
    watchdog: watched ? Number(WATCHDOG_USEC) / 1000 : undefined,
  };
}
