// Builds the binary that the npm package carries: prebuilds/linux-x64/drivetrain.node, cross-compiled against an old
// glibc by the toolchain of toolchain/, with the C++ library inside.
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import prebuildify from 'prebuildify';
import { checkBinary } from './check-binary.mjs';
import { main, root, runNpm, step } from './shared.mjs';

const PLATFORM = 'linux';
const ARCH = 'x64';
const FOLDER = join(root, 'build-prebuild');
const TOOLCHAIN = join(root, 'toolchain');

await main(async () => {
  if (!existsSync(join(TOOLCHAIN, 'node_modules'))) {
    step('toolchain', () => runNpm(['ci', '--no-audit', '--no-fund'], { cwd: TOOLCHAIN }));
  }
  mkdirSync(FOLDER, { recursive: true });
  await promisify(prebuildify)({
    platform: PLATFORM,
    arch: ARCH,
    // Without these two the file's name would carry tags, and the loader's path has to be a literal one.
    napi: true,
    name: 'drivetrain',
    cwd: FOLDER,
    out: root,
    nodeGyp: join(root, 'scripts/prebuild-compile.mjs'),
  });
  checkBinary(join(root, 'prebuilds', `${PLATFORM}-${ARCH}`, 'drivetrain.node'));
});
