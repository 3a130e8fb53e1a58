// Native tests and library tests under AddressSanitizer and UndefinedBehaviorSanitizer (GCC's).
import { isAbsolute, join } from 'node:path';
import { buildNativeTests } from './native.mjs';
import { main, root, run, StepError } from './shared.mjs';
import { kernelTests, nativeTest, report, vitest } from './suites.mjs';

const DEFINES = {
  DRIVETRAIN_SANITIZE: 'address',
  // Optimised enough to be quick, and with assertions.
  CMAKE_BUILD_TYPE: 'RelWithDebInfo',
  CMAKE_CXX_FLAGS_RELWITHDEBINFO: '-O1',
};

// Node itself is not instrumented, so the sanitizer's runtime has to be there first, and the C++ runtime beside it:
// the sanitizer looks up the functions for exceptions at start.
function preloaded() {
  const compiler = process.env.CXX ?? 'c++';
  const libraries = ['libasan.so', 'libstdc++.so.6'].map((name) =>
    run(compiler, [`-print-file-name=${name}`]).trim(),
  );
  if (!libraries.every(isAbsolute))
    throw new StepError(`${compiler} has no libasan.so: set CXX to a GCC that has it.`);
  return libraries.join(' ');
}

await main(async () => {
  const options = { UBSAN_OPTIONS: 'print_stacktrace=1' };
  const env = { ...options, ASAN_OPTIONS: 'detect_leaks=1' };
  const [kernels, ...stress] = buildNativeTests('tests and addon, sanitized', 'build-asan', {
    defines: DEFINES,
    others: ['drivetrain'],
  });
  const native = [
    ...(await kernelTests(kernels, { env })),
    ...stress.map((program) => nativeTest(program, { env })),
  ];
  const library = vitest(['--project', 'default', '--testTimeout', '120000'], {
    env: {
      ...options,
      // V8 keeps what it allocates until the end; leaks are looked for in the native tests alone. A short quarantine:
      // tests that watch the growth of memory would count it.
      ASAN_OPTIONS: 'detect_leaks=0:quarantine_size_mb=16',
      LD_PRELOAD: preloaded(),
      PATH: `${join(root, 'toolchain/sanitized')}:${process.env.PATH}`,
      DRIVETRAIN_BINARY: join(root, 'build-asan/Release/drivetrain.node'),
    },
  });
  report([...native, library]);
});
