// Runs the benchmarks of bench/, which is a package of its own, on the built library.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { main, root, runNpm, show, step } from './shared.mjs';

const FOLDER = join(root, 'bench');

await main(() => {
  if (!existsSync(join(FOLDER, 'node_modules'))) {
    step('bench dependencies', () => runNpm(['ci', '--no-audit', '--no-fund'], { cwd: FOLDER }));
  }
  if (!show(process.execPath, ['bench/engine.mjs', ...process.argv.slice(2)])) process.exitCode = 1;
});
