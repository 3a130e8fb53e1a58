// The kernels compiled for arm64, which always has NEON. Everything stands in an anonymous namespace: see
// native/simd/vec_one.h.
#include <math.h>
#include <string.h>
#if defined(__aarch64__)
#include <arm_neon.h>
#endif
#include "kernels.h"
#include "parallel.h"

#if defined(__aarch64__)

namespace drivetrain::neon {
namespace {
#include "../simd/vec_one.h"
#include "../simd/vec_neon.h"
#include "table-inl.h"
constexpr Kernels kTable = make_table("neon");
}  // namespace
}  // namespace drivetrain::neon

const drivetrain::Kernels* drivetrain::neon_kernels() { return &neon::kTable; }

#else

const drivetrain::Kernels* drivetrain::neon_kernels() { return nullptr; }

#endif
