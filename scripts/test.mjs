// What `npm test` runs: the native tests, then vitest (its config repeats the numeric tests for every
// instruction set of this machine). Arguments go to vitest.
import { buildNativeTests } from './native.mjs';
import { main } from './shared.mjs';
import { kernelTests, nativeTest, report, vitest } from './suites.mjs';

await main(async () => {
  const [kernels, ...stress] = buildNativeTests('native tests', 'build', { others: ['kernels_bench'] });
  const native = [...(await kernelTests(kernels)), ...stress.map((program) => nativeTest(program))];
  report([...native, vitest(['--project', '!package', ...process.argv.slice(2)])]);
});
