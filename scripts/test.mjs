// What `npm test` runs: the native kernel tests, then vitest (its config repeats the numeric tests for every
// instruction set of this machine). Arguments go to vitest.
import { buildKernelTests } from './native.mjs';
import { main } from './shared.mjs';
import { kernelTests, report, vitest } from './suites.mjs';

await main(() => {
  const native = kernelTests(buildKernelTests('kernel tests', 'build-native-tests'));
  report([native, vitest(['--project', '!package', ...process.argv.slice(2)])]);
});
