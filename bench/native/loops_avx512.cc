#include "register_loops.h"

#if defined(__AVX512BW__)
#include <immintrin.h>
#include <cstdint>

namespace drivetrain::bench {
namespace {

double fma(size_t steps) {
  __m512 x = _mm512_setzero_ps();
  asm volatile("" : "+v"(x));
  return repeat(x, 32, steps, [&](__m512 a) { return _mm512_fmadd_ps(x, x, a); });
}

double widening(size_t steps) {
  __m512i x = _mm512_setzero_si512();
  return repeat(x, 64, steps, [&](__m512i a) {
    asm volatile("" : "+v"(x));
    return _mm512_add_epi32(a, _mm512_madd_epi16(x, x));
  });
}

// By its mnemonic: compiled for AVX512-VNNI, the whole file would be.
double dot(size_t steps) {
  const __m512i x = _mm512_setzero_si512();
  return repeat(x, 128, steps, [&](__m512i a) {
    asm("vpdpbusd %1, %1, %0" : "+v"(a) : "v"(x));
    return a;
  });
}

constexpr struct alignas(64) {
  uint8_t palette = 1, rest[15] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
} kTileShape;

double tiles(size_t steps) {
  asm volatile("ldtilecfg %0" : : "m"(kTileShape));
  for (size_t i = 0; i < steps; ++i)
    asm volatile(
        "tdpbusd %tmm6, %tmm4, %tmm0\n tdpbusd %tmm7, %tmm4, %tmm1\n"
        "tdpbusd %tmm6, %tmm5, %tmm2\n tdpbusd %tmm7, %tmm5, %tmm3");
  asm volatile("tilerelease");
  return 4.0 * 16 * 16 * 64 * 2 * static_cast<double>(steps);
}

double divide(size_t steps) {
  __m512 x = _mm512_set1_ps(2);
  return repeat(x, 16, steps, [&](__m512) {
    asm volatile("" : "+v"(x));
    return _mm512_div_ps(x, _mm512_sqrt_ps(x));
  });
}

}  // namespace

const RegisterLoops* avx512_loops() {
  static const RegisterLoops loops{fma, widening, dot, tiles, divide};
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") ? &loops : nullptr;
}

}  // namespace drivetrain::bench

#else
const drivetrain::bench::RegisterLoops* drivetrain::bench::avx512_loops() { return nullptr; }
#endif
