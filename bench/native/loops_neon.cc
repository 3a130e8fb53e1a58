#include "register_loops.h"

#if defined(__aarch64__)
#include <arm_neon.h>

namespace drivetrain::bench {
namespace {

double fma(size_t steps) {
  float32x4_t x = vdupq_n_f32(0);
  asm volatile("" : "+w"(x));
  return repeat(x, 8, steps, [&](float32x4_t a) { return vfmaq_f32(a, x, x); });
}

double widening(size_t steps) {
  int16x4_t x = vdup_n_s16(0);
  asm volatile("" : "+w"(x));
  return repeat(vdupq_n_s32(0), 8, steps, [&](int32x4_t a) { return vmlal_s16(a, x, x); });
}

double dot(size_t steps) {
  int8x16_t x = vdupq_n_s8(0);
  asm volatile("" : "+w"(x));
  return repeat(vdupq_n_s32(0), 32, steps, [&](int32x4_t a) { return vdotq_s32(a, x, x); });
}

double divide(size_t steps) {
  float32x4_t x = vdupq_n_f32(2);
  return repeat(x, 4, steps, [&](float32x4_t) {
    asm volatile("" : "+w"(x));
    return vdivq_f32(x, vsqrtq_f32(x));
  });
}

}  // namespace

const RegisterLoops* neon_loops() {
  static const RegisterLoops loops{fma, widening, dot, nullptr, divide};
  return &loops;
}

}  // namespace drivetrain::bench

#else
const drivetrain::bench::RegisterLoops* drivetrain::bench::neon_loops() { return nullptr; }
#endif
