// The manual pages: extauth-oauth(1) from --help and the README, extauth-oauth(5) from the options. In the macros of
// man(7), which groff and mandoc both know.
import type { Entry, Help } from './help.ts';
import { HOSTS, type Option, ofGroup, ofHosts, ofProcess } from './reference.ts';

export interface ManOptions {
  readonly version: string;
  /** Of the day, as 2026-11-28. */
  readonly date: string;
  readonly help: { readonly program: Help; readonly commands: readonly Help[] };
  readonly readme: string;
  /** A configuration, as it is. */
  readonly example: string;
}

const FILES: readonly Entry[] = [
  {
    term: '/etc/extauth-oauth/config.yml',
    text: 'The configuration, where neither `--config` nor a variable names one: `extauth-oauth(5)`.',
  },
  { term: '/var/lib/extauth-oauth', text: 'What workers share, with `state: lmdb:/var/lib/extauth-oauth`.' },
];
const ENVIRONMENT: readonly Entry[] = [
  { term: 'EXTAUTH_OAUTH_CONFIG', text: 'The configuration file.' },
  {
    term: 'EXTAUTH_OAUTH_CLIENT_SECRET',
    text: 'The secret of our client at the provider, where no file holds it.',
  },
  {
    term: 'EXTAUTH_OAUTH_STDERR',
    text: 'Where `extauth-oauth-prosody` sends what goes to stderr; else nowhere.',
  },
  { term: 'XDG_CONFIG_HOME', text: '`extauth-oauth/config.yml` in there is looked for before /etc.' },
  {
    term: 'CREDENTIALS_DIRECTORY',
    text: 'Set by systemd: `client_secret` or `client_secret.HOST` in it is the secret.',
  },
];
const SIGNALS: readonly Entry[] = [
  { term: 'SIGHUP', text: 'Reads the configuration again, and opens the log file again.' },
  { term: 'SIGTERM, SIGINT', text: 'Finishes the answer that is being written, and ends.' },
];

export function commandPage({ version, date, help, readme }: ManOptions): string {
  const { program, commands } = help;
  return page([
    head(1, date, version, 'User Commands'),
    section('Name', 'extauth\\-oauth \\- logs XMPP users in at an OAuth 2.0 / OpenID Connect provider'),
    section(
      'Synopsis',
      commands.map(({ usage }) => synopsis(usage)).join('\n.br\n'),
      '.br\n.B extauth\\-oauth\\-prosody',
    ),
    section(
      'Description',
      paragraph(introduction(readme)),
      paragraph(
        "Without a command it is the bridge: it reads requests on stdin and writes answers on stdout, as `extauth_program` of ejabberd. Prosody's `mod_auth_external_insecure` starts `extauth-oauth-prosody`, which takes no arguments.",
      ),
    ),
    section(
      'Commands',
      ...commands.flatMap(({ usage, about, commands: tasks, options }) => [
        `.SS ${literal(usage)}`,
        paragraph(`${about.charAt(0).toUpperCase()}${about.slice(1)}.`),
        ...[...tasks, ...options].map(tagged),
      ]),
    ),
    section('Options', ...program.options.map(tagged)),
    section(
      'Exit status',
      ...table(readme, 'command').map(([command = '', , code = '']) => tagged({ term: command, text: code })),
    ),
    section('Files', ...FILES.map(tagged)),
    section('Environment', ...ENVIRONMENT.map(tagged)),
    section('Signals', ...SIGNALS.map(tagged)),
    section(
      'Reasons',
      paragraph(
        'The log has one JSON line for each request; `reason` in it says why a login was not accepted.',
      ),
      ...[...table(readme, 'refused'), ...table(readme, 'unavailable')].map(([reason = '', why = '']) =>
        tagged({ term: reason, text: why }),
      ),
    ),
    section(
      'See also',
      '.BR extauth\\-oauth (5),\n.BR ejabberdctl (8),\n.BR prosody (8),\n.BR systemd.socket (5)',
    ),
  ]);
}

export function configPage({ version, date, readme, example }: ManOptions): string {
  const rest = ofProcess().filter(({ name }) => !['cache', 'limits', 'log', 'listen'].includes(name));
  const inner = ['user_lookup', 'http', 'cache', 'limits', 'log', 'listen'];
  return page([
    head(5, date, version, 'File Formats'),
    section('Name', 'extauth\\-oauth \\- configuration of extauth\\-oauth(1)'),
    section('Description', ...introductionOf(readme, 'Options').map(paragraph)),
    section(
      'Options of virtual hosts',
      ...ofHosts()
        .filter(({ name }) => name !== 'http')
        .map(described),
    ),
    section('Options of the process', ...[HOSTS, ...rest].map(described)),
    ...inner.map((group) => section(`Inside ${group}`, ...ofGroup(group).map(described))),
    section('Example', '.nf', example.split('\n').map(verbatim).join('\n').trimEnd(), '.fi'),
    section('Files', ...FILES.slice(0, 1).map(tagged)),
    section('See also', '.BR extauth\\-oauth (1)'),
  ]);
}

function described({ name, meaning, fallback, values }: Option): string {
  const key = name.split('.').at(-1) ?? name;
  const said = values.every((value) => meaning.includes(`\`${value}\``));
  const choices = said ? '' : ` One of ${values.map((value) => `\`${value}\``).join(', ')}.`;
  return tagged({
    term: `\`${key}\``,
    text: `${meaning}${choices}${fallback === '' ? '' : ` Default: ${fallback}.`}`,
  });
}

/** The rows of a README's table whose head begins with `first`. */
function table(readme: string, first: string): string[][] {
  const [, body = ''] =
    new RegExp(`^\\| ${first} \\|.*\\n\\|[ -|]+\\n((?:\\|.*\\n)+)`, 'm').exec(readme) ?? [];
  if (body === '') throw new Error(`the README has no table that begins with ${first}`);
  return body
    .trim()
    .split('\n')
    .map((row) =>
      row
        .slice(2, -2)
        .split(/ (?<!\\)\| /)
        .map((cell) => cell.replaceAll('\\|', '|')),
    );
}

/** What the README says first. */
const introduction = (readme: string): string => introductionOf(readme, undefined)[0] ?? '';

/** The paragraphs below a title, up to the first that is something else. */
function introductionOf(readme: string, title: string | undefined): string[] {
  const start = title === undefined ? readme : (readme.split(`\n## ${title}\n`)[1] ?? '');
  const parts = start
    .split(/\n\n+/)
    .map((part) => part.trim())
    .filter((part) => part !== '' && !part.startsWith('#'));
  const end = parts.findIndex((part) => /^(?:\||```|<!--)/.test(part));
  return parts.slice(0, end === -1 ? undefined : end).map((part) => part.replaceAll('\n', ' '));
}

const head = (chapter: number, date: string, version: string, title: string): string =>
  `.\\" Made by .ci/man.ts.\n.TH EXTAUTH\\-OAUTH ${chapter} ${date} "extauth\\-oauth ${version}" "${title}"`;
const section = (title: string, ...parts: string[]): string =>
  [`.SH ${title.toUpperCase()}`, ...parts].join('\n');
const paragraph = (markdown: string): string => `.PP\n${inline(markdown)}`;
const tagged = ({ term, text }: Entry): string =>
  `.TP\n${term.includes('`') ? inline(term) : `\\fB${literal(term)}\\fR`}\n${inline(text)}`;
const synopsis = (usage: string): string => {
  const [name = '', ...rest] = usage.split(' ');
  return `.B ${literal([name, ...rest.filter((word) => /^[a-z]/.test(word))].join(' '))}\n${literal(rest.filter((word) => !/^[a-z]/.test(word)).join(' '))}`.trimEnd();
};
// A paragraph needs no macro right after the title of its section.
const page = (parts: readonly string[]): string =>
  `${parts.join('\n').replaceAll(/^(\.S[HS] .*)\n\.PP$/gm, '$1')}\n`;

/** Code is bold, links are their text, the rest is text. */
function inline(markdown: string): string {
  const text = markdown.replaceAll(/\[([^\]]*)\]\(([^)]*)\)/g, (_, words, target) =>
    target.startsWith('#') || target.startsWith('examples/') ? words : `${words} <${target}>`,
  );
  const parts = text.replaceAll('**', '').split('`');
  return guard(
    parts
      .map((part, index) =>
        index % 2 === 1
          ? `\\fB${literal(part)}\\fR`
          : literal(part.replaceAll(/(?<=^|\W)\*(\w[^*]*)\*/g, '$1')),
      )
      .join(''),
  );
}

const literal = (text: string): string =>
  text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll("'", '\\(aq')
    .replaceAll('^', '\\(ha')
    .replaceAll('~', '\\(ti');
/** A line that begins with a dot would be a macro. */
const guard = (text: string): string => (/^[.']/.test(text) ? `\\&${text}` : text);
const verbatim = (line: string): string => guard(literal(line));
