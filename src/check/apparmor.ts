// AppArmor's profile of ejabberd: a program that it does not name cannot be started once the profile is enforced (Debian
// ships it in complain mode, where it only writes to the log).
import { type Finding, fault, warning } from './finding.ts';
import type { Root } from './root.ts';

const FOLDER = '/etc/apparmor.d';
const PROFILE = 'usr.sbin.ejabberdctl';

/** `program`: what is executed, without links, and what each of them executes in turn. */
export function* examineAppArmor(root: Root, program: readonly string[]): Generator<Finding> {
  if (root.read('/sys/module/apparmor/parameters/enabled')?.trim() !== 'Y') return;
  const text = root.read(`${FOLDER}/${PROFILE}`);
  const isOff = (folder: string): boolean => root.stat(`${FOLDER}/${folder}/${PROFILE}`) !== undefined;
  if (text === undefined || isOff('disable') || isOff('force-complain')) return;
  const header = /^\s*(?:profile\s+\S+\s+)?"?\/\S*ejabberdctl"?\s+(?:flags=\(([^)]*)\)\s*)?\{/m.exec(text);
  if (header === null || /\b(?:complain|unconfined)\b/.test(header[1] ?? '')) return;
  const rules = [...rulesOf(outermost(text)), ...rulesOf(root.read(`${FOLDER}/local/${PROFILE}`) ?? '')];
  const local = `${FOLDER}/local/${PROFILE}`;
  const reload = `apparmor_parser -r ${FOLDER}/${PROFILE}`;
  for (const [index, file] of program.entries()) {
    const rule = rules.find(({ path, modes }) => /x/.test(modes) && matches(path, file));
    const line = `${file} Ux,      # in ${local}, then: ${reload}`;
    if (rule === undefined) {
      yield fault('AppArmor', `the profile ${PROFILE} is enforced and does not let ejabberd start ${file}`, {
        why: 'every start fails, and after some dozens of them ejabberd gives external authentication up until it is restarted',
        line,
      });
      return;
    }
    // Under a profile of its own, or none, what it starts is not this profile's business.
    if (/[uUpPcC]x/.test(rule.modes)) return;
    if (index === program.length - 1) {
      yield warning(
        'AppArmor',
        `${file} runs under ejabberd's own profile (${rule.modes}), which is enforced`,
        {
          why: "Node's and our files, and the network, must be named there, too",
          line,
        },
      );
    }
  }
}

interface Rule {
  readonly path: string;
  readonly modes: string;
}

/** Without the profiles inside of the profile. */
function outermost(text: string): string {
  return text.replace(/^\s*(?:profile|hat)\s+[\w-]+[^{\n]*\{[\s\S]*?^\s*\}/gm, '');
}

function rulesOf(text: string): Rule[] {
  return text.split('\n').flatMap((line) => {
    const [, path, modes] =
      /^\s*(?:allow\s+|owner\s+|audit\s+)*"?([/@][^\s"]*)"?\s+([a-zA-Z]+)(?:\s*->\s*\S+)?\s*,/.exec(line) ??
      [];
    return path === undefined || modes === undefined ? [] : [{ path, modes }];
  });
}

/** apparmor.d(5), globbing: `*` stays within a folder, `**` does not. */
function matches(glob: string, path: string): boolean {
  let pattern = '';
  let depth = 0;
  for (let at = 0; at < glob.length; at++) {
    const rest = glob.slice(at);
    const variable = /^@\{[^}]*\}/.exec(rest)?.[0];
    if (variable !== undefined) {
      pattern += '[^/]*';
      at += variable.length - 1;
    } else if (rest.startsWith('**')) {
      pattern += '.*';
      at++;
    } else if (rest[0] === '*') pattern += '[^/]*';
    else if (rest[0] === '?') pattern += '[^/]';
    else if (rest[0] === '{') {
      depth++;
      pattern += '(?:';
    } else if (rest[0] === '}') {
      depth--;
      pattern += ')';
    } else if (rest[0] === ',' && depth > 0) pattern += '|';
    else if (rest[0] === '[' || rest[0] === ']') pattern += rest[0];
    else pattern += (rest[0] ?? '').replace(/[\\^$.|+()]/, '\\$&');
  }
  try {
    return new RegExp(`^${pattern}$`).test(path);
  } catch {
    return false;
  }
}
