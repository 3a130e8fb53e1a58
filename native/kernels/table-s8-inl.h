// The int8 kernels of a target whose other kernels are another's.
#include "math-inl.h"
#include "elementwise-inl.h"
#include "gemm-cut-inl.h"
#include "quantize-inl.h"
#include "gemm-s8-inl.h"
#include "gemm-s8-row-inl.h"

template <class D>
Kernels with_dot4(const Kernels& base, const char* name) {
  Kernels table = base;
  table.name = name;
  table.quantize_row = quantize_row;
  table.quantize_linear = quantize_linear;
  table.dequantize = dequantize;
  table.packed_s8_bytes = packed_s8_bytes<D>;
  table.pack_s8 = pack_s8<D>;
  table.gemm_s8 = gemm_s8<D>;
  return table;
}
