// Packs the library and uses the package as strangers would, with the tools of compat/, which is a package of its own.
import { join } from 'node:path';
import { main, root, runNpm, step } from './shared.mjs';
import { report, vitest } from './suites.mjs';

await main(() => {
  step('tools', () => runNpm(['ci', '--no-audit', '--no-fund'], { cwd: join(root, 'compat') }));
  report([vitest(['--project', 'package'])]);
});
