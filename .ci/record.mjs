// Records the demo for the README: runs it on a real terminal and draws what it printed, colours included, as an SVG without
// fonts or scripts. The lines come one after the other at a pace for reading; the milliseconds in them are the measured ones.
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';

const COLUMNS = 100;
const COMMAND = 'npm run demo';
const target = process.argv[2] ?? 'examples/demo.svg';

writeFileSync(target, draw(await record()));

/** The lines that the demo prints on a terminal. */
async function record() {
  const command = `stty cols ${COLUMNS}; exec node --import tsx examples/demo.ts`;
  const { NO_COLOR: _, ...env } = process.env;
  const child = spawn('script', ['-qec', command, '/dev/null'], {
    env: { ...env, TERM: 'xterm-256color', SHELL: '/bin/sh' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  for await (const chunk of child.stdout) output += chunk;
  const code = child.exitCode ?? (await new Promise((resolve) => child.once('close', resolve)));
  if (code !== 0) throw new Error(`the demo ended with ${code}:\n${output}`);
  return output.replaceAll('\r', '').trim().split('\n');
}

function draw(lines) {
  const [width, height] = [8.4, 20];
  const [left, top] = [16, 46];
  const size = [Math.ceil(COLUMNS * width) + 2 * left, top + (lines.length + 2) * height];
  let at = 0.4;
  const rows = [['prompt', `$ ${COMMAND}`], ...lines.map((line) => ['', line])].flatMap(
    ([kind, line], index) => {
      // A table row at a time, everything else at once.
      at += /^ {2}\S*(?:auth|isuser|setpass|open)\b/.test(line) ? 0.6 : index === 1 ? 0.8 : 0.04;
      const text = spans(line);
      if (text === '') return [];
      const style = `animation-delay:${at.toFixed(2)}s`;
      const name = kind === '' ? '' : ` class="${kind}"`;
      return `<text${name} x="${left}" y="${top + index * height}" style="${style}" xml:space="preserve">${text}</text>`;
    },
  );
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${size.join(' ')}" width="${size[0]}" height="${size[1]}" role="img" aria-label="What ${COMMAND} prints">
<style>
text { font: 14px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; white-space: pre; animation: come 0.01s backwards; }
@keyframes come { from { opacity: 0; } }
@media (prefers-reduced-motion: reduce) { text { animation: none; } }
.c1, .prompt { font-weight: bold; }
${colours({ back: '#f6f8fa', edge: '#d0d7de', ink: '#24292f', good: '#116329', bad: '#b3261e', odd: '#7d4e00' })}
@media (prefers-color-scheme: dark) {
${colours({ back: '#161b22', edge: '#30363d', ink: '#d7dee6', good: '#4ac26b', bad: '#ff7b72', odd: '#e3b341' })}
}
</style>
<rect x="0.5" y="0.5" width="${size[0] - 1}" height="${size[1] - 1}" rx="8"/>
${rows.join('\n')}
</svg>
`;
}

/** Without custom properties: not everything that shows an SVG knows them. */
function colours({ back, edge, ink, good, bad, odd }) {
  return `rect { fill: ${back}; stroke: ${edge}; } text { fill: ${ink}; }
.c31 { fill: ${bad}; } .c32 { fill: ${good}; } .c33 { fill: ${odd}; }`;
}

/** The terminal's colours as classes. After each ESC [ stands a number, an m, and text of that colour; 0 ends it. */
function spans(line) {
  const [plain = '', ...painted] = line.trimEnd().split('\x1b[');
  const parts = painted.map((part) => {
    const [, colour, text] = /^(\d+)m(.*)$/.exec(part);
    return colour === '0' ? escaped(text) : `<tspan class="c${colour}">${escaped(text)}</tspan>`;
  });
  return escaped(plain) + parts.join('');
}

function escaped(text) {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
