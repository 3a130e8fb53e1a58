// `drivetrain build`: compiles the addon from the sources in an installed package, in a folder of its own, tries it, and
// puts it where lib/native/load.cts looks first. Nothing is downloaded: scripts/bundle.mjs has packed the headers.
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { checkBuildTools, checkNode } from './prerequisites.mjs';
import { jobs, main, root, run, StepError, step } from './shared.mjs';

const HEADERS = join(root, 'dist/include');
const TARGET = join(root, 'build/Release');

/** Windows' other compiler is not supported; Node's functions are looked up by their names. */
const windowsOptions = () =>
  process.platform === 'win32'
    ? ['-T', 'ClangCL', `-DDRIVETRAIN_NODE_API_DEF=${join(HEADERS, 'node_api.def')}`]
    : [];

function configure(folder) {
  run('cmake', [
    ...['-S', root, '-B', folder, '-DCMAKE_BUILD_TYPE=Release', `-DCMAKE_JS_INC=${HEADERS}`],
    `-DDRIVETRAIN_GENERATED_DIR=${HEADERS}`,
    // Where shared libraries go: the second on Windows.
    `-DCMAKE_LIBRARY_OUTPUT_DIRECTORY=${join(folder, 'Release')}`,
    `-DCMAKE_RUNTIME_OUTPUT_DIRECTORY_RELEASE=${join(folder, 'Release')}`,
    ...windowsOptions(),
  ]);
}

function compile(folder) {
  const parallel = process.env.CMAKE_BUILD_PARALLEL_LEVEL ?? jobs;
  run('cmake', ['--build', folder, '--config', 'Release', '--target', 'drivetrain', '--parallel', parallel]);
}

/** In a process of its own: an addon that crashes takes its process with it. */
function tryOut(addon) {
  const library = pathToFileURL(join(root, 'dist/index.js')).href;
  const script = `const { matmul, tensor } = await import('${library}');
if (matmul(tensor([[2]]), tensor([[3]])).item() !== 6) throw new Error('2 × 3 is not 6');`;
  run(process.execPath, ['--input-type=module', '-e', script], { env: { DRIVETRAIN_BINARY: addon } });
}

function install(addon) {
  const file = join(TARGET, 'drivetrain.node');
  try {
    mkdirSync(TARGET, { recursive: true });
    copyFileSync(addon, `${file}.new`);
    renameSync(`${file}.new`, file);
  } catch (error) {
    throw new StepError(`${error.message}\nRun it as the user who installed the package.`);
  }
  return file;
}

await main(() => {
  if (!existsSync(join(HEADERS, 'opcodes.h')))
    throw new StepError(
      'This is a clone of the repository, not an installed package: `npm run setup` builds it.',
    );
  checkNode();
  checkBuildTools();
  const folder = mkdtempSync(join(tmpdir(), 'drivetrain-build-'));
  const addon = join(folder, 'Release/drivetrain.node');
  try {
    step('configuring', () => configure(folder));
    step('compiling (minutes)', () => compile(folder));
    step('trying it', () => tryOut(addon));
    console.log(`\n${install(addon)} is what drivetrain loads from now on.`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
