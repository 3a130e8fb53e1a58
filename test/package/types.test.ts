import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { expect, inject, test } from 'vitest';
import { Project, tool } from './project.js';

const COMPILERS = ['5.4', '5.9', '6', '7'];
const { archive, example } = inject('packed');

const project = new Project('types');
project.write('example.mts', example);
project.write(
  'example.cts',
  "import { add, tensor } from 'drivetrain';\nconsole.log(add(tensor([1]), tensor([2])).item());\n",
);

project.write(
  'required.cts',
  "import drivetrain = require('drivetrain');\nconst { add, tensor } = drivetrain;\nconsole.log(add(tensor([1]), tensor([2])).item());\n",
);

function compile(version: string, file: string, options: object) {
  const compilerOptions = { strict: true, target: 'es2022', types: ['node'], outDir: 'out', ...options };
  project.write('tsconfig.json', JSON.stringify({ compilerOptions, files: [file] }));
  return project.run(process.execPath, [tool(`typescript-${version}/bin/tsc`), '-p', 'tsconfig.json']);
}

test('publint finds nothing', () => {
  const { status, output } = project.run(process.execPath, [tool('publint/src/cli.js'), '--strict', archive]);
  expect(status, output).toBe(0);
});

test('arethetypeswrong finds nothing but that it is an ES module', () => {
  const { status, output } = project.run(process.execPath, [
    tool('@arethetypeswrong/cli/dist/index.js'),
    '--profile',
    'esm-only',
    archive,
  ]);
  expect(status, output).toBe(0);
});

test.each(COMPILERS)(
  'TypeScript %s compiles the first example and every declaration, strictly',
  (version) => {
    const strictest = { exactOptionalPropertyTypes: true, noUncheckedIndexedAccess: true };
    const { status, output } = compile(version, 'example.mts', { module: 'nodenext', ...strictest });
    expect(status, output).toBe(0);
    expect(project.node('out/example.mjs')).toContain('step 200: loss');
    for (const options of [
      { module: 'node16', skipLibCheck: true },
      { module: 'esnext', moduleResolution: 'bundler', verbatimModuleSyntax: true, skipLibCheck: true },
    ]) {
      const again = compile(version, 'example.mts', options);
      expect(again.status, again.output).toBe(0);
    }
  },
);

test.each(['5.9', '6', '7'])('CommonJS in TypeScript %s: module nodenext', (version) => {
  const { status, output } = compile(version, 'example.cts', { module: 'nodenext', skipLibCheck: true });
  expect(status, output).toBe(0);
  expect(project.node('out/example.cjs').trim()).toMatch(/\b3$/);
});

test.each(COMPILERS)('CommonJS in TypeScript %s: module node16 is told to import() instead', (version) => {
  const { status, output } = compile(version, 'example.cts', { module: 'node16', skipLibCheck: true });
  expect(status).not.toBe(0);
  expect(output).toContain('TS1479');
});

test.each(COMPILERS)('CommonJS in TypeScript %s: module preserve, for a bundler', (version) => {
  const { status, output } = compile(version, 'example.cts', { module: 'preserve', skipLibCheck: true });
  expect(status, output).toBe(0);
});

test.each(COMPILERS)(
  'CommonJS in TypeScript %s: module preserve with import = require, for Node',
  (version) => {
    const { status, output } = compile(version, 'required.cts', { module: 'preserve', skipLibCheck: true });
    expect(status, output).toBe(0);
    expect(project.node('out/required.cjs').trim()).toMatch(/\b3$/);
  },
);

test('an editor goes from a name to its TypeScript', async () => {
  const user = new Project('editor');
  user.write(
    'tsconfig.json',
    JSON.stringify({ compilerOptions: { module: 'nodenext' }, files: ['editor.mts'] }),
  );
  const names = ['AdamW', 'tensor', 'serve'];
  const last = `console.log(${names.join(', ')});`;
  const imports = "import { AdamW, tensor } from 'drivetrain';\nimport { serve } from 'drivetrain/serve';\n";
  const file = join(user.folder, user.write('editor.mts', `${imports}${last}\n`));
  const editor = spawn(process.execPath, [
    tool('typescript-5.9/lib/tsserver.js'),
    '--disableAutomaticTypingAcquisition',
  ]);
  const ask = (command: string, more: object = {}) =>
    editor.stdin.write(
      `${JSON.stringify({ seq: 0, type: 'request', command, arguments: { file, ...more } })}\n`,
    );
  ask('open');
  for (const name of names) ask('definition', { line: 3, offset: last.indexOf(name) + 1 });
  const found: string[] = [];
  try {
    for await (const line of createInterface({ input: editor.stdout })) {
      const { command, body } = line.startsWith('{') ? JSON.parse(line) : {};
      if (command !== 'definition') continue;
      const [{ file: at, start }] = body;
      expect(at).toContain('/drivetrain/dist/source/');
      found.push(readFileSync(at, 'utf8').split('\n')[start.line - 1]!);
      if (found.length === names.length) break;
    }
  } finally {
    editor.kill();
  }
  const declarations = names.map((name) => new RegExp(`^export (class|async function|function) ${name}\\b`));
  expect(found).toEqual(declarations.map((declaration) => expect.stringMatching(declaration)));
});
