// kernels_bench --optimizers: the optimizers against what bounds them, measured in the same run. In cache
// that is the divider (one root and one division a vector); beyond it a stream that reads and writes the same
// bytes.
#if defined(__x86_64__)
#include <immintrin.h>
#endif
#include <cstdio>
#include <cstring>
#include <vector>
#include "../kernels/parallel.h"
#include "../runtime/thread_pool.h"
#include "bench.h"
#include "rate.h"

#if defined(__x86_64__)
#define BENCH_TARGET __attribute__((target("avx2")))
#else
#define BENCH_TARGET
#endif

namespace drivetrain::test {
namespace {

constexpr size_t kChunk = 32768;  // as in native/ops/optimizer_call.h
constexpr size_t kMostWritten = 4;

using Vector = float __attribute__((vector_size(32), aligned(4)));

// x[k] = x[k] / 2 + g for all of x: reads g and each x, writes each x.
template <size_t kWritten>
BENCH_TARGET void stream(const float* g, float* const (&arrays)[kMostWritten], size_t n) {
  float* x[kWritten];
  for (size_t k = 0; k < kWritten; ++k) x[k] = arrays[k];
  for (size_t i = 0; i < n; i += 8) {
    __builtin_prefetch(g + i + 256, 0);
    for (size_t k = 0; k < kWritten; ++k) __builtin_prefetch(x[k] + i + 256, 1);
    for (size_t k = 0; k < kWritten; ++k) {
      Vector& v = *reinterpret_cast<Vector*>(x[k] + i);
      v = v * 0.5f + *reinterpret_cast<const Vector*>(g + i);
    }
  }
}

// Values for which one root and one division were taken, per second, in units of 1e9: nothing but registers.
#if defined(__x86_64__)
__attribute__((target("avx512f"))) double divider_avx512() {
  __m512 x[8];
  for (auto& v : x) v = _mm512_set1_ps(1.5f);
  constexpr int kRounds = 1000;
  const double result = rate(
      16.0 * 8 * kRounds, [&]() __attribute__((target("avx512f"))) {
        for (int r = 0; r < kRounds; ++r)
#pragma GCC unroll 8
          for (auto& v : x) v = _mm512_div_ps(_mm512_set1_ps(1.5f), _mm512_sqrt_ps(v));
        asm volatile("" : : "m"(x) : "memory");
      });
  return result;
}
__attribute__((target("avx2"))) double divider_avx2() {
  __m256 x[8];
  for (auto& v : x) v = _mm256_set1_ps(1.5f);
  constexpr int kRounds = 1000;
  const double result = rate(
      8.0 * 8 * kRounds, [&]() __attribute__((target("avx2"))) {
        for (int r = 0; r < kRounds; ++r)
#pragma GCC unroll 8
          for (auto& v : x) v = _mm256_div_ps(_mm256_set1_ps(1.5f), _mm256_sqrt_ps(v));
        asm volatile("" : : "m"(x) : "memory");
      });
  return result;
}
double divider(const Kernels& k) {
  return !std::strcmp(k.name, "avx512") ? divider_avx512()
         : !std::strcmp(k.name, "avx2") ? divider_avx2()
                                        : 0;
}
#else
double divider(const Kernels&) { return 0; }
#endif

struct Arrays {
  explicit Arrays(size_t count) : n(count) {
    grad.assign(n, 0.1f);
    for (auto& array : written) array.assign(n, 0.5f);
  }
  // Calls kernel(p, g, states, n) for chunks of the arrays.
  template <class F>
  void run(F kernel) {
    struct Context {
      Arrays* a;
      F* kernel;
    } context{this, &kernel};
    parallel_for((n + kChunk - 1) / kChunk,
                 [](void* opaque, size_t i) {
                   Arrays& a = *static_cast<Context*>(opaque)->a;
                   const size_t at = i * kChunk, count = a.n - at < kChunk ? a.n - at : kChunk;
                   float* const x[kMostWritten] = {a.written[0].data() + at, a.written[1].data() + at,
                                                   a.written[2].data() + at, a.written[3].data() + at};
                   (*static_cast<Context*>(opaque)->kernel)(x, a.grad.data() + at, count);
                 },
                 &context);
  }
  size_t n;
  std::vector<float> grad, written[kMostWritten];
};

using Chunk = float* const (&)[kMostWritten];

template <size_t kWritten, class Args>
void compare(Arrays& a, const char* name, OptimizerStep<float, Args> kernel, const Args& args) {
  const double bytes = double(4 * (1 + 2 * kWritten)) * double(a.n);
  const auto ours = [&](Chunk x, const float* g, size_t n) { step_piece(kernel, args, x[0], g, x + 1, n); };
  const auto plain = [](Chunk x, const float* g, size_t n) { stream<kWritten>(g, x, n); };
  double rates[2] = {};
  for (int round = 0; round < 3; ++round) {  // in turn, so that both see the machine in the same state
    const double limit = rate(
        bytes, [&] { a.run(plain); }, 0.1);
    const double got = rate(
        bytes, [&] { a.run(ours); }, 0.1);
    rates[0] = got > rates[0] ? got : rates[0];
    rates[1] = limit > rates[1] ? limit : rates[1];
  }
  std::printf("  %s of %zu: %.1f GB/s, %.2f of the stream's %.1f (%zu bytes a parameter)\n", name, a.n,
              rates[0], rates[0] / rates[1], rates[1], 4 * (1 + 2 * kWritten));
}

void beyond_cache(const OptimizerKernels<float>& k) {
  Arrays a(size_t(32) << 20);
  compare<1>(a, "sgd", k.sgd, {1, 0, 1e-3, 0, 0, false, false});
  compare<2>(a, "sgd with momentum", k.sgd, {1, 0, 1e-3, 0.9, 0, false, false});
  compare<2>(a, "lion", k.lion, {1, 1, 1e-3, 0.9, 0.99});
  compare<2>(a, "adagrad", k.adagrad, {1, 0, 1e-3, 1e-10});
  compare<2>(a, "rmsprop", k.rmsprop, {1, 0, 1e-3, 0.99, 1e-8, 0, false});
  compare<3>(a, "rmsprop with momentum", k.rmsprop, {1, 0, 1e-3, 0.99, 1e-8, 0.9, false});
  compare<4>(a, "rmsprop centred with momentum", k.rmsprop, {1, 0, 1e-3, 0.99, 1e-8, 0.9, true});
  const AdamArgs adam{1, 0, 0.9, 0.999, 1, 1e-3, 0, 1, 1e-8, false, true};
  AdamArgs amsgrad = adam, nadam = adam;
  amsgrad.amsgrad = true;
  nadam.step_g = 1e-3;
  compare<3>(a, "adamw", k.adam, adam);
  compare<4>(a, "adamw, amsgrad", k.adam, amsgrad);
  compare<3>(a, "nadam", k.adam, nadam);
  compare<3>(a, "adabelief", k.adabelief, adam);
  compare<3>(a, "adamax", k.adamax, {1, 0, 0.9, 0.999, 1e-3, 1e-8});
  compare<3>(a, "adadelta", k.adadelta, {1, 0, 1, 0.9, 1e-6});
}

// Beside f32 AdamW in values per second: 16 bytes a parameter against 28.
void eight_bit(const Kernels& k) {
  Arrays a(size_t(32) << 20);
  std::vector<uint8_t> codes[] = {std::vector<uint8_t>(a.n, 200), std::vector<uint8_t>(a.n, 100)};
  std::vector<float> scales[] = {std::vector<float>(a.n / kEightBitBlock, 0.1f),
                                 std::vector<float>(a.n / kEightBitBlock, 0.1f)};
  const AdamArgs args{1, 0, 0.9, 0.999, 1, 1e-3, 0, 1, 1e-8, false, true};
  const auto eight = [&](Chunk x, const float* g, size_t n) {
    const size_t at = size_t(x[0] - a.written[0].data());
    k.adam_eight_bit(args, x[0], g,
                     {codes[0].data() + at, codes[1].data() + at, scales[0].data() + at / kEightBitBlock,
                      scales[1].data() + at / kEightBitBlock},
                     n);
  };
  const auto full = [&](Chunk x, const float* g, size_t n) {
    step_piece(k.f32.optim.adam, args, x[0], g, x + 1, n);
  };
  const double values = double(a.n), in_full = rate(values, [&] { a.run(full); });
  const double in_eight = rate(values, [&] { a.run(eight); });
  std::printf("  adamw of 8 bits: %.2f G values/s, %.2f of f32's %.2f\n", in_eight, in_eight / in_full,
              in_full);
}

void in_cache(const Kernels& k) {
  constexpr size_t n = 2048;
  Arrays a(n);
  float* const states[] = {a.written[1].data(), a.written[2].data()};
  const AdamArgs args{1, 0, 0.9, 0.999, 1, 1e-3, 0, 1, 1e-8, false, true};
  const double limit = divider(k);
  const double values =
      rate(n, [&] { step_piece(k.f32.optim.adam, args, a.written[0].data(), a.grad.data(), states, n); });
  std::printf("  adamw of %zu, in cache: %.2f G values/s (%.1f GB/s), %.2f of the divider's %.2f\n", n,
              values, values * 28, values / limit, limit);
}

}  // namespace

void bench_optimizers(const Kernels& k) {
  const int all = threads();
  for (int count = 1; count <= all; count += all > 1 ? all - 1 : 1) {
    set_threads(count);
    std::printf("%s, %d threads\n", k.name, count);
    if (count == 1) in_cache(k);
    beyond_cache(k.f32.optim);
    eight_bit(k);
  }
  set_threads(all);
}

}  // namespace drivetrain::test
