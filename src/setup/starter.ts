// The configuration that `init` writes: few options, each with its reason, and beside them those that are wanted next.
import type { Discovery } from './discover.ts';
import { optionsFor, type Server } from './servers.ts';
import { type Entry, toYaml } from './yaml.ts';

export interface Wishes {
  readonly hosts: readonly string[];
  readonly server: Server;
  readonly passwords: boolean;
  readonly tokens: boolean;
  readonly clientId: string;
  /** Undefined: a client without a secret. */
  readonly secretFile: string | undefined;
  readonly caFile: string | undefined;
}

export interface Starter {
  readonly yaml: string;
  /** What the operator should know of this provider. */
  readonly notes: readonly string[];
}

export function starter(discovery: Discovery, wishes: Wishes): Starter {
  const notes: string[] = [];
  const entries: Entry[] = [
    {
      why: 'The provider, by its own name: endpoints and keys come from its metadata, which must say the same name.',
      key: 'issuer',
      value: discovery.issuer,
    },
    ...elsewhere(discovery, notes),
    { why: 'Our client there.', key: 'client_id', value: wishes.clientId },
    ...proof(discovery, wishes),
    ...secrets(discovery, wishes, notes),
    ...names(discovery),
    ...(wishes.caFile === undefined
      ? []
      : [
          {
            why: "Who has signed the provider's certificate.",
            key: 'http',
            value: { entries: [{ key: 'ca_file', value: wishes.caFile }] },
          } satisfies Entry,
        ]),
    ...optionsFor(wishes.server, wishes.hosts),
    {
      why: 'The virtual hosts; others are refused. What one of them needs differently is written below it.',
      key: 'hosts',
      value: { entries: wishes.hosts.map((key) => ({ key, value: { entries: [] } })) },
    },
  ];
  return { yaml: toYaml(entries, 'Written by `extauth-oauth init`. Try it: extauth-oauth check'), notes };
}

/** Discovery alone may not send secrets to another host: here the operator sees which ones it names. */
function elsewhere({ otherHosts }: Discovery, notes: string[]): Entry[] {
  if (otherHosts.length === 0) return [];
  notes.push(
    `the provider has endpoints on ${otherHosts.join(', ')}: take out of trusted_endpoint_hosts what is not its own`,
  );
  return [
    {
      why: 'Other hosts that its metadata names. Passwords and tokens are sent there: keep only those that are its own.',
      key: 'trusted_endpoint_hosts',
      value: { texts: otherHosts },
    },
  ];
}

function proof({ clientAuth }: Discovery, { secretFile }: Wishes): Entry[] {
  if (secretFile === undefined) {
    return [{ why: 'It has no secret: a public client.', key: 'client_auth_method', value: 'none' }];
  }
  const basic = clientAuth?.includes('client_secret_basic') && !clientAuth.includes('client_secret_post');
  return [
    { key: 'client_secret_file', value: secretFile },
    ...(basic
      ? [
          {
            why: 'The only way that this provider takes a secret.',
            key: 'client_auth_method',
            value: 'basic',
          },
        ]
      : []),
  ];
}

function secrets(discovery: Discovery, { passwords, tokens, clientId }: Wishes, notes: string[]): Entry[] {
  const { grants, introspects, hasKeys } = discovery;
  if (passwords && grants !== undefined && !grants.includes('password')) {
    notes.push(
      'its metadata does not name the password grant: `check` shows whether our client may use it all the same',
    );
  }
  if (tokens && !introspects && !hasKeys) {
    notes.push(
      'it publishes neither keys nor introspection, so UserInfo judges tokens, which does not say whom they are for',
    );
  }
  const others: Entry = {
    why: 'Tokens must be for our client, or obtained by it. Where other applications obtain them, name those, too:',
    key: 'accepted_clients',
    value: { texts: [clientId, 'chat-app'] },
    off: true,
  };
  if (!passwords) {
    return [
      { why: 'What users type is an access token, never their password.', key: 'credential', value: 'token' },
      others,
    ];
  }
  return [
    {
      why: 'Users type their password at the provider (RFC 9700 section 2.4 advises against it: leave it out where they can paste a token). A JWT is known as a token by itself.',
      key: 'resource_owner_password',
      value: true,
    },
    ...(tokens
      ? [
          {
            why: 'A token that is no JWT is told from a password by this in front of it:',
            key: 'token_prefix',
            value: 'token:',
          } satisfies Entry,
        ]
      : []),
    others,
  ];
}

/** The claim to take the localpart from. Every provider may name it as it likes; these are what they do. */
function names({ scopes, claims }: Discovery): Entry[] {
  const has = (claim: string): boolean => claims?.includes(claim) ?? false;
  const wanted = (...names: string[]): Entry => ({
    key: 'scope',
    value: ['openid', ...names.filter((name) => scopes?.includes(name) ?? name === 'profile')].join(' '),
  });
  if (claims === undefined || has('preferred_username')) {
    return [
      wanted('profile'),
      {
        why: 'The claim that must be the localpart that logs in.',
        key: 'username_field',
        value: 'preferred_username',
        off: true,
      },
    ];
  }
  if (has('nickname')) {
    return [
      wanted('profile'),
      {
        why: 'The claim that must be the localpart that logs in; the provider does not name preferred_username.',
        key: 'username_field',
        value: { texts: ['preferred_username', 'nickname'] },
      },
    ];
  }
  if (!has('email')) return [wanted('profile')];
  return [
    wanted('profile', 'email'),
    {
      why: 'The provider names no user names but addresses: alice@example.org logs in as alice, where example.org is the virtual host or one of username_domains.',
      key: 'username_field',
      value: 'email',
    },
    { key: 'username_mapping', value: 'split' },
    { key: 'username_domains', value: { texts: ['example.org'] }, off: true },
  ];
}
