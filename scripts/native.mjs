// Configures and builds CMake's part through cmake-js, each kind of build in a folder of its own: the addon, and the tests
// that are native themselves, of the same objects.
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

/** Tests of the kernels; then of the thread pool and of the locks, under many threads. */
const NATIVE_TESTS = ['kernels_test', 'thread_pool_test', 'locks_test'];

/** Configures a folder and builds native tests, as one printed step; returns the paths of their programs. */
export function buildNativeTests(name, folder, defines = {}, tests = NATIVE_TESTS) {
  const output = join(root, folder, 'tests');
  step(name, () => {
    configure(folder, {
      DRIVETRAIN_NATIVE_TESTS: 'ON',
      CMAKE_RUNTIME_OUTPUT_DIRECTORY: output,
      ...defines,
    });
    for (const test of tests) build(folder, test);
  });
  return tests.map((test) => join(output, test));
}
