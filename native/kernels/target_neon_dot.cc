// The int8 kernels compiled for arm64 with the dot product of bytes; all others are those of neon. Everything
// stands in an anonymous namespace: see native/simd/vec_one.h.
#include <math.h>
#include <string.h>
#if defined(__ARM_FEATURE_DOTPROD)
#include <arm_neon.h>
#endif
#include "kernels.h"
#include "parallel.h"

#if defined(__ARM_FEATURE_DOTPROD)

namespace drivetrain::neon_dot {
namespace {
#include "../simd/vec_one.h"
#include "../simd/vec_neon.h"
#include "../simd/dot4_neon.h"
#include "table-s8-inl.h"
}  // namespace
}  // namespace drivetrain::neon_dot

const drivetrain::Kernels* drivetrain::neon_dot_kernels() {
  static const Kernels table = neon_dot::with_dot4<neon_dot::Dot4>(*neon_kernels(), "neon-dot");
  return &table;
}

#else

const drivetrain::Kernels* drivetrain::neon_dot_kernels() { return nullptr; }

#endif
