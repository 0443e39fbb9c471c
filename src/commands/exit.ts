// sysexits.h: what went wrong is the thing itself, the command line, or the configuration.
export const EXIT = { fine: 0, failed: 1, usage: 2, config: 78 } as const;
