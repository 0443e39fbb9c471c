// What asks a directory who exists: loaded where `user_exists: lookup` wants it.
export { createExists, type Room } from './exists.ts';
export { createLookup } from './lookup.ts';
