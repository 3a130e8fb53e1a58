// The kernels compiled for x86-64 with AVX2, FMA and F16C. Everything stands in an anonymous namespace: see
// native/simd/vec_one.h.
#include <math.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif
#include "kernels.h"
#include "parallel.h"

#if defined(__x86_64__)

namespace drivetrain::avx2 {
namespace {
#include "../simd/vec_one.h"
#include "../simd/vec_avx2.h"
#include "table-inl.h"
constexpr Kernels kTable = make_table("avx2");
}  // namespace
}  // namespace drivetrain::avx2

const drivetrain::Kernels* drivetrain::avx2_kernels() { return &avx2::kTable; }

#else

const drivetrain::Kernels* drivetrain::avx2_kernels() { return nullptr; }

#endif
