// Brings a clone to the point where it runs: dependencies, TypeScript, opcode header, native addon. Every step is
// skipped when nothing that it reads has changed.
//   node scripts/setup.mjs [--without-addon]
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { build, configure } from './native.mjs';
import { checkBuildTools, checkNode } from './prerequisites.mjs';
import { filesUnder, main, root, runNode, runNpm, step } from './shared.mjs';

const STATE = join(root, 'build/setup.json');
const path = (name) => join(root, name);
const readJson = (file) => JSON.parse(readFileSync(file, 'utf8'));

/** True if node_modules holds the versions that package-lock.json names. */
function dependenciesInstalled() {
  const installed = path('node_modules/.package-lock.json');
  if (!existsSync(installed)) return false;
  const there = readJson(installed).packages;
  const wanted = Object.entries(readJson(path('package-lock.json')).packages);
  return wanted.every(([name, { version, optional }]) => {
    if (name === '') return true;
    return there[name] ? there[name].version === version : optional === true;
  });
}

/** Changes whenever one of the files does. */
function fingerprint(files) {
  const hash = createHash('sha256');
  for (const file of files) {
    const { size, mtimeMs } = statSync(path(file));
    hash.update(`${file} ${size} ${mtimeMs}\n`);
  }
  return hash.digest('hex');
}

/** tsc leaves the output of files that are gone; nothing may import it. */
function removeOrphans() {
  for (const file of filesUnder('dist')) {
    const source = file.replace(/^dist/, 'lib').replace(/(\.d)?\.(c?)[jt]s$/, '.$2ts');
    if (!existsSync(path(source))) rmSync(path(file));
  }
}

const compile = (project) => runNode('node_modules/typescript/bin/tsc', ['--pretty', 'false', '-p', project]);

const toolchain = ['scripts/setup.mjs', 'scripts/native.mjs', 'package-lock.json'];

/** What needs a compiler of this machine. */
const ADDON = 'native addon';
const BINARY = 'build/Release/drivetrain.node';

const steps = [
  {
    name: 'lib',
    inputs: () => [...toolchain, 'tsconfig.json', ...filesUnder('lib')],
    output: 'dist/index.js',
    make: () => {
      compile('tsconfig.json');
      removeOrphans();
    },
  },
  {
    name: 'examples',
    inputs: () => [
      ...toolchain,
      'tsconfig.examples.json',
      ...filesUnder('examples'),
      ...filesUnder('dist', /\.d\.ts$/),
    ],
    output: 'build/examples',
    make: () => compile('tsconfig.examples.json'),
  },
  {
    name: 'opcodes',
    inputs: () => ['scripts/generate-opcodes.mjs', 'dist/ops/opcodes.js'],
    output: 'build/generated/opcodes.h',
    make: () => runNode('scripts/generate-opcodes.mjs', []),
  },
  {
    name: ADDON,
    inputs: () => [...toolchain, 'CMakeLists.txt', 'build/generated/opcodes.h', ...filesUnder('native')],
    output: BINARY,
    make: () => {
      configure('build');
      build('build', 'drivetrain');
    },
  },
];

await main(() => {
  const { values } = parseArgs({ options: { 'without-addon': { type: 'boolean', default: false } } });
  const withAddon = !values['without-addon'];
  checkNode();
  if (withAddon && !existsSync(path(BINARY))) checkBuildTools();
  if (!dependenciesInstalled()) {
    const advice = 'npm could not install the dependencies; is its registry reachable?';
    step('dependencies', () => runNpm(['ci', '--no-audit', '--no-fund'], { advice }));
  }
  const state = existsSync(STATE) ? readJson(STATE) : {};
  for (const { name, inputs, output, make } of steps) {
    if (name === ADDON && !withAddon) continue;
    const print = fingerprint(inputs());
    if (state[name] === print && existsSync(path(output))) continue;
    step(name, make);
    state[name] = print;
    mkdirSync(path('build'), { recursive: true });
    writeFileSync(STATE, JSON.stringify(state, null, 2));
  }
});
