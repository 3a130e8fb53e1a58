// The kernels compiled for x86-64 with AVX-512 F, BW, VL and DQ. Everything stands in an anonymous namespace:
// see native/simd/vec_one.h.
#include <math.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif
#include "kernels.h"
#include "parallel.h"

#if defined(__x86_64__)

namespace drivetrain::avx512 {
namespace {
#include "../simd/vec_one.h"
#include "../simd/vec_avx512.h"
#include "table-inl.h"
constexpr Kernels kTable = make_table("avx512");
}  // namespace
}  // namespace drivetrain::avx512

const drivetrain::Kernels* drivetrain::avx512_kernels() { return &avx512::kTable; }

#else

const drivetrain::Kernels* drivetrain::avx512_kernels() { return nullptr; }

#endif
