// The thread pool and the locks under ThreadSanitizer (GCC's).
import { buildNativeTests } from './native.mjs';
import { main } from './shared.mjs';
import { nativeTest, report } from './suites.mjs';

const DEFINES = {
  DRIVETRAIN_SANITIZE: 'thread',
  // Optimised enough to be quick, and with assertions.
  CMAKE_BUILD_TYPE: 'RelWithDebInfo',
  CMAKE_CXX_FLAGS_RELWITHDEBINFO: '-O1 -g1',
};

await main(() => {
  const env = { TSAN_OPTIONS: 'halt_on_error=1' };
  const tests = ['thread_pool_test', 'locks_test'];
  const programs = buildNativeTests('stress tests, sanitized', 'build-tsan-tests', DEFINES, tests);
  report(programs.map((program) => nativeTest(program, { env })));
});
