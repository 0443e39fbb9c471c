// What the process was told by variables other than those of the configuration itself.

/** Set by bin/extauth-oauth-prosody: the terminal was not raw before, so nobody has answered on it yet. */
export function isFreshTerminal(): boolean {
  return process.env.EXTAUTH_OAUTH_FRESH_TTY === '1';
}
