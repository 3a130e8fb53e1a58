#include "register_loops.h"

#if defined(__AVX2__)
#include <immintrin.h>

namespace drivetrain::bench {
namespace {

double fma(size_t steps) {
  __m256 x = _mm256_setzero_ps();
  asm volatile("" : "+v"(x));
  return repeat(x, 16, steps, [&](__m256 a) { return _mm256_fmadd_ps(x, x, a); });
}

double widening(size_t steps) {
  __m256i x = _mm256_setzero_si256();
  return repeat(x, 32, steps, [&](__m256i a) {
    asm volatile("" : "+v"(x));
    return _mm256_add_epi32(a, _mm256_madd_epi16(x, x));
  });
}

// By its mnemonic: compiled for AVX-VNNI, the whole file would be.
#if defined(DRIVETRAIN_AVX_VNNI)
double dot(size_t steps) {
  const __m256i x = _mm256_setzero_si256();
  return repeat(x, 64, steps, [&](__m256i a) {
    asm("%{vex%} vpdpbusd %1, %1, %0" : "+x"(a) : "x"(x));
    return a;
  });
}
#else
constexpr Loop dot = nullptr;
#endif

double divide(size_t steps) {
  __m256 x = _mm256_set1_ps(2);
  return repeat(x, 8, steps, [&](__m256) {
    asm volatile("" : "+v"(x));
    return _mm256_div_ps(x, _mm256_sqrt_ps(x));
  });
}

}  // namespace

const RegisterLoops* avx2_loops() {
  static const RegisterLoops loops{fma, widening, dot, nullptr, divide};
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? &loops : nullptr;
}

}  // namespace drivetrain::bench

#else
const drivetrain::bench::RegisterLoops* drivetrain::bench::avx2_loops() { return nullptr; }
#endif
