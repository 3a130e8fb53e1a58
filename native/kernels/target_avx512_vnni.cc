// The int8 kernels compiled for x86-64 with AVX-512 and its VNNI; all others are those of avx512. Everything
// stands in an anonymous namespace: see native/simd/vec_one.h.
#include <math.h>
#include <string.h>
#if defined(__AVX512VNNI__)
#include <immintrin.h>
#endif
#include "kernels.h"
#include "parallel.h"

#if defined(__AVX512VNNI__)

namespace drivetrain::avx512_vnni {
namespace {
#include "../simd/vec_one.h"
#include "../simd/vec_avx512.h"
#include "../simd/dot4_avx512_vnni.h"
#include "table-s8-inl.h"
}  // namespace
}  // namespace drivetrain::avx512_vnni

const drivetrain::Kernels* drivetrain::avx512_vnni_kernels() {
  static const Kernels table = avx512_vnni::with_dot4<avx512_vnni::Dot4>(*avx512_kernels(), "avx512-vnni");
  return &table;
}

#else

const drivetrain::Kernels* drivetrain::avx512_vnni_kernels() { return nullptr; }

#endif
