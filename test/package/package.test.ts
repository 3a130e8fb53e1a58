import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { checkBinary } from '../../scripts/check-binary.mjs';
import { root, runNpm } from '../../scripts/shared.mjs';

const ALLOWED =
  /^(dist\/.+\.(c?js|d\.c?ts|d\.ts\.map)|dist\/source\/.+\.ts|prebuilds\/[^/]+\/drivetrain\.node|dist\/include\/.+|data\/(digits\.csv\.gz|README\.md)|native\/(?!test|stress).+\.(cc|h|map|txt)|CMakeLists\.txt|scripts\/(build-installed|prerequisites|shared)\.mjs|docs\/.+\.(md|svg)|(README|CONTRIBUTING|CHANGELOG)\.md|LICENSE|package\.json)$/;
const LIMIT = 5e6;
const PLATFORM = `prebuilds/${process.platform}-${process.arch}/`;

const folder = mkdtempSync(join(tmpdir(), 'drivetrain-package-'));
const project = join(folder, 'project');
const tsc = join(root, 'node_modules/typescript/bin/tsc');
const { archive, example, ...packed } = inject('packed');

/** Runs Node in the project with nothing on PATH: no compiler, no CMake, no shell. */
function node(...args: string[]): string {
  const result = spawnSync(process.execPath, args, { cwd: project, env: { PATH: '' }, encoding: 'utf8' });
  expect(result.status, result.stdout + result.stderr).toBe(0);
  return result.stdout;
}

function write(file: string, text: string): string {
  writeFileSync(join(project, file), text);
  return file;
}

beforeAll(() => {
  mkdirSync(project);
  write('package.json', JSON.stringify({ name: 'user', private: true }));
  runNpm(['install', '--ignore-scripts', '--offline', '--no-audit', '--no-fund', archive], { cwd: project });
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('the package carries the library, its binary and its papers, and nothing else', () => {
  const paths = packed.files.map(({ path }) => path);
  expect(paths.filter((path) => !ALLOWED.test(path))).toEqual([]);
  expect(paths).toContain('dist/index.js');
  expect(paths).toContain(`${PLATFORM}drivetrain.node`);
  expect(paths).toContain('README.md');
  const readme = readFileSync(join(project, 'node_modules/drivetrain/README.md'), 'utf8');
  for (const [, link] of readme.matchAll(/\]\(((?:docs|[A-Z]+\.md)[^)#]*)/g)) {
    expect(existsSync(join(project, 'node_modules/drivetrain', link!)), link).toBe(true);
  }
  // What a platform uses, of each whose binary has been built.
  const binaries = packed.files.filter(({ path }) => path.startsWith('prebuilds/'));
  const rest = packed.files
    .filter((file) => !binaries.includes(file))
    .reduce((sum, { size }) => sum + size, 0);
  for (const { path, size } of binaries) expect(rest + size, path).toBeLessThan(LIMIT);
});

test('the binary needs nothing but libc, of 2.17 or later', () => {
  checkBinary(join(project, 'node_modules/drivetrain/prebuilds/linux-x64/drivetrain.node'), 'linux-x64');
});

test('a binary that needs more than that would be found out', () => {
  expect(() => checkBinary(process.execPath, 'linux-x64')).toThrow(/needs libstdc|needs glibc/);
});

test("the README's first example runs as an ES module", () => {
  node(write('example.mjs', example));
});

test("the README's first example runs as CommonJS", () => {
  const body = example.replace(/^import (.+) from ('[^']+');$/gm, 'const $1 = require($2);');
  node(write('example.cjs', `(async () => {\n${body}\n})();\n`));
});

test("the README's first example compiles in strict TypeScript and runs", () => {
  for (const name of ['@types/node', 'undici-types']) {
    cpSync(join(root, 'node_modules', name), join(project, 'node_modules', name), { recursive: true });
  }
  write('example.mts', example);
  node(tsc, '--strict', '--module', 'nodenext', '--target', 'es2022', '--types', 'node', 'example.mts');
  node('example.mjs');
});

test('the workers of a dataset start from the package', () => {
  write('samples.mjs', 'export default Array.from({ length: 5 }, (_, i) => [i, -i]);');
  const script = `import { DataLoader, WorkerDataset } from 'drivetrain';
const dataset = await WorkerDataset.open(new URL('samples.mjs', import.meta.url), { workers: 2 });
for await (const batch of new DataLoader(dataset, { batchSize: 5 })) console.log(JSON.stringify(batch));`;
  expect(JSON.parse(node(write('workers.mjs', script)))).toMatchObject({ dtype: 'f32', shape: [5, 2] });
});

test('stack traces name functions, classes and short lines, though local names are short', () => {
  const script = `import { Linear } from 'drivetrain';
try { new Linear(0, 1); } catch (error) { console.log(error.stack); }`;
  const stack = node(write('stack.mjs', script));
  expect(stack).toMatch(/ at new Linear \(.+\.js:\d+:\d{1,3}\)/);
});

const command = ['node_modules/.bin/drivetrain'];

test('the command looks at the machine, and finds the binary of the package', () => {
  const { ok, findings } = JSON.parse(node(...command, 'doctor', '--json'));
  expect(ok).toBe(true);
  const addon = findings.find(({ subject }: { subject: string }) => subject === 'native addon');
  expect(addon.found).toContain('node_modules/drivetrain/prebuilds/');
});

test('the demo runs from the package, and so does the program that it leaves', () => {
  expect(node(...command, 'demo', '--quick')).toContain('To go on');
  expect(node('drivetrain-demo/predict.mjs')).toContain('This is a ');
  expect(node(...command, 'inspect', 'drivetrain-demo/digits-int8.safetensors')).toContain('layers.0.weight');
});

test('the addon can be built from the package', () => {
  const own = join(project, 'node_modules/drivetrain');
  // Not optimised, which takes a quarter of the time: `npm run setup` compiles the same sources as they are meant to be.
  const compiler = join(project, 'c++');
  writeFileSync(compiler, `#!/bin/sh\nexec ${process.env.CXX ?? 'c++'} "$@" -O0\n`, { mode: 0o755 });
  const env = { ...process.env, CXX: compiler };
  const result = spawnSync(process.execPath, [...command, 'build'], { cwd: project, env, encoding: 'utf8' });
  expect(result.status, result.stdout + result.stderr).toBe(0);
  const { findings } = JSON.parse(node(...command, 'doctor', '--json'));
  const addon = findings.find(({ subject }: { subject: string }) => subject === 'native addon');
  expect(addon).toMatchObject({ status: 'ok', found: join(own, 'build/Release/drivetrain.node') });
  rmSync(join(own, 'build'), { recursive: true });
});

test('importing it takes little time', () => {
  const script =
    "const start = performance.now(); await import('drivetrain'); console.log(performance.now() - start);";
  const times = Array.from({ length: 5 }, () => Number(node('--input-type=module', '-e', script)));
  const median = times.sort((a, b) => a - b)[2]!;
  console.log(`import('drivetrain'): ${median.toFixed(1)} ms (median of five), aim: under 30 ms`);
  expect(median).toBeGreaterThan(0);
});
