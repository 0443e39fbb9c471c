// From `unknown` to settings: aliases, inheritance, types, contradictions. Pure: no files, no environment.
import * as v from 'valibot';
import { FOR_PASSWORDS, inherit, isRecord, type Raw, unusedBeside } from './inherit.ts';
import { listenContradictions } from './listen.ts';
import { findHost } from './patterns.ts';
import { type Problem, pathOf } from './problems.ts';
import { amongProviders, cautions, contradictions } from './rules.ts';
import {
  type HostOptions,
  hostOptions,
  hostSchema,
  ofTheHost,
  type ProcessOptions,
  processOptions,
  processSchema,
} from './schema.ts';
import { knownKeys, unknownOption } from './unknown.ts';

/** What is said of one provider, before its secrets are read. */
export interface ProviderDraft {
  readonly options: HostOptions;
  /** Where in the file an option of it stands. */
  readonly at: (key: string) => string;
}

/** The settings of one virtual host (or the pattern or default that stands for it). */
export interface Draft {
  /** Where it stands in the file: `''` at the top, else the key below `hosts`. */
  readonly pattern: string;
  readonly drafts: readonly [ProviderDraft, ...ProviderDraft[]];
}

export interface Parsed {
  readonly process: ProcessOptions;
  /** Without `hosts`, one for every virtual host, with the pattern `''`. */
  readonly hosts: readonly Draft[];
  readonly problems: readonly Problem[];
  readonly warnings: readonly Problem[];
}

/** Of the providers, only the first lends its client to lookups. */
const NOT_ASKED: Raw = { user_exists: undefined, user_lookup: undefined };

const ALIAS = 'oauth_external_';

export function parseConfig(raw: unknown): Parsed {
  const problems: Problem[] = [];
  const warnings: Problem[] = [];
  if (!isRecord(raw)) {
    problems.push({ path: '', message: 'must be a mapping of options to values' });
    return { process: v.parse(processSchema, {}), hosts: [], problems, warnings };
  }
  const top = withoutAliases(raw, [], problems);
  const { hosts, ...options } = top;
  const defaults: Raw = Object.create(null);
  const own: Raw = Object.create(null);
  for (const [key, value] of Object.entries(options)) {
    (Object.hasOwn(processOptions, key) ? own : defaults)[key] = value;
  }
  const process = v.safeParse(processSchema, own);
  report(process.issues, [], problems);
  const offersBearer =
    process.success &&
    (process.output.listen ?? []).some(
      ({ protocol, mechanisms }) =>
        protocol === 'dovecot' && (mechanisms === undefined || mechanisms.some((each) => each !== 'PLAIN')),
    );
  reportUnused(defaults, []);
  reportTypes(defaults, [], problems, { alsoKnown: [...Object.keys(processOptions), 'hosts'] });

  const found: Draft[] = [];
  if (hosts === undefined) {
    addDraft('', defaults, []);
  } else if (!isRecord(hosts) || Object.keys(hosts).length === 0) {
    problems.push({ path: 'hosts', message: 'must be a mapping of virtual hosts to their options' });
  } else {
    for (const [name, value] of Object.entries(hosts)) {
      const path = ['hosts', name];
      if (value !== null && !isRecord(value)) {
        problems.push({ path: pathOf(...path), message: 'must be a mapping of options to values' });
        continue;
      }
      if (!/^(?:\*\.)?[^*\s/@]+$/.test(name)) {
        problems.push({ path: pathOf(...path), message: 'must be a virtual host, or *. and a domain' });
      }
      if (Object.keys(hosts).some((other) => other !== name && other.toLowerCase() === name.toLowerCase())) {
        problems.push({ path: pathOf(...path), message: 'is there twice: capitals make no difference' });
      }
      const override = withoutAliases(value ?? {}, path, problems);
      reportUnused(override, path);
      reportTypes(override, path, problems, {});
      addDraft(name, inherit(defaults, override), path);
    }
  }
  if (process.success) {
    const names = found.map(({ pattern }) => pattern);
    listenContradictions(process.output, (name) => findHost(names, name) !== undefined, {
      problems,
      warnings,
    });
  }
  return {
    process: process.success ? process.output : v.parse(processSchema, {}),
    hosts: found,
    problems,
    warnings,
  };

  function reportUnused(level: Raw, path: string[]): void {
    for (const key of unusedBeside(level)) {
      problems.push({
        path: pathOf(...path, key),
        message: 'stands beside providers: put it into the one that it is for',
      });
    }
  }

  function addDraft(pattern: string, merged: Raw, path: string[]): void {
    const { providers, ...common } = merged;
    const drafts = providers === undefined ? [draft(common, path)] : providerList(providers, common, path);
    const [first, ...others] = drafts;
    // What is wrong with a single value has been reported where it stands.
    if (first === undefined || drafts.includes(undefined)) return;
    const complete = [first, ...others] as [ProviderDraft, ...ProviderDraft[]];
    if (providers !== undefined) {
      amongProviders(complete, (key) => pathOf(...path, key), { problems, warnings });
    }
    found.push({ pattern: pattern.toLowerCase(), drafts: complete });
  }

  function providerList(providers: unknown, common: Raw, path: string[]): (ProviderDraft | undefined)[] {
    // A list that is none has been reported.
    if (!Array.isArray(providers)) return [];
    return providers.map((entry, index) => {
      const place = [...path, 'providers', String(index)];
      if (!isRecord(entry)) {
        problems.push({ path: pathOf(...place), message: 'must be a mapping of options to values' });
        return undefined;
      }
      const own = withoutAliases(entry, place, problems);
      for (const key of ofTheHost) {
        if (own[key] === undefined) continue;
        problems.push({
          path: pathOf(...place, key),
          message: 'holds for the whole virtual host: put it beside providers',
        });
        delete own[key];
      }
      reportTypes(own, place, problems, {});
      // The directory is the host's: asked with the first one's client, whichever provider its users log in at.
      const { user_exists, user_lookup } = common;
      if (index === 0) return draft({ ...inherit(common, own), user_exists, user_lookup }, place);
      for (const key of Object.keys(FOR_PASSWORDS)) {
        if (own[key] === undefined || own[key] === false) continue;
        problems.push({
          path: pathOf(...place, key),
          message:
            'is for the first provider only: a password does not say whose it is, and must not go to strangers',
        });
      }
      return draft({ ...inherit(common, own), ...FOR_PASSWORDS, ...NOT_ASKED }, place);
    });
  }

  function draft(merged: Raw, path: string[]): ProviderDraft | undefined {
    const parsed = v.safeParse(hostSchema, merged);
    const at = (key: string): string => pathOf(...path, ...key.split('.'));
    const options = parsed.success ? parsed.output : withoutWrongValues(merged, parsed.issues);
    if (options !== undefined) contradictions(options, at, problems);
    if (!parsed.success) return undefined;
    cautions(parsed.output, at, { warnings, offersBearer });
    return { options: parsed.output, at };
  }
}

/** What contradictions are looked for in when a value is wrong; nothing where that says which provider or client it is. */
function withoutWrongValues(merged: Raw, issues: readonly v.BaseIssue<unknown>[]): HostOptions | undefined {
  const wrong = issues.map(({ path }) => String(path?.[0]?.key));
  if (wrong.some((key) => /^(?:issuer|client_|http)|_(?:url|uri|file|endpoint)$/.test(key))) return undefined;
  const rest = Object.fromEntries(Object.entries(merged).filter(([key]) => !wrong.includes(key)));
  const parsed = v.safeParse(hostSchema, rest);
  return parsed.success ? parsed.output : undefined;
}

function withoutAliases(raw: Raw, path: readonly string[], problems: Problem[]): Raw {
  // No prototype: a key named __proto__ is an unknown option like any other.
  const plain: Raw = Object.create(null);
  for (const [key, value] of Object.entries(raw)) {
    const name = key.startsWith(ALIAS) ? key.slice(ALIAS.length) : key;
    if (name !== key && Object.hasOwn(raw, name)) {
      problems.push({ path: pathOf(...path, key), message: `is also given as ${name}: keep one of the two` });
    }
    plain[name] = value;
  }
  return plain;
}

/** Reports wrong types and unknown keys of options that need not be complete. */
function reportTypes(
  raw: Raw,
  path: readonly string[],
  problems: Problem[],
  { alsoKnown = [] as string[] },
): void {
  for (const key of Object.keys(raw)) {
    if (!Object.hasOwn(hostOptions, key)) {
      const whole = Object.hasOwn(processOptions, key);
      problems.push({
        path: pathOf(...path, key),
        message: whole
          ? 'holds for the whole process: put it at the top level'
          : unknownOption(key, [...Object.keys(hostOptions), ...alsoKnown]),
      });
      continue;
    }
    const schema = hostOptions[key as keyof typeof hostOptions];
    report(v.safeParse(schema, raw[key]).issues, [...path, key], problems);
  }
}

function report(
  issues: readonly v.BaseIssue<unknown>[] | undefined,
  path: readonly string[],
  problems: Problem[],
): void {
  for (const issue of issues ?? []) {
    const inner = (issue.path ?? []).map((item) => ('key' in item ? item.key : ''));
    const unknownKey = issue.type === 'strict_object' && issue.expected === 'never';
    const known = unknownKey ? knownKeys([...path, ...inner].map(String)) : [];
    problems.push({
      path: pathOf(...path, ...inner),
      message: unknownKey
        ? unknownOption(String(inner.at(-1)), known)
        : issue.type === 'strict_object'
          ? 'must be a mapping of options to values'
          : issue.message,
    });
  }
}
