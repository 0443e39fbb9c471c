// The JSON Schema of the configuration, by which editors complete, explain and underline what is typed.
import { ofTheHost } from '../src/config/schema.ts';
import { type Json, type Option, ofGroup, ofHosts, ofProcess } from './reference.ts';

/** Prosody's module calls them so, and they are taken as well; not offered by an editor. */
const ALIAS = 'oauth_external_';

export function configSchema(): Json {
  const hosts = ofHosts();
  const options = Object.fromEntries(hosts.map((option) => [option.name, schemaOf(option)]));
  const provider = hosts.filter(({ name }) => !ofTheHost.includes(name as never));
  options.providers = { ...options.providers, items: { $ref: '#/definitions/provider' } };
  const named = referTo(hosts);
  const ofWhole = Object.fromEntries(ofProcess().map((option) => [option.name, schemaOf(option)]));
  // A socket for Prometheus is a socket.
  if (ofWhole.metrics !== undefined)
    ofWhole.metrics.properties = described('listen', ofWhole.metrics.properties);
  const list = {
    type: 'object',
    description: 'Virtual hosts, or *.example.org, each with options of its own. No other host gets in.',
    minProperties: 1,
    propertyNames: { pattern: '^(?:\\*\\.)?[^*\\s/@]+$' },
    additionalProperties: { oneOf: [{ type: 'null' }, { $ref: '#/definitions/host' }] },
  };
  return {
    $schema: 'http://json-schema.org/draft-07/schema#',
    title: 'Configuration of extauth-oauth',
    ...object({ ...named, ...ofWhole, hosts: list }),
    definitions: { ...options, host: object(named), provider: object(referTo(provider)) },
  };
}

function object(properties: Json): Json {
  const aliases = Object.entries(properties).map(([name, schema]) => [`^${ALIAS}${name}$`, schema]);
  return {
    type: 'object',
    properties,
    patternProperties: Object.fromEntries(aliases),
    additionalProperties: false,
  };
}

function referTo(options: readonly Option[]): Json {
  return Object.fromEntries(options.map(({ name }) => [name, { $ref: `#/definitions/${name}` }]));
}

function schemaOf({ name, json, meaning, fallback }: Option): Json {
  const { items, properties, ...rest } = json as { items?: Json; properties?: Json } & Json;
  return {
    description: plain(fallback === '' ? meaning : `${meaning} Default: ${fallback}.`),
    ...rest,
    ...(items === undefined ? {} : { items: { ...items, ...nested(name, items.properties) } }),
    ...nested(name, properties),
  };
}

function nested(group: string, properties: unknown): Json {
  return properties === undefined ? {} : { properties: described(group, properties) };
}

/** The options of a group, as they are described one by one. */
function described(group: string, properties: unknown): Json {
  const inner = new Map(ofGroup(group).map((option) => [option.name, schemaOf(option)]));
  const entries = Object.entries(properties as Json);
  return Object.fromEntries(entries.map(([key, json]) => [key, inner.get(`${group}.${key}`) ?? json]));
}

const plain = (markdown: string): string =>
  markdown.replace(/\[([^\]]*)\]\([^)]*\)/g, '$1').replaceAll('`', '');
