// One provider of one virtual host: is it the one that is meant, does it play its part, and is what it says enough to judge
// a login by? Nothing that is asked changes anything there.
import type { HostSettings } from '../config/host-settings.ts';
import type { ProviderSettings } from '../config/provider-settings.ts';
import { createDirectory } from '../oauth/directory.ts';
import type { EndpointName } from '../oauth/metadata.ts';
import { createProvider, type Provider } from '../oauth/provider.ts';
import { examineClient } from './client.ts';
import { examineClock } from './clock.ts';
import { type Finding, fault, ok, warning } from './finding.ts';
import { examineCertificates } from './tls.ts';

/** A name that nobody has, a password that opens nothing, and a token that nobody gave out. */
export const NOBODY = 'extauth-oauth-check';

type Signal = () => AbortSignal;

export async function* examineProvider(
  host: HostSettings,
  settings: ProviderSettings,
): AsyncGenerator<Finding> {
  const directory = createDirectory({ now: () => performance.now() });
  const provider = createProvider({ settings, directory, wallClock: Date.now });
  // Each question has its own time; http.timeout bounds every request inside.
  const signal: Signal = () => AbortSignal.timeout(settings.http.timeout * 2 + settings.http.connect_timeout);
  try {
    yield* examine(provider, host, signal);
  } finally {
    provider.close();
    directory.close();
  }
}

async function* examine(provider: Provider, host: HostSettings, signal: Signal): AsyncGenerator<Finding> {
  const { settings } = provider;
  const { issuer, discovery_url, validation } = settings;
  const hasMetadata = issuer !== undefined || discovery_url !== undefined;
  const place = discovery_url ?? issuer;
  if (place !== undefined) {
    yield* examineCertificates([place], settings, Date.now());
    const finding = await ask(
      'discovery',
      async () => `issuer ${(await provider.metadata(signal())).issuer}`,
    );
    yield finding;
    // Everything else would only say the same again.
    if (
      finding.level === 'ERROR' &&
      settings.validation_endpoint === undefined &&
      settings.keys === undefined
    )
      return;
  }
  const { urls, untrusted } = await findEndpoints(provider, signal);
  yield* untrusted.values();
  const near = place === undefined ? [] : [new URL(place).origin];
  const elsewhere = [...urls.values()].filter((url) => !near.includes(new URL(url).origin));
  yield* examineCertificates(elsewhere, settings, Date.now());
  const dated = urls.get('jwks_uri') ?? (hasMetadata ? place : undefined) ?? urls.get('validation_endpoint');
  if (dated !== undefined) {
    const finding = await examineClock(dated, settings, { wallClock: Date.now, signal: signal() });
    if (finding !== undefined) yield finding;
  }

  const inLine = { keys: false, introspection: false };
  if ((validation === 'auto' || validation.startsWith('jwt')) && !untrusted.has('jwks_uri')) {
    const finding = await ask('keys', () => tryKeys(provider, signal));
    inLine.keys = finding.level === 'ok';
    // Without keys, `auto` has other ways.
    yield finding.level === 'ERROR' && validation === 'auto' ? { ...finding, level: 'warning' } : finding;
  }
  if (
    (validation.endsWith('introspection') || (validation === 'auto' && (await can(provider, signal)))) &&
    !untrusted.has('introspection_endpoint')
  ) {
    inLine.introspection = true;
    yield await ask('introspection', () => tryIntrospection(provider, signal));
  }
  const asksUserinfo = usesUserinfo(settings, inLine);
  if (asksUserinfo && !untrusted.has('validation_endpoint'))
    yield await ask('UserInfo', () => tryUserinfo(provider, signal));
  yield* settingsWorthAWord(settings, { asksUserinfo: asksUserinfo && hasMetadata });
  const opaque = host.credential === 'token' || host.token_prefix !== undefined;
  if (opaque && validation === 'auto' && !inLine.introspection) {
    yield warning(
      'introspection',
      'not possible (introspection_endpoint, client_secret_file): UserInfo does not say whom an opaque token is for, so one that any other application of this provider obtained logs in here',
    );
  }
  if (!settings.passwords) return;
  if (!untrusted.has('token_endpoint')) yield await examineClient(provider, NOBODY, signal);
  if (
    settings.revoke_after_login &&
    !urls.has('revocation_endpoint') &&
    !untrusted.has('revocation_endpoint')
  ) {
    yield warning(
      'revocation_endpoint',
      'there is none: every login by password leaves a token, and perhaps a session, at the provider',
    );
  }
}

async function ask(what: string, question: () => Promise<string>): Promise<Finding> {
  try {
    return ok(what, await question());
  } catch (error) {
    return fault(what, (error as Error).message);
  }
}

/** The endpoints that some login or its end needs. */
function needed({ validation, passwords, revoke_after_login, keys }: ProviderSettings): EndpointName[] {
  return [
    ...(passwords ? (['token_endpoint'] as const) : []),
    ...(passwords && revoke_after_login ? (['revocation_endpoint'] as const) : []),
    ...(validation === 'auto' || validation.endsWith('introspection')
      ? (['introspection_endpoint'] as const)
      : []),
    ...(validation === 'auto' || validation.endsWith('userinfo') ? (['validation_endpoint'] as const) : []),
    ...((validation === 'auto' || validation.startsWith('jwt')) && keys === undefined
      ? (['jwks_uri'] as const)
      : []),
  ];
}

interface Endpoints {
  readonly urls: ReadonlyMap<EndpointName, string>;
  /** On another host than the issuer, or without https. */
  readonly untrusted: ReadonlyMap<EndpointName, Finding>;
}

async function findEndpoints(provider: Provider, signal: Signal): Promise<Endpoints> {
  const urls = new Map<EndpointName, string>();
  const untrusted = new Map<EndpointName, Finding>();
  for (const name of needed(provider.settings)) {
    try {
      const url = await provider.find(name, signal());
      if (url !== undefined) urls.set(name, url);
    } catch (error) {
      const { message } = error as Error;
      // That there is no metadata has been said.
      if (!/^the metadata at \S+ names /.test(message)) continue;
      const named = /names an? \S+ on (\S+):/.exec(message)?.[1];
      untrusted.set(
        name,
        fault(name, message, {
          why: 'secrets are sent only where the issuer itself is, unless you say otherwise; what needs this endpoint is refused',
          ...(named === undefined ? {} : { line: `trusted_endpoint_hosts: [${named}]` }),
        }),
      );
    }
  }
  return { urls, untrusted };
}

function* settingsWorthAWord(
  settings: ProviderSettings,
  { asksUserinfo }: { readonly asksUserinfo: boolean },
): Generator<Finding> {
  const { passwords, scope, username_field, client_auth_method, client_id, clientSecret } = settings;
  const scopes = scope.split(' ');
  if (passwords && asksUserinfo && !scopes.includes('openid')) {
    yield warning(
      'scope',
      `${scope || 'none'}: without openid, UserInfo refuses the tokens that our client obtains`,
      {
        why: 'logins by password end with token_inactive at an OpenID provider',
        line: `scope: ${['openid', ...scopes.filter((each) => each !== '')].join(' ')}`,
      },
    );
  } else if (passwords && username_field.includes('preferred_username') && !scopes.includes('profile')) {
    yield warning(
      'scope',
      `${scope || 'none'}: most providers name preferred_username only with scope: openid profile`,
      { line: 'scope: openid profile' },
    );
  }
  const wantsSecret = client_auth_method === 'post' || client_auth_method.startsWith('basic');
  if (passwords && client_id !== undefined && clientSecret === undefined && wantsSecret) {
    yield warning(
      'client_secret_file',
      'no client secret: right for a public client only, which client_auth_method: none says',
      { line: 'client_auth_method: none' },
    );
  }
}

/** Whether some login may come to ask it. */
function usesUserinfo(
  { validation, passwords }: ProviderSettings,
  { keys, introspection }: { keys: boolean; introspection: boolean },
): boolean {
  if (validation.endsWith('userinfo')) return true;
  if (validation.endsWith('introspection')) return false;
  return validation === 'jwt' ? passwords && !keys : !introspection || passwords;
}

async function can(provider: Provider, signal: Signal): Promise<boolean> {
  return provider.canIntrospect(signal()).catch(() => false);
}

async function tryKeys(provider: Provider, signal: Signal): Promise<string> {
  const { keys } = provider.settings;
  if (keys !== undefined) return `${keys.keys.length} in jwks_file: JWTs are judged here`;
  if (!(await provider.hasKeys(signal()))) {
    throw new Error('nothing says where they are (jwks_uri, jwks_file): no JWT can be judged here');
  }
  return `${await provider.find('jwks_uri', signal())}: JWTs are judged here`;
}

async function tryIntrospection(provider: Provider, signal: Signal): Promise<string> {
  const url = await provider.endpoint('introspection_endpoint', signal());
  const answer = await provider.introspect(NOBODY, signal());
  if (answer !== 'cannot_say' && 'claims' in answer)
    throw new Error(`${url} calls a token active that nobody gave out: anybody could log in as anybody`);
  return `${url} accepts our client, and calls a token inactive that nobody gave out, as it should`;
}

async function tryUserinfo(provider: Provider, signal: Signal): Promise<string> {
  const url = await provider.endpoint('validation_endpoint', signal());
  const answer = await provider.userinfo(NOBODY, signal());
  if ('claims' in answer)
    throw new Error(`${url} answers a token that nobody gave out: anybody could log in as anybody`);
  return `${url} refuses a token that nobody gave out, as it should`;
}
