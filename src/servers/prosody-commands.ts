// The words of prosody.cfg.lua that do more than set an option, told from all the code that there may be, too.
import type { Expression, Identifier, Statement } from 'luaparse';

type Command = 'host' | 'component' | 'include';

const COMMANDS: Readonly<Record<string, Command>> = {
  VirtualHost: 'host',
  Host: 'host',
  host: 'host',
  Component: 'component',
  component: 'component',
  Include: 'include',
  include: 'include',
};

interface Call {
  /** Undefined: it is code. */
  readonly command: Command | undefined;
  readonly name: Expression | undefined;
  /** `VirtualHost "x" { … }`: what stands in the braces. */
  readonly options: Extract<Expression, { type: 'TableConstructorExpression' }> | undefined;
}

/** `VirtualHost "x"`, `VirtualHost("x")`, `Component "x" "muc" { … }`, `Include "x"`. */
export function commandOf(expression: Expression): Call {
  const given: Expression[] = [];
  let base = expression;
  for (;;) {
    if (base.type === 'StringCallExpression') given.unshift(base.argument);
    else if (base.type === 'TableCallExpression') given.unshift(base.arguments);
    else if (base.type === 'CallExpression' && base.arguments[0] !== undefined)
      given.unshift(base.arguments[0]);
    else break;
    base = base.base;
  }
  return {
    command: base.type === 'Identifier' ? COMMANDS[base.name] : undefined,
    name: given[0],
    options: given.slice(1).find((each) => each.type === 'TableConstructorExpression'),
  };
}

/** Whether options that follow may belong elsewhere. */
export function opensHost(node: { readonly type: string }): boolean {
  if (node.type !== 'Identifier') return false;
  const command = COMMANDS[(node as Identifier).name];
  return command === 'host' || command === 'component';
}

const KINDS: Readonly<Record<string, string>> = {
  IfStatement: 'if … end',
  WhileStatement: 'while … end',
  RepeatStatement: 'repeat … until',
  ForNumericStatement: 'for … end',
  ForGenericStatement: 'for … end',
  FunctionDeclaration: 'function … end',
};

/** What a piece of code is called where it is not shown. */
export function kindOf({ type }: Statement): string {
  return KINDS[type] ?? type;
}
