// Runs the benchmarks of bench/, which is a package of its own, on the built library. Arguments go to bench/main.mjs.
import { prepareBench } from './bench-setup.mjs';
import { main, runNode, show, step } from './shared.mjs';

await main(() => {
  step('library', () => runNode('scripts/setup.mjs', []));
  prepareBench();
  if (!show(process.execPath, ['bench/main.mjs', ...process.argv.slice(2)])) process.exitCode = 1;
});
