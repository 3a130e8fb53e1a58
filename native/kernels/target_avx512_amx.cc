// The int8 kernels compiled for x86-64 with AVX-512, its VNNI and AMX; all others are those of avx512.
// Everything stands in an anonymous namespace: see native/simd/vec_one.h.
#include <math.h>
#include <string.h>
#if defined(__AMX_INT8__)
#include <immintrin.h>
#endif
#include "kernels.h"
#include "parallel.h"

#if defined(__AMX_INT8__)

namespace drivetrain::avx512_amx {
namespace {
#include "../simd/vec_one.h"
#include "../simd/vec_avx512.h"
#include "../simd/dot4_avx512_vnni.h"
#include "../simd/tile_shape_amx.h"
#include "../simd/tiles_amx.h"
#include "table-s8-inl.h"
}  // namespace
}  // namespace drivetrain::avx512_amx

const drivetrain::Kernels* drivetrain::avx512_amx_kernels() {
  static const Kernels table = avx512_amx::with_dot4<avx512_amx::Dot4Tiles>(*avx512_kernels(), "avx512-amx");
  return &table;
}

#else

const drivetrain::Kernels* drivetrain::avx512_amx_kernels() { return nullptr; }

#endif
