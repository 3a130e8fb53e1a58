// How much of the library the tests run, by floor. Fails where less than 90 % of all lines or branches are.
import { readFileSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import { main, root, runNode, StepError, show } from './shared.mjs';

const LEAST = 90;
const FOLDER = join(root, 'build/coverage');
const KINDS = ['lines', 'branches'];

const percent = ({ covered, total }) => (total === 0 ? 100 : (100 * covered) / total);
const add = (a, b) => ({ covered: a.covered + b.covered, total: a.total + b.total });
const NOTHING = { covered: 0, total: 0 };

/** Adds the files of each floor. */
function byFloor(files) {
  const floors = new Map();
  for (const [file, counts] of Object.entries(files)) {
    if (file === 'total') continue;
    const [first, ...rest] = relative(join(root, 'dist'), file).split(sep);
    const name = rest.length === 0 ? '(index)' : first;
    const before = floors.get(name) ?? { lines: NOTHING, branches: NOTHING };
    floors.set(name, Object.fromEntries(KINDS.map((kind) => [kind, add(before[kind], counts[kind])])));
  }
  return floors;
}

await main(() => {
  runNode('scripts/setup.mjs', []);
  const c8 = [
    'node_modules/c8/bin/c8.js',
    '--all',
    '--include',
    'dist/**/*.{js,cjs}',
    '--reporter',
    'json-summary',
  ];
  const tests = [process.execPath, 'node_modules/vitest/vitest.mjs', 'run', '--project', 'default'];
  if (!show(process.execPath, [...c8, '--report-dir', FOLDER, ...tests])) process.exitCode = 1;
  const files = JSON.parse(readFileSync(join(FOLDER, 'coverage-summary.json'), 'utf8'));
  const floors = byFloor(files);
  const width = Math.max(...[...floors.keys()].map((name) => name.length));
  console.log(`\n${''.padEnd(width)}   lines  branches`);
  const row = (name, counts) =>
    console.log(
      `${name.padEnd(width)}  ${KINDS.map((kind) => `${percent(counts[kind]).toFixed(1)} %`.padStart(7)).join('  ')}`,
    );
  for (const [name, counts] of [...floors].sort()) row(name, counts);
  row('all', files.total);
  const short = KINDS.filter((kind) => percent(files.total[kind]) < LEAST);
  if (short.length)
    throw new StepError(`Less than ${LEAST} % of ${short.join(' and ')} are run by the tests.`);
});
