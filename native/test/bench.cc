// kernels_bench: rates for tuning, the best of several runs, on one thread and on all.
#include <cstdio>
#if defined(__x86_64__)
#include <immintrin.h>
#endif
#include "../runtime/denormals.h"
#include "../runtime/thread_pool.h"
#include "bench.h"
#include "harness.h"
#include "rate.h"

namespace drivetrain::test {
namespace {

// Multiply-adds on registers alone, of the table's vector width: the limit of what follows.
constexpr size_t kPeakSteps = 4000;
#if defined(__x86_64__)
__attribute__((target("avx512f"), noinline)) float peak_avx512() {
  asm volatile("");  // or it is called once for all
  __m512 sum[16], one = _mm512_set1_ps(1.0001f);
  for (__m512& s : sum) s = _mm512_setzero_ps();
  for (size_t p = 0; p < kPeakSteps; ++p)
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) sum[i] = _mm512_fmadd_ps(sum[i], one, one);
  for (int i = 1; i < 16; ++i) sum[0] = _mm512_add_ps(sum[0], sum[i]);
  return _mm512_cvtss_f32(sum[0]);
}
__attribute__((target("avx2,fma"), noinline)) float peak_avx2() {
  asm volatile("");
  __m256 sum[12], one = _mm256_set1_ps(1.0001f);
  for (__m256& s : sum) s = _mm256_setzero_ps();
  for (size_t p = 0; p < kPeakSteps; ++p)
#pragma GCC unroll 12
    for (int i = 0; i < 12; ++i) sum[i] = _mm256_fmadd_ps(sum[i], one, one);
  for (int i = 1; i < 12; ++i) sum[0] = _mm256_add_ps(sum[0], sum[i]);
  return _mm256_cvtss_f32(sum[0]);
}
void bench_peak(const Kernels& k) {
  volatile float sink;
  if (!std::strcmp(k.name, "avx512"))
    std::printf("  peak: %.1f GFLOP/s\n", rate(2.0 * kPeakSteps * 16 * 16, [&] { sink = peak_avx512(); }));
  if (!std::strcmp(k.name, "avx2"))
    std::printf("  peak: %.1f GFLOP/s\n", rate(2.0 * kPeakSteps * 12 * 8, [&] { sink = peak_avx2(); }));
}
#else
void bench_peak(const Kernels&) {}
#endif

void bench_gemm(const Kernels& k, size_t m, size_t n, size_t depth, bool b_transposed) {
  std::vector<float> a(m * depth, 1.0f), b(depth * n, 0.5f), c(m * n);
  const ptrdiff_t b_row = b_transposed ? 1 : ptrdiff_t(n), b_col = b_transposed ? ptrdiff_t(depth) : 1;
  const double rate_gflops = rate(2.0 * m * n * depth, [&] {
    k.f32.gemm({m, n, depth, a.data(), ptrdiff_t(depth), 1, b.data(), b_row, b_col, c.data(), ptrdiff_t(n), 1,
                0, nullptr, Activation::kNone});
  });
  std::printf("  gemm %zux%zux%zu%s: %.1f GFLOP/s\n", m, n, depth, b_transposed ? " BT" : "", rate_gflops);
}

// The heads of one batch, as they lie after a projection: [queries, heads, 64], seen head by head.
void bench_attention(const Kernels& k, size_t queries, size_t keys, size_t heads, bool causal) {
  constexpr size_t kDepth = 64;
  const ptrdiff_t row = ptrdiff_t(heads * kDepth);
  std::vector<float> q(queries * heads * kDepth, 0.1f), kv(keys * heads * kDepth, 0.2f),
      out(queries * kDepth), log_sum(queries), dq(queries * kDepth), dkv(2 * keys * kDepth);
  const double work = 4.0 * queries * keys * kDepth * heads * (causal ? 0.5 : 1);
  const auto head = [&](size_t h) {
    return AttentionArgs<float>{queries, keys,
                                kDepth,  kDepth,
                                0,       q.data() + h * kDepth,
                                row,     kv.data() + h * kDepth,
                                row,     kv.data() + h * kDepth,
                                row,     nullptr,
                                0,       0,
                                causal,  0.125f};
  };
  const double forward = rate(work, [&] {
    for (size_t h = 0; h < heads; ++h) k.f32.attention(head(h), out.data(), log_sum.data());
  });
  const double backward = rate(work * 2.5, [&] {
    for (size_t h = 0; h < heads; ++h)
      k.f32.attention_grad(head(h), out.data(), log_sum.data(), out.data(), dq.data(), dkv.data(),
                           dkv.data() + keys * kDepth);
  });
  std::printf("  attention %zux%zux%zu%s: %.1f GFLOP/s, gradient %.1f GFLOP/s\n", heads, queries, keys,
              causal ? " causal" : "", forward, backward);
}

}  // namespace

void bench(const Kernels& k) {
  const FlushDenormals flush;  // as in programs
  const int all = threads();
  for (int count = 1; count <= all; count += all > 1 ? all - 1 : 1) {
    set_threads(count);
    std::printf("%s, %d threads\n", k.name, count);
    if (count == 1) bench_peak(k);
    for (size_t n : {16, 32, 64, 128, 256, 512, 1024}) bench_gemm(k, n, n, n, false);
    for (size_t n : {32, 64, 256, 1024}) bench_gemm(k, n, n, n, true);
    for (bool transposed : {false, true}) {
      bench_gemm(k, 1, 1024, 1024, transposed);
      for (size_t m : {2, 4, 6, 8, 16, 32}) bench_gemm(k, m, 1024, 1024, transposed);
      for (size_t m : {8, 16, 32, 64}) bench_gemm(k, m, 256, 256, transposed);
      bench_gemm(k, 32, 256, 784, transposed);
      bench_gemm(k, 32, 10, 128, transposed);
    }
    {
      constexpr size_t n = 256;
      std::vector<double> a(n * n, 1.0), c(n * n);
      const double rate_gflops = rate(2.0 * n * n * n, [&] {
        k.f64.gemm({n, n, n, a.data(), n, 1, a.data(), n, 1, c.data(), n, 1, 0, nullptr, Activation::kNone});
      });
      std::printf("  f64 gemm %zu: %.1f GFLOP/s\n", n, rate_gflops);
    }
    if (count > 1) continue;
    for (size_t n : {16, 100, 128, 512, 1024}) bench_attention(k, n, n, 12, false);
    bench_attention(k, 512, 512, 12, true);
    for (size_t n : {128, 1024, 4096}) bench_attention(k, 1, n, 12, false);
    constexpr size_t n = 4096;
    std::vector<float> x(n, 0.3f), y(n);
    std::vector<uint16_t> h(n);
    std::vector<int8_t> q(n);
    const auto report = [&](const char* name, auto run) {
      std::printf("  %s: %.2f G values/s\n", name, rate(n, run));
    };
    report("exp", [&] { k.f32.unary[kExp](x.data(), y.data(), n); });
    report("log", [&] { k.f32.unary[kLog](x.data(), y.data(), n); });
    report("tanh", [&] { k.f32.unary[kTanh](x.data(), y.data(), n); });
    report("sigmoid", [&] { k.f32.unary[kSigmoid](x.data(), y.data(), n); });
    report("gelu_grad", [&] { k.f32.binary[kGeluGrad](x.data(), 1, x.data(), 1, y.data(), n); });
    report("gelu", [&] { k.f32.unary[kGelu](x.data(), y.data(), n); });
    report("add", [&] { k.f32.binary[kAdd](x.data(), 1, x.data(), 1, y.data(), n); });
    report("compare", [&] { k.f32.compare[kEqual](x.data(), 1, y.data(), 0, (uint8_t*)q.data(), n); });
    report("sum", [&] { y[0] = k.f32.sum(x.data(), n); });
    report("extent", [&] { y[0] = float(k.f32.extent(x.data(), n).sum_squares); });
    report("max", [&] { y[0] = k.f32.max(x.data(), n); });
    report("argmax", [&] { y[0] = float(k.f32.argmax(x.data(), n)); });
    report("softmax", [&] { k.f32.softmax(x.data(), y.data(), n); });
    report("layer_norm", [&] { k.f32.layer_norm(x.data(), x.data(), x.data(), 1e-5f, y.data(), n); });
    report("uniform", [&] { k.f32.uniform(1, 0, 0, y.data(), n); });
    report("normal", [&] { k.f32.normal(1, 0, 0, y.data(), n); });
    report("dropout", [&] { k.f32.dropout(1, 0, 0, 0.5f, x.data(), y.data(), n); });
    report("quantize_row", [&] { y[0] = k.quantize_row(x.data(), q.data(), n); });
    report("f32_to_f16", [&] { k.f32_to_f16(x.data(), h.data(), n); });
    report("f32_to_bf16", [&] { k.f32_to_bf16(x.data(), h.data(), n); });
  }
  set_threads(all);
  bench_optimizers(k);
}

}  // namespace drivetrain::test
