#include "peak_s8.h"
#include <cstdint>
#include <cstring>
#include "../kernels/parallel.h"
#include "rate.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace drivetrain::test {
namespace {

#include "../simd/tile_shape_amx.h"

constexpr int kSteps = 1 << 14;

#define REPEAT12(op) op(0) op(1) op(2) op(3) op(4) op(5) op(6) op(7) op(8) op(9) op(10) op(11)

// Twelve sums, as a tile of 6 x 2 has; assembly, since the products never change and a compiler would keep
// them.
#if defined(__x86_64__)
#define WIDENED(v, n) "vpmaddwd %%" v "13, %%" v "12, %%" v "14\n vpaddd %%" v "14, %%" v #n ", %%" v #n "\n"
#define WIDENED_YMM(n) WIDENED("ymm", n)
#define WIDENED_ZMM(n) WIDENED("zmm", n)
#define BYTES_YMM(n) "%{vex%} vpdpbusd %%ymm13, %%ymm12, %%ymm" #n "\n"
#define BYTES_ZMM(n) "vpdpbusd %%zmm13, %%zmm12, %%zmm" #n "\n"
#define LOOP(op)                                                                                     \
  for (int i = 0; i < kSteps; ++i)                                                                   \
  asm volatile(REPEAT12(op)::                                                                        \
                   : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", \
                     "xmm10", "xmm11", "xmm12", "xmm13", "xmm14")
void avx2() {
  LOOP(WIDENED_YMM);
  asm volatile("vzeroupper");
}
void avx512() {
  LOOP(WIDENED_ZMM);
  asm volatile("vzeroupper");
}
void avx2_vnni() {
  LOOP(BYTES_YMM);
  asm volatile("vzeroupper");
}
void avx512_vnni() {
  LOOP(BYTES_ZMM);
  asm volatile("vzeroupper");
}
#if __has_include(<amxint8intrin.h>)
// Four sums of tiles, as a tile of 2 x 2 registers has.
__attribute__((target("amx-tile,amx-int8"))) void avx512_amx() {
  _tile_loadconfig(&kTileShape);
  for (int i = 0; i < kSteps; ++i) {
    _tile_dpbusd(0, 4, 6);
    _tile_dpbusd(1, 4, 7);
    _tile_dpbusd(2, 5, 6);
    _tile_dpbusd(3, 5, 7);
  }
  _tile_release();
}
#else
void avx512_amx() {}
#endif
#endif

}  // namespace

double peak_s8([[maybe_unused]] const char* isa) {
  [[maybe_unused]] const auto gops = [](double macs, void (*loop)()) {
    return rate(2 * 12 * macs * kSteps, loop);
  };
#if defined(__x86_64__)
  if (!std::strcmp(isa, "avx2")) return gops(16, avx2);
  if (!std::strcmp(isa, "avx512")) return gops(32, avx512);
  if (!std::strcmp(isa, "avx2-vnni")) return gops(32, avx2_vnni);
  if (!std::strcmp(isa, "avx512-vnni")) return gops(64, avx512_vnni);
  if (!std::strcmp(isa, "avx512-amx")) return gops(4 * 16 * 16 * 64 / 12.0, avx512_amx);
#endif
  return 0;
}

void read_stream(const void* at, double bytes) {
  struct Halves {
    const char* at;
    size_t bytes;
  } halves{static_cast<const char*>(at), size_t(bytes) / 2};
  parallel_for(
      2,
      [](void* context, size_t half) {
        const Halves& h = *static_cast<const Halves*>(context);
        const char *p = h.at + half * h.bytes, *end = p + h.bytes;
#if defined(__x86_64__)
        for (; p + 256 <= end; p += 256)
          asm volatile(
              "vmovups (%0), %%ymm0\n vmovups 32(%0), %%ymm1\n vmovups 64(%0), %%ymm2\n vmovups 96(%0), "
              "%%ymm3\n"
              "vmovups 128(%0), %%ymm4\n vmovups 160(%0), %%ymm5\n vmovups 192(%0), %%ymm6\n"
              "vmovups 224(%0), %%ymm7"
              :
              : "r"(p)
              : "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7");
        asm volatile("vzeroupper");
#else
        for (; p < end; p += 8) asm volatile("" : : "r"(*reinterpret_cast<const uint64_t*>(p)));
#endif
      },
      &halves);
}

}  // namespace drivetrain::test
