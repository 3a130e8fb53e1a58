import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, inject, test } from 'vitest';
import { root } from '../../scripts/shared.mjs';
import { PROBABILITIES, Project } from './project.js';

const { example } = inject('packed');

/** The plugin of docs/platforms.md. */
function addonsPlugin(): string {
  const page = readFileSync(join(root, 'docs/platforms.md'), 'utf8');
  return /```mjs\n(.*?export const addons .*?)```/s.exec(page)![1]!;
}

/** Bundles the first example by a script, and runs the bundle where no other file of the package is. */
function bundled(name: string, script: string, main: string): string {
  const project = new Project(name);
  project.write('example.mjs', example);
  project.write('addons.mjs', addonsPlugin());
  project.write('bundle.mjs', script);
  project.node('bundle.mjs');
  const moved = new Project(`${name}-moved`);
  moved.run('rm', ['-rf', 'node_modules']);
  moved.run('cp', ['-r', join(project.folder, 'out'), 'out']);
  expect(readdirSync(moved.folder).sort()).toEqual(['out', 'package.json']);
  return moved.node(join('out', main));
}

test('esbuild', () => {
  const script = `import { build } from 'esbuild';
await build({ entryPoints: ['example.mjs'], bundle: true, platform: 'node', format: 'esm', outdir: 'out',
  outExtension: { '.js': '.mjs' }, loader: { '.node': 'copy' },
  banner: { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);" } });`;
  expect(bundled('esbuild', script, 'example.mjs')).toMatch(PROBABILITIES);
});

/** Bundles a file with esbuild, and runs the bundle. */
function ofEsbuild(name: string, file: string, source: string, more: string): string {
  const project = new Project(name);
  project.write(file, source);
  const options = `entryPoints: ['${file}'], bundle: true, platform: 'node', loader: { '.node': 'copy' }, outdir: 'out', ${more}`;
  project.write('bundle.mjs', `import { build } from 'esbuild';\nawait build({ ${options} });`);
  project.node('bundle.mjs');
  return project.node(join('out', file)).trim();
}

test('esbuild, to CommonJS, which is its own choice for Node', () => {
  const source = "const { tensor } = require('drivetrain');\nconsole.log(tensor([1]).item());";
  expect(ofEsbuild('esbuild-cjs', 'main.cjs', source, "outExtension: { '.js': '.cjs' }")).toBe('1');
});

test('the workers of a dataset do not start the application that the library is bundled with', () => {
  const source = `import { WorkerDataset } from 'drivetrain';
console.log('started');
await WorkerDataset.open(new URL('none.mjs', import.meta.url), { workers: 2 }).catch(({ code }) => console.log(code));`;
  const format = `format: 'esm', outExtension: { '.js': '.mjs' },
  banner: { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);" }`;
  expect(ofEsbuild('esbuild-workers', 'main.mjs', source, format)).toBe('started\nDT_INVALID_ARGUMENT');
});

test('webpack', () => {
  const script = `import webpack from 'webpack';
webpack({ mode: 'production', target: 'node', entry: './example.mjs',
  output: { path: process.cwd() + '/out', filename: 'example.cjs' },
  module: { rules: [{ test: /\\.node$/, loader: 'node-loader' }] } },
  (error, stats) => {
    if (error || stats.hasErrors()) throw error ?? new Error(stats.toString('errors-only'));
  });`;
  expect(bundled('webpack', script, 'example.cjs')).toMatch(PROBABILITIES);
});

test('rollup, with a plugin for addons', () => {
  const script = `import commonjs from '@rollup/plugin-commonjs';
import resolve from '@rollup/plugin-node-resolve';
import { rollup } from 'rollup';
import { addons } from './addons.mjs';
const ignore = (id) => id.endsWith('.node');
const bundle = await rollup({ input: 'example.mjs', external: [/^node:/], plugins: [addons(), resolve(), commonjs({ ignore })] });
const banner = "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);";
await bundle.write({ file: 'out/example.mjs', format: 'esm', banner });`;
  expect(bundled('rollup', script, 'example.mjs')).toMatch(PROBABILITIES);
});

test('vite, with a plugin for addons', () => {
  const script = `import { build } from 'vite';
import { addons } from './addons.mjs';
await build({ logLevel: 'warn', plugins: [addons()], ssr: { noExternal: ['drivetrain'] },
  build: { ssr: 'example.mjs', ssrEmitAssets: true, outDir: 'out', rolldownOptions: { output: { entryFileNames: 'example.mjs' } } } });`;
  expect(bundled('vite', script, 'example.mjs')).toMatch(PROBABILITIES);
});

test.each([
  [
    'esbuild',
    `import { build } from 'esbuild';
await build({ entryPoints: ['example.mjs'], bundle: true, platform: 'node', format: 'esm', packages: 'external', outfile: 'out/example.mjs' });`,
  ],
  [
    'webpack',
    `import webpack from 'webpack';
webpack({ mode: 'production', target: 'node', entry: './example.mjs', externals: { drivetrain: 'module drivetrain' },
  experiments: { outputModule: true }, output: { path: process.cwd() + '/out', filename: 'example.mjs', module: true } },
  (error, stats) => {
    if (error || stats.hasErrors()) throw error ?? new Error(stats.toString('errors-only'));
  });`,
  ],
  [
    'rollup',
    `import { rollup } from 'rollup';
const bundle = await rollup({ input: 'example.mjs', external: ['drivetrain'] });
await bundle.write({ file: 'out/example.mjs', format: 'esm' });`,
  ],
  [
    'vite',
    `import { build } from 'vite';
await build({ logLevel: 'warn', build: { ssr: 'example.mjs', outDir: 'out', rolldownOptions: { output: { entryFileNames: 'example.mjs' } } } });`,
  ],
])('%s, with the library left outside', (name, script) => {
  const project = new Project(`${name}-external`);
  project.write('example.mjs', example);
  project.write('bundle.mjs', script);
  project.node('bundle.mjs');
  expect(project.node('out/example.mjs')).toMatch(PROBABILITIES);
});
