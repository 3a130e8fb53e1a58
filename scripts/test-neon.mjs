// NEON without an ARM machine: kernel tests and the addon are cross-compiled and run under qemu's user emulation.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { buildNativeTests } from './native.mjs';
import { nodeBinary } from './nodes.mjs';
import { main, root, run, StepError, step } from './shared.mjs';
import { kernelTests, report } from './suites.mjs';

const EMULATOR = ['qemu-aarch64', '-L', '/usr/aarch64-linux-gnu'];

const SMOKE = `
import { device } from 'drivetrain';
const { isa } = device.info();
if (process.arch !== 'arm64' || !isa.startsWith('neon')) throw new Error(process.arch + ' runs ' + isa);
`;

/** The emulator is slow. These are plain C++ for every processor, and `npm test` runs them. */
const COVERED = ['scalar', 'gemm_f64_large', 'attention_f64'];

function checkTools() {
  const tools = { 'aarch64-linux-gnu-g++': 'g++-aarch64-linux-gnu', 'qemu-aarch64': 'qemu-user' };
  const missing = Object.keys(tools).filter((tool) => spawnSync(tool, ['--version']).status !== 0);
  if (missing.length === 0) return;
  const packages = missing.map((tool) => tools[tool]).join(' ');
  throw new StepError(
    `This test needs ${missing.join(' and ')}. On Debian and Ubuntu:\n  apt-get install -y ${packages}`,
  );
}

await main(async () => {
  checkTools();
  const defines = { CMAKE_TOOLCHAIN_FILE: join(root, 'toolchain/gcc-aarch64-linux-gnu.cmake') };
  const [kernels] = buildNativeTests('tests and addon for arm64', 'build-neon', {
    defines,
    tests: ['kernels_test'],
    others: ['drivetrain'],
  });
  const args = COVERED.flatMap((name) => ['--skip', name]);
  const native = await kernelTests(kernels, { emulator: EMULATOR, args });
  const node = nodeBinary('linux-arm64', 20);
  const env = { DRIVETRAIN_BINARY: join(root, 'build-neon/Release/drivetrain.node') };
  const [emulator, ...options] = EMULATOR;
  step('library in an arm64 Node', () =>
    run(emulator, [...options, node, '--input-type=module', '-e', SMOKE], { env }),
  );
  const smoke = { passed: 1, failed: 0, skipped: 0 };
  report([...native, smoke]);
});
