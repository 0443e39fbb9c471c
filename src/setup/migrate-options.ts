// One virtual host's options of mod_auth_oauth_external as ours, and what they mean here that they did not mean there.
import type { LuaValue } from '../servers/prosody-config.ts';
import type { Entry } from './yaml.ts';

export const PREFIX = 'oauth_external_';

export interface Draft {
  readonly entries: readonly Entry[];
  /** Not among the entries: it gets a file of its own. */
  readonly secret: string | undefined;
  readonly notes: readonly string[];
}

/** Options that are texts there and here, in the order in which they are written. */
const TEXTS = [
  'issuer',
  'discovery_url',
  'validation_endpoint',
  'token_endpoint',
  'client_id',
  'scope',
  'username_field',
  'username_mapping',
  'sasl_username_mapping',
] as const;
const KNOWN: readonly string[] = [...TEXTS, 'client_secret', 'resource_owner_password', 'http_settings'];

const OIDC = '/.well-known/openid-configuration';
const OAUTH = '/.well-known/oauth-authorization-server';

export function draftOf(options: ReadonlyMap<string, { readonly value: LuaValue }>): Draft {
  const notes: string[] = [];
  const given = new Map<string, LuaValue>();
  for (const [name, { value }] of options) {
    if (!name.startsWith(PREFIX)) continue;
    const short = name.slice(PREFIX.length);
    if (KNOWN.includes(short)) given.set(short, value);
    else notes.push(`${name}: the module has no such option, so it is left out`);
  }
  const texts = new Map<string, string>();
  for (const name of TEXTS) {
    const value = given.get(name);
    if (value === undefined || value === '') continue;
    if (typeof value === 'string')
      texts.set(name, name.endsWith('mapping') ? value : address(name, value, notes));
    else notes.push(`${PREFIX}${name}: is no text, so it is left out`);
  }
  if (given.has('http_settings'))
    notes.push(
      `${PREFIX}http_settings: means nothing here (connections are kept open anyway); see http in the README`,
    );

  const secret = given.get('client_secret');
  const [discovery, token, client] = ['discovery_url', 'token_endpoint', 'client_id'].map((name) =>
    texts.get(name),
  );
  if (discovery !== undefined && !discovery.endsWith(OIDC) && !texts.has('issuer')) {
    const issuer = issuerOf(discovery);
    if (issuer !== undefined) texts.set('issuer', issuer);
    else notes.push(`${PREFIX}discovery_url: does not say who the issuer is, so write issuer`);
  }
  // Plain PLAIN: without a token endpoint the module takes no passwords, whatever this says.
  const passwords = token !== undefined && given.get('resource_owner_password') !== false;

  const entries: Entry[] = [];
  for (const name of ['issuer', 'discovery_url', 'validation_endpoint', 'token_endpoint', 'client_id']) {
    const value = texts.get(name);
    if (value !== undefined) entries.push({ ...WHY[name], key: name, value });
  }
  entries.push({ ...WHY.passwords, key: 'resource_owner_password', value: passwords });
  if (client === undefined) entries.push(...withoutClient(passwords, notes));
  else if (texts.has('validation_endpoint') || texts.has('issuer') || discovery !== undefined) {
    notes.push(
      `tokens: only those that are for ${client} or that it obtained log in; the module took those of any application. Others are named by accepted_clients`,
    );
  }
  if (secret !== undefined && client === undefined) {
    notes.push(`${PREFIX}client_secret: there is no client_id that it belongs to, so it is left out`);
  }
  entries.push(...ofTheName(texts, notes));
  if (passwords && texts.has('validation_endpoint')) {
    notes.push(
      `names: who typed something else (an address, say) was logged in as what ${texts.get('username_field') ?? 'preferred_username'} says; extauth cannot rename, so that is refused here (user_mismatch)`,
    );
  }
  return {
    entries,
    secret: client !== undefined && typeof secret === 'string' && secret !== '' ? secret : undefined,
    notes,
  };
}

const WHY: Readonly<Record<string, Pick<Entry, 'why'>>> = {
  issuer: { why: 'The provider, by its own name. What it publishes of itself (metadata, keys) is used.' },
  validation_endpoint: { why: 'Shown an access token, it says whose it is.' },
  token_endpoint: { why: 'Where passwords are exchanged for tokens.' },
  client_id: { why: 'Our client at the provider.' },
  passwords: {
    why: 'Whether users may type their password at the provider. (RFC 9700 section 2.4 advises against it.)',
  },
};

/** Nothing says whom a token must be for. */
function withoutClient(passwords: boolean, notes: string[]): Entry[] {
  const named: Entry = {
    key: 'accepted_clients',
    value: { texts: ['chat-app'] },
    off: true,
  };
  if (!passwords) {
    notes.push(
      "tokens: nothing says which applications' tokens may log in, so those of every website of the provider could: name them by accepted_clients; until then `check` fails",
    );
    return [{ ...named, why: 'TO DO: the applications whose tokens may log in.' }];
  }
  notes.push(
    'tokens: refused for now (credential: password). The module took those of every website of the provider; name the applications whose tokens may log in by accepted_clients, and take credential out',
  );
  return [
    {
      why: 'No tokens, since nothing says whom they must be for. To take them, write the second line in place of the first.',
      key: 'credential',
      value: 'password',
    },
    named,
  ];
}

function ofTheName(texts: ReadonlyMap<string, string>, notes: string[]): Entry[] {
  const field = texts.get('username_field') ?? 'preferred_username';
  const mapping = texts.get('username_mapping');
  const entries: Entry[] = [
    { key: 'scope', value: texts.get('scope') ?? 'openid' },
    {
      why: 'The claim that holds the localpart; more of them in a list, the first that is there counts.',
      key: 'username_field',
      value: field,
    },
  ];
  if (field === 'email')
    notes.push(
      'username_field is email: an address that the provider has not verified is refused (require_email_verified)',
    );
  if (mapping === 'split') {
    entries.push({
      why: 'name@domain logs in as name; the domain must be the virtual host, or one of username_domains.',
      key: 'username_mapping',
      value: mapping,
    });
    entries.push({ key: 'username_domains', value: { texts: ['example.org'] }, off: true });
    notes.push(
      'username_mapping is split: the module took every domain (alice@anywhere was alice); here it must be the virtual host, or be named by username_domains',
    );
  } else if (mapping !== undefined) {
    notes.push(`${PREFIX}username_mapping: the module knows only "split", so it is left out`);
  }
  const joined = texts.get('sasl_username_mapping');
  if (joined === 'join') {
    entries.push({
      why: 'The provider is asked about name@host.',
      key: 'sasl_username_mapping',
      value: joined,
    });
  } else if (joined !== undefined) {
    notes.push(`${PREFIX}sasl_username_mapping: the module knows only "join", so it is left out`);
  }
  return entries;
}

/** An older edition of the module's documentation shows addresses without the colon. */
function address(name: string, value: string, notes: string[]): string {
  const mended = value.replace(/^(https?)\/\//, '$1://');
  if (mended !== value)
    notes.push(`${PREFIX}${name}: begins with ${value.split('//')[0]}// there; taken for ${mended}`);
  return mended;
}

/** RFC 8414 section 3.1 puts the well-known part between host and path, the module behind the path. */
function issuerOf(discovery: string): string | undefined {
  if (!URL.canParse(discovery)) return undefined;
  const { origin, pathname } = new URL(discovery);
  if (pathname.startsWith(OAUTH)) return origin + pathname.slice(OAUTH.length);
  return pathname.endsWith(OAUTH) ? origin + pathname.slice(0, -OAUTH.length) : undefined;
}
