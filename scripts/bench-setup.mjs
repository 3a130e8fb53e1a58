// Brings bench/ to the point where it runs: its packages, and the addons through which it reaches native libraries.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { jobs, root, run, runNpm, StepError, step } from './shared.mjs';

const FOLDER = join(root, 'bench');
const BUILD = join(FOLDER, 'build');

/** True if bench/node_modules is of bench/package-lock.json. */
function installed() {
  const hidden = join(FOLDER, 'node_modules/.package-lock.json');
  if (!existsSync(hidden)) return false;
  const versions = (file) =>
    Object.entries(JSON.parse(readFileSync(file, 'utf8')).packages)
      .filter(([name]) => name !== '')
      .map(([name, { version }]) => `${name} ${version}`)
      .join();
  return versions(hidden) === versions(join(FOLDER, 'package-lock.json'));
}

function buildAddons() {
  const headers = join(root, 'node_modules/node-api-headers/include');
  const defines = ['-DCMAKE_BUILD_TYPE=Release', `-DNODE_API_HEADERS=${headers}`];
  run('cmake', ['-S', join(FOLDER, 'native'), '-B', BUILD, ...defines]);
  run('cmake', ['--build', BUILD, '--parallel', jobs]);
}

/** Packages are installed without their scripts, one of which would download parts for GPUs. */
export function prepareBench() {
  if (!installed()) {
    const args = ['ci', '--ignore-scripts', '--no-audit', '--no-fund'];
    step('bench dependencies', () => runNpm(args, { cwd: FOLDER }));
  }
  try {
    step('bench addons', buildAddons);
  } catch (error) {
    if (!(error instanceof StepError)) throw error;
    console.log(`${error.message}\nWithout them OpenBLAS, oneDNN and the machine's limits are missing.\n`);
  }
}
