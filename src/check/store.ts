// The state store: can it be opened, is it answered, and whose is it?
import { existsSync, statSync } from 'node:fs';
import type { StateSettings } from '../config/state-settings.ts';
import type { Account } from './access.ts';
import { type Finding, fault, ok, warning } from './finding.ts';

/** `users`: the accounts that the servers run us as. What root would open, they might not own afterwards. */
export async function* examineState(
  settings: StateSettings,
  users: readonly Account[],
): AsyncGenerator<Finding> {
  if (settings.store === 'memory') return;
  const { exists, tryState } = await import('../state/index.ts');
  if (settings.store === 'lmdb') {
    const { folder } = settings;
    const owner = existsSync(folder) ? statSync(folder).uid : undefined;
    const strangers = users.filter(({ uid }) => owner !== undefined && owner !== 0 && uid !== owner);
    const [stranger] = strangers;
    if (stranger !== undefined) {
      yield fault('state', `${folder} belongs to another user than ${stranger.name}, who cannot use it`, {
        why: 'logins go on with what each process has in its own memory: users, pins and budgets are not shared and not kept',
        line: `chown -R ${stranger.name} ${folder}`,
      });
      return;
    }
    if (process.geteuid?.() === 0 && owner !== undefined && owner !== 0) {
      yield ok('state', `${folder} belongs to the user who runs us; root leaves it alone`);
      return;
    }
    if (!exists(settings)) {
      const found = `${folder} is empty: the first login makes what it needs, if the server's user may write there`;
      yield owner === undefined
        ? warning('state', found, { line: `install -d -o ${users[0]?.name ?? 'ejabberd'} -m 0700 ${folder}` })
        : ok('state', found);
      return;
    }
  }
  try {
    const state = await tryState(settings);
    try {
      await state?.ping();
    } finally {
      await state?.close();
    }
    yield ok(
      'state',
      settings.store === 'lmdb'
        ? `${settings.folder}: shared by all workers of this machine`
        : 'Redis answers, and takes what is written',
    );
  } catch (error) {
    yield fault('state', (error as Error).message);
  }
}
