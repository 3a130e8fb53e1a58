// Everything that is checked without running the library. With --fix, formats and accepts a changed public interface
// instead of complaining.
import { spawnSync } from 'node:child_process';
import { filesUnder, main, run, runNode, StepError, step } from './shared.mjs';

const fix = process.argv.includes('--fix');
const sources = () => ['native', 'bench/native'].flatMap((folder) => filesUnder(folder, /\.(cc|h)$/));
const hasClangFormat = spawnSync('clang-format', ['--version']).status === 0;

const checks = {
  'biome (format and lint)': () =>
    runNode('node_modules/@biomejs/biome/bin/biome', [
      'check',
      '--error-on-warnings',
      ...(fix ? ['--write'] : []),
    ]),
  ...(hasClangFormat && {
    'clang-format': () => run('clang-format', [...(fix ? ['-i'] : ['--dry-run', '-Werror']), ...sources()]),
  }),
  'types of tests and examples': () =>
    runNode('node_modules/typescript/bin/tsc', ['-p', 'tsconfig.test.json']),
  'unused code and packages': () =>
    runNode('node_modules/knip/bin/knip.js', ['--no-progress', '--treat-config-hints-as-errors']),
  'public interface': () => runNode('scripts/check-api.mjs', fix ? ['--accept'] : []),
  'licences of dependencies': () => runNode('scripts/check-licences.mjs', []),
  'direction of imports': () => runNode('scripts/check-imports.mjs', []),
  'weak symbols in kernels': () => runNode('scripts/check-symbols.mjs', []),
};

await main(() => {
  if (!hasClangFormat) console.log('clang-format is not installed: C++ sources go unchecked');
  const failures = [];
  for (const [name, check] of Object.entries(checks)) {
    try {
      step(name, check);
    } catch (error) {
      if (!(error instanceof StepError)) throw error;
      failures.push(error.message);
    }
  }
  if (failures.length) throw new StepError(failures.join('\n\n'));
});
