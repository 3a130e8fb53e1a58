// The int8 kernels compiled for x86-64 with AVX2 and AVX-VNNI; all others are those of avx2. Everything
// stands in an anonymous namespace: see native/simd/vec_one.h.
#include <math.h>
#include <string.h>
#if defined(__AVXVNNI__)
#include <immintrin.h>
#endif
#include "kernels.h"
#include "parallel.h"

#if defined(__AVXVNNI__)

namespace drivetrain::avx2_vnni {
namespace {
#include "../simd/vec_one.h"
#include "../simd/vec_avx2.h"
#include "../simd/dot4_avx_vnni.h"
#include "table-s8-inl.h"
}  // namespace
}  // namespace drivetrain::avx2_vnni

const drivetrain::Kernels* drivetrain::avx2_vnni_kernels() {
  static const Kernels table = avx2_vnni::with_dot4<avx2_vnni::Dot4>(*avx2_kernels(), "avx2-vnni");
  return &table;
}

#else

const drivetrain::Kernels* drivetrain::avx2_vnni_kernels() { return nullptr; }

#endif
