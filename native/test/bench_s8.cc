// kernels_bench --s8: int8 products beside a register loop of the same multiply-adds, our f32, and a
// stream that reads the weights.
#include <cstdio>
#include <vector>
#include "../runtime/thread_pool.h"
#include "bench.h"
#include "peak_s8.h"
#include "rate.h"

namespace drivetrain::test {
namespace {

struct ProductS8 {
  std::vector<int8_t> a, packed;
  std::vector<float> x, scale, c;
  GemmS8Args g{};

  ProductS8(const Kernels& k, size_t m, size_t n, size_t depth, bool dynamic)
      : a(m * depth, 3),
        packed(k.packed_s8_bytes(depth, n)),
        x(m * depth, 0.5f),
        scale(m + n, 0.1f),
        c(m * n) {
    const std::vector<int8_t> b(depth * n, 2);
    k.pack_s8(b.data(), false, 1, ptrdiff_t(depth), depth, n, packed.data());
    g.m = m, g.n = n, g.k = depth;
    g.a_type = dynamic ? Int8Source::kF32 : Int8Source::kS8;
    g.a = dynamic ? static_cast<const void*>(x.data()) : a.data();
    g.a_row = ptrdiff_t(depth);
    g.a_scale = g.b_scale = {scale.data(), 1};
    g.b_packed = packed.data();
    g.c_type = Int8Result::kF32, g.c = c.data(), g.c_row = ptrdiff_t(n);
  }
};

void bench_product(const Kernels& k, size_t m, size_t n, size_t depth, double peak) {
  const double work = 2.0 * m * n * depth;
  ProductS8 plain(k, m, n, depth, false), dynamic(k, m, n, depth, true);
  const double s8 = rate(work, [&] { k.gemm_s8(plain.g); });
  const double from_f32 = rate(work, [&] { k.gemm_s8(dynamic.g); });
  std::vector<float> b(depth * n, 0.5f);
  const double f32 = rate(work, [&] {
    GemmArgs<float> g{};
    g.m = m, g.n = n, g.k = depth, g.a = dynamic.x.data(), g.a_row = ptrdiff_t(depth), g.a_col = 1;
    g.b = b.data(), g.b_row = ptrdiff_t(n), g.b_col = 1, g.c = dynamic.c.data(), g.c_row = ptrdiff_t(n);
    g.alpha = 1;
    k.f32.gemm(g);
  });
  std::printf("  %4zux%4zux%4zu  s8 %7.1f Gop/s, %.3f of peak, %4.2f x f32; from f32 %7.1f\n", m, n, depth,
              s8, s8 / peak, s8 / f32, from_f32);
}

// The bandwidth of the weights of one layer, and of so many layers that none stays in a cache.
void bench_vector(const Kernels& k, size_t m, size_t n, size_t depth, size_t layers) {
  std::vector<ProductS8> all;
  for (size_t i = 0; i < layers; ++i) all.emplace_back(k, m, n, depth, false);
  for (ProductS8& p : all)
    p.g.a = p.a.data(), p.g.b_packed = p.packed.data(), p.g.a_scale = p.g.b_scale = {p.scale.data(), 1},
    p.g.c = p.c.data();
  size_t at = 0;
  const double bytes = double(all[0].packed.size());
  const double stream = rate(bytes, [&] { read_stream(all[at = (at + 1) % layers].packed.data(), bytes); });
  const double ours = rate(bytes, [&] { k.gemm_s8(all[at = (at + 1) % layers].g); });
  std::printf("  %zux%zux%zu, %zu layers: weights at %.1f GB/s, read stream %.1f GB/s, %.3f\n", m, n, depth,
              layers, ours, stream, ours / stream);
}

}  // namespace

void bench_s8(const Kernels& k) {
  const int all = threads();
  for (int count = 1; count <= all; count += all > 1 ? all - 1 : 1) {
    set_threads(count);
    const double peak = count * peak_s8(k.name);
    std::printf("%s, %d threads: register loop %.1f Gop/s\n", k.name, count, peak);
    for (size_t n : {64, 256, 512, 1024}) bench_product(k, n, n, n, peak);
    for (size_t m : {1, 4, 8, 16, 32}) bench_product(k, m, 3072, 768, peak);
    bench_product(k, 128, 384, 384, peak);
    bench_product(k, 128, 1536, 384, peak);
    bench_vector(k, 1, 768, 768, 1);
    bench_vector(k, 1, 3072, 768, 1);
    bench_vector(k, 1, 3072, 768, 100);
  }
  set_threads(all);
}

}  // namespace drivetrain::test
