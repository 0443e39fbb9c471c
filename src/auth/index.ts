// What a login needs and nothing before it does: one chunk, loaded once.
export { createDirectory } from '../oauth/directory.ts';
export { createProvider } from '../oauth/provider.ts';
export { createJudge } from './authenticate.ts';
