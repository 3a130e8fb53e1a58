// kernels_bench --isa NAME --once f32:512x512x512 | f32:4096x32x32x32 | s8:1024x1024x1024
// One product on one thread after a warm-up, for whoever counts what it takes. `counted` alone is of
// interest:
//   valgrind --tool=callgrind --cache-sim=yes --D1=49152,12,64 --LL=2097152,16,64
//   --toggle-collect='*counted*'
//     --collect-atstart=no --callgrind-out-file=out kernels_bench --isa avx2 --once f32:512x512x512
// With LL as large as the L2 of the machine, misses of it are what comes from L3 and from memory.
#include <cstdio>
#include <vector>
#include "../runtime/thread_pool.h"
#include "bench.h"

namespace drivetrain::test {
namespace {

template <class Run>
__attribute__((noinline)) void counted(const Run& run) {
  run();
}

template <class Run>
void twice(const Run& run) {
  run();
  counted(run);
}

}  // namespace

void once(const Kernels& k, const char* what) {
  set_threads(1);
  size_t batch = 1, m = 0, n = 0, depth = 0;
  if (std::sscanf(what, "f32:%zux%zux%zux%zu", &batch, &m, &n, &depth) == 4 ||
      (batch = 1, std::sscanf(what, "f32:%zux%zux%zu", &m, &n, &depth) == 3)) {
    const std::vector<float> a(batch * m * depth, 1.0f), b(batch * depth * n, 0.5f);
    std::vector<float> c(batch * m * n);
    GemmArgs<float> g{};
    g.m = m, g.n = n, g.k = depth, g.a = a.data(), g.a_row = ptrdiff_t(depth), g.a_col = 1;
    g.b = b.data(), g.b_row = ptrdiff_t(n), g.b_col = 1, g.c = c.data(), g.c_row = ptrdiff_t(n);
    g.alpha = 1;
    twice([&] {
      for (size_t i = 0; i < batch; ++i) {
        GemmArgs<float> one = g;
        one.a += i * m * depth, one.b += i * depth * n, one.c += i * m * n;
        k.f32.gemm(one);
      }
    });
  } else if (std::sscanf(what, "s8:%zux%zux%zu", &m, &n, &depth) == 3) {
    const std::vector<int8_t> a(m * depth, 3), b(depth * n, 2);
    std::vector<int8_t> packed(k.packed_s8_bytes(depth, n));
    std::vector<int32_t> c(m * n);
    k.pack_s8(b.data(), false, ptrdiff_t(n), 1, depth, n, packed.data());
    GemmS8Args g{};
    g.m = m, g.n = n, g.k = depth;
    g.a_type = Int8Source::kS8, g.a = a.data(), g.a_row = ptrdiff_t(depth);
    g.b_packed = packed.data();
    g.c_type = Int8Result::kS32, g.c = c.data(), g.c_row = ptrdiff_t(n);
    twice([&] { k.gemm_s8(g); });
  } else {
    std::fprintf(stderr, "expected f32: or s8: and sizes such as 512x512x512, received %s\n", what);
  }
}

}  // namespace drivetrain::test
