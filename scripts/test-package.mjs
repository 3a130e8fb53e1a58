// Packs the library and uses the package as strangers would, with the tools of compat/, which is a package of its own.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { main, root, runNpm, StepError, step } from './shared.mjs';
import { report, vitest } from './suites.mjs';

/** Builds the binary that `npm pack` packs; resolves to what that printed. */
async function prebuild() {
  const script = join(root, 'scripts/prebuild.mjs');
  const stdio = ['ignore', 'pipe', 'inherit'];
  const child = spawn(process.execPath, [script, '--target', 'linux-x64'], { cwd: root, stdio });
  const [[status], printed] = await Promise.all([once(child, 'close'), text(child.stdout)]);
  if (status !== 0) throw new StepError(`${printed}\nThe binary of the package could not be built.`);
  return printed;
}

await main(async () => {
  // npm waits for the network and the disk, the compiler for the processors.
  const binary = prebuild();
  step('tools', () => runNpm(['ci', '--no-audit', '--no-fund'], { cwd: join(root, 'compat') }));
  process.stdout.write(await binary);
  report([vitest(['--project', 'package'])]);
});
