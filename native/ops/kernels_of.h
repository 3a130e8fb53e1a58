// The selected table's kernels for an element type.
#pragma once
#include "../kernels/kernels.h"
#include "../runtime/cpu.h"

namespace drivetrain {

template <class T>
const FloatKernels<T>& kernels_of();
template <>
inline const FloatKernels<float>& kernels_of<float>() {
  return selected_kernels()->f32;
}
template <>
inline const FloatKernels<double>& kernels_of<double>() {
  return selected_kernels()->f64;
}

}  // namespace drivetrain

// Calls fn<float>(call) or fn<double>(call) by the dtype of an operand.
#define DRIVETRAIN_FLOAT_DISPATCH(dtype, fn, ...) \
  ((dtype) == DType::kF64 ? fn<double>(__VA_ARGS__) : fn<float>(__VA_ARGS__))
