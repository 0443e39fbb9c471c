// Four kinds of directory: what each is asked, and what its answer says. Pure. Found is who is called as was asked, never
// whoever comes first: servers search for prefixes, take capitals for small letters, or do not look at the filter.
import { SERVICE_ACCOUNT } from '../auth/claims.ts';
import type { LookupSettings } from '../config/lookup.ts';
import { ProviderError } from '../oauth/errors.ts';
import type { HttpResponse } from '../oauth/http.ts';
import { type JsonObject, member, parseJson } from '../oauth/json.ts';

/** Whom it is about. */
export interface Asked {
  /** As the provider writes it. */
  readonly username: string;
  /** The same without a domain, and the virtual host: what templates are filled with. */
  readonly localpart: string;
  readonly host: string;
  /** Whether a name in the answer is this user's. */
  readonly isSame: (name: string) => boolean;
}

export interface Question {
  readonly url: string;
  /** What of the URL is the same for everybody. */
  readonly endpoint: string;
  /** Whether that is somebody. Throws a ProviderError where the answer does not say. */
  isFound(response: HttpResponse): boolean;
}

/** Users that are asked for: more than one come only from a server that finds more than the name. */
const PAGE = 20;
/** As many strangers come from a server that lists whom it has, page by page. */
const MANY = 10;

/** `undefined` for a name that cannot be asked for: nobody can be found by it. */
export function questionFor(settings: LookupSettings, asked: Asked): Question | undefined {
  switch (settings.type) {
    case 'scim':
      return scim(settings, asked);
    case 'keycloak':
      return keycloak(settings, asked);
    case 'webfinger':
      return webfinger(settings, asked);
    case 'http':
      return http(settings, asked);
  }
}

/** RFC 7644 section 3.4.2. */
function scim({ url, active_only }: LookupSettings, { username, isSame }: Asked): Question {
  const endpoint = `${withoutSlash(url)}/Users`;
  // In quotes and escaped as in JSON (section 3.4.2.2).
  const filter = `userName eq ${JSON.stringify(username)}`;
  return {
    url: `${endpoint}?${queryOf({ filter, count: `${PAGE}` })}`,
    endpoint,
    isFound(response) {
      if (isNoName(response, username)) return false;
      const answer = objectIn(response);
      const total = member(answer, 'totalResults');
      if (typeof total !== 'number') throw senseless(response, 'has no totalResults');
      const users = listOf(member(answer, 'Resources') ?? [], response);
      const found = users.find((user) => isNamed(user, 'userName', isSame));
      if (found !== undefined) return !active_only || member(found, 'active') !== false;
      return nobodyAmong(users, total, response);
    },
  };
}

/** Keycloak's admin API, GET /admin/realms/REALM/users. */
function keycloak({ url, active_only }: LookupSettings, { username, isSame }: Asked): Question | undefined {
  // Clients are users there, too, whom nobody lets in.
  if (username.startsWith(SERVICE_ACCOUNT)) return undefined;
  const endpoint = `${withoutSlash(url)}/users`;
  // Without exact it finds all names that the name is a part of.
  const query = { username, exact: 'true', briefRepresentation: 'true', max: `${PAGE}` };
  return {
    url: `${endpoint}?${queryOf(query)}`,
    endpoint,
    isFound(response) {
      if (isNoName(response, username)) return false;
      const users = listOf(jsonIn(response), response);
      const found = users.find((user) => isNamed(user, 'username', isSame));
      if (found !== undefined) return !active_only || member(found, 'enabled') !== false;
      return nobodyAmong(users, users.length < PAGE ? users.length : PAGE + 1, response);
    },
  };
}

/** RFC 7033. */
function webfinger(
  { url, resource: template }: LookupSettings,
  { localpart, host, isSame }: Asked,
): Question {
  const resource = filled(template, { localpart, host });
  return {
    url: `${url}?${queryOf({ resource })}`,
    endpoint: url,
    isFound(response) {
      if (isGone(response) || isNoName(response, localpart)) return false;
      const answer = objectIn(response);
      const aliases = member(answer, 'aliases');
      const names = [member(answer, 'subject'), ...(Array.isArray(aliases) ? aliases : [])];
      if (typeof names[0] !== 'string') throw senseless(response, 'has no subject');
      const resources = names.filter((name) => typeof name === 'string');
      if (resources.some((name) => isSameResource(name, resource, isSame))) return true;
      if (resources.some((name) => isSame(accountIn(name)?.user ?? '')))
        throw senseless(response, 'is about one at another domain', 'resource');
      return false;
    },
  };
}

/** Capitals may differ in both halves of an acct: URI (RFC 7565), and nowhere else. */
function isSameResource(name: string, resource: string, isSame: (name: string) => boolean): boolean {
  if (name === resource) return true;
  const [own, other] = [accountIn(name), accountIn(resource)];
  return own !== undefined && own.domain === other?.domain && isSame(own.user);
}

function accountIn(uri: string): { readonly user: string; readonly domain: string } | undefined {
  const [, user = '', domain = ''] = /^acct:(.+)@([^@]+)$/i.exec(uri) ?? [];
  try {
    return user === '' ? undefined : { user: decodeURIComponent(user), domain: domain.toLowerCase() };
  } catch {
    return undefined;
  }
}

/** Any other: an address for each user, 404 for nobody, and an answer that repeats the name. */
function http(settings: LookupSettings, { localpart, host, isSame }: Asked): Question | undefined {
  // Encoding does not help: `%2e%2e` leads up, too, and not every server splits the path before it decodes it.
  if (isUpwards(localpart) || isUpwards(host)) return undefined;
  const { url, username_path, active_only, active_field = '' } = settings;
  const [endpoint = ''] = url.split(/[?{]/);
  const path = username_path.split('.');
  return {
    url: filled(url, { localpart, host }),
    endpoint,
    isFound(response) {
      if (isGone(response) || isNoName(response, localpart)) return false;
      const users = objectsAt(jsonIn(response), path.slice(0, -1), response);
      const name = path.at(-1) ?? '';
      if (users.some((user) => typeof member(user, name) !== 'string'))
        throw senseless(response, `has no text at ${username_path}`, 'username_path');
      const found = users.find((user) => isNamed(user, name, isSame));
      if (found !== undefined) return !active_only || member(found, active_field) !== false;
      // It does not say whether these are all that it has found.
      return nobodyAmong(users, users.length < MANY ? users.length : users.length + 1, response);
    },
  };
}

/** The objects at a path; a list on the way stands for all that is in it. */
function objectsAt(value: unknown, path: readonly string[], response: HttpResponse): readonly JsonObject[] {
  if (Array.isArray(value)) return value.flatMap((each) => objectsAt(each, path, response));
  if (typeof value !== 'object' || value === null)
    throw senseless(response, 'has something else there', 'username_path');
  const [name, ...rest] = path;
  const object = value as JsonObject;
  return name === undefined ? [object] : objectsAt(member(object, name), rest, response);
}

/** False, if the server has told of all that it found. */
function nobodyAmong(users: readonly JsonObject[], total: number, response: HttpResponse): false {
  if (total > users.length)
    throw senseless(response, `has ${users.length} others and maybe more: it does not look at the name`);
  return false;
}

function isNamed(user: JsonObject, field: string, isSame: (name: string) => boolean): boolean {
  const name = member(user, field);
  return typeof name === 'string' && isSame(name);
}

function filled(template: string, { localpart, host }: { localpart: string; host: string }): string {
  return template
    .replaceAll('{localpart}', () => encodeURIComponent(localpart))
    .replaceAll('{host}', () => encodeURIComponent(host));
}

/** Not as in a form: not every server takes a plus sign for a space. */
function queryOf(parameters: Readonly<Record<string, string>>): string {
  return Object.entries(parameters)
    .map(([name, value]) => `${name}=${encodeURIComponent(value)}`)
    .join('&');
}

const isUpwards = (name: string): boolean => /(?:^|[/\\])\.{1,2}(?:[/\\]|$)/.test(name);

const withoutSlash = (url: string): string => url.replace(/\/+$/, '');

const isGone = ({ status }: HttpResponse): boolean => status === 404 || status === 410;

/**
 * Some servers read no escapes, others take letters, digits and a certain length only: they have nobody of a name that they
 * find wrong. Of a plain one it is us who ask wrongly. And nobody has a name that does not fit into an address, of at least
 * 8,000 bytes (RFC 9110 section 4.1).
 */
const isNoName = ({ status }: HttpResponse, name: string): boolean =>
  status === 414 || ((status === 400 || status === 422) && !/^[\w.@+-]{1,64}$/.test(name));

function jsonIn(response: HttpResponse): JsonObject | readonly unknown[] {
  const { status, hostname } = response;
  if (status === 401 || status === 403) {
    throw new ProviderError(
      'client_refused',
      `${hostname} does not let us look users up (${status}): check user_lookup.token_file and token_scheme, or what our client may do there (Keycloak: the role view-users of realm-management)`,
    );
  }
  if (status === 429) throw new ProviderError('provider_busy', `${hostname} asks for fewer requests (429)`);
  if (status !== 200) throw senseless(response, `has status ${status}`);
  const parsed = parseJson(response.text);
  if (parsed.kind === 'object' || parsed.kind === 'list') return parsed.value;
  throw senseless(response, 'is not JSON');
}

function objectIn(response: HttpResponse): JsonObject {
  const value = jsonIn(response);
  if (Array.isArray(value)) throw senseless(response, 'is a list');
  return value as JsonObject;
}

function listOf(value: unknown, response: HttpResponse): readonly JsonObject[] {
  const isList = Array.isArray(value) && value.every((each) => typeof each === 'object' && each !== null);
  if (!isList) throw senseless(response, 'is not a list of users');
  return value as readonly JsonObject[];
}

function senseless({ hostname }: HttpResponse, what: string, option = 'url'): ProviderError {
  return new ProviderError(
    'provider_error',
    `the answer of ${hostname} about a user ${what}: is user_lookup.${option} right?`,
  );
}
