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

/** Builds targets of a configured folder, all at once: no processor waits for the last file of one of them. */
export function build(folder, ...targets) {
  return run('cmake', ['--build', folder, '--config', 'Release', '--target', ...targets, '--parallel', jobs]);
}

/** Tests of the kernels; then of the thread pool and of the locks, under many threads. */
const NATIVE_TESTS = ['kernels_test', 'thread_pool_test', 'locks_test'];

/** Configures a folder and builds native tests and `others`, as one printed step; returns the paths of the tests. */
export function buildNativeTests(name, folder, { defines = {}, tests = NATIVE_TESTS, others = [] } = {}) {
  const output = join(root, folder, 'tests');
  step(name, () => {
    configure(folder, {
      DRIVETRAIN_NATIVE_TESTS: 'ON',
      CMAKE_RUNTIME_OUTPUT_DIRECTORY: output,
      ...defines,
    });
    build(folder, ...tests, ...others);
  });
  return tests.map((test) => join(output, test));
}
