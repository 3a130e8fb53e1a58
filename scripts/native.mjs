// Configures and builds CMake's part, each kind of build in a folder of its own: the addon through cmake-js, the tests
// of the kernels, which need nothing of Node, without it.
import { join } from 'node:path';
import { jobs, root, run, runNode, step } from './shared.mjs';

const CMAKE_JS = 'node_modules/cmake-js/bin/cmake-js';

/** Configures `folder` for the addon; `defines` are CMake variables. */
export function configure(folder, defines = {}) {
  const variables = Object.entries(defines).map(([name, value]) => `--CD${name}=${value}`);
  const toolset = process.platform === 'win32' ? ['--toolset', 'ClangCL'] : [];
  const advice = `If the compiler has changed since the last build, delete the folder ${folder} and run this again.`;
  return runNode(CMAKE_JS, ['configure', '-O', folder, ...toolset, ...variables], { advice });
}

/** Builds one target of a configured folder. */
export function build(folder, target) {
  return run('cmake', ['--build', folder, '--config', 'Release', '--target', target, '--parallel', jobs]);
}

/** Configures a folder and builds its addon, as one printed step; returns the path of the addon. */
export function buildAddon(name, folder, defines) {
  step(name, () => {
    configure(folder, defines);
    build(folder, 'drivetrain');
  });
  return `${folder}/Release/drivetrain.node`;
}

/** Configures a folder and builds the kernel tests, as one printed step; returns the path of their program. */
export function buildKernelTests(name, folder, defines = {}) {
  const output = join(root, folder);
  const all = {
    CMAKE_BUILD_TYPE: 'Release',
    DRIVETRAIN_NATIVE_TESTS: 'ON',
    CMAKE_RUNTIME_OUTPUT_DIRECTORY: output,
    ...defines,
  };
  step(name, () => {
    run('cmake', [
      '-S',
      root,
      '-B',
      folder,
      ...Object.entries(all).map(([key, value]) => `-D${key}=${value}`),
    ]);
    build(folder, 'kernels_test');
  });
  return join(output, 'kernels_test');
}
