// The thread pool, the locks and the products that threads share under ThreadSanitizer (GCC's).
import { buildNativeTests } from './native.mjs';
import { main } from './shared.mjs';
import { nativeTest, report } from './suites.mjs';

const DEFINES = {
  DRIVETRAIN_SANITIZE: 'thread',
  // Optimised enough to be quick, and with assertions.
  CMAKE_BUILD_TYPE: 'RelWithDebInfo',
  CMAKE_CXX_FLAGS_RELWITHDEBINFO: '-O1',
};

/** Tests of kernels in which threads share packed matrices. */
const PRODUCTS = ['gemm_f32_large', 'gemm_batched', 'gemm_s8_large'];

await main(() => {
  const env = { TSAN_OPTIONS: 'halt_on_error=1' };
  const [kernels, ...stress] = buildNativeTests('native tests, sanitized', 'build-tsan', {
    defines: DEFINES,
  });
  const products = PRODUCTS.map((name) => nativeTest(kernels, { args: ['--only', name], env }));
  report([...products, ...stress.map((program) => nativeTest(program, { env }))]);
});
