// Builds the binaries that npm carries, prebuilds/<target>/drivetrain.node, all of them from this machine with the
// cross compiler of toolchain/, with the C++ library inside:
//   npm run prebuild [-- --target linux-arm64]...
import { existsSync, mkdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import prebuildify from 'prebuildify';
import { checkBinary } from './check-binary.mjs';
import { main, root, runNpm, StepError, step } from './shared.mjs';
import { prebuiltFile, TARGETS } from './targets.mjs';

const TOOLCHAIN = join(root, 'toolchain');

async function build(target) {
  const [platform, ...rest] = target.split('-');
  const cwd = join(root, 'build-prebuild', target);
  mkdirSync(cwd, { recursive: true });
  await promisify(prebuildify)({
    platform,
    arch: rest.join('-'),
    // Without these two the file's name would carry tags, and the loader's path has to be a literal one.
    napi: true,
    name: 'drivetrain',
    cwd,
    out: root,
    nodeGyp: join(root, 'scripts/prebuild-compile.mjs'),
  });
  checkBinary(prebuiltFile(target), target);
  console.log(`  ${(statSync(prebuiltFile(target)).size / 1e6).toFixed(2)} MB, checked`);
}

await main(async () => {
  const { values } = parseArgs({ options: { target: { type: 'string', multiple: true, default: TARGETS } } });
  const unknown = values.target.filter((target) => !TARGETS.includes(target));
  if (unknown.length) throw new StepError(`No target is called ${unknown.join(', ')}: ${TARGETS.join(', ')}`);
  if (!existsSync(join(TOOLCHAIN, 'node_modules'))) {
    step('toolchain', () => runNpm(['ci', '--no-audit', '--no-fund'], { cwd: TOOLCHAIN }));
  }
  for (const target of values.target) await build(target);
});
