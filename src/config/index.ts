// Reading the configuration, as one chunk.

export { type LiveConfig, liveConfig } from './live.ts';
export { type Config, loadConfig, locateConfig, type Surroundings } from './load.ts';
export { ConfigError } from './problems.ts';
