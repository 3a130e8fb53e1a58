// What a step makes of its gradients: lib/optim/gradient-control.ts.
#pragma once
#include <cmath>
#include <limits>

#include "kernels_of.h"
#include "tensor_ref.h"

namespace drivetrain {

// Numbers that the instruction gradientControl finds and the steps of the optimizers read.
struct GradientControl {
  double scale;  // multiplies gradients
  double clip;   // bounds what comes of that, on both sides; infinity: nothing
  double limit;  // gradients that are not within it, as they came, count as 0; 0: all count
  double skip;   // 1: the step does nothing
  double due;    // 0: no step was asked for, and what follows is of the one before
  // What was found: whether gradients were looked at, theirs over the scale of the loss, how many are not
  // finite, and whether the step was left out for that.
  double looked, norm, largest, not_finite, left_out;
  double skipped, faulty;  // how many steps were left out so far, or had gradients beyond the limit
};

// Whether each gradient has to be looked at by itself before it can be used.
inline bool is_cleaned(const GradientControl& control) {
  return control.clip < HUGE_VAL || control.limit != 0;
}

constexpr size_t kGradientBlock = 1024;

// Makes 0 of what is not within the limit: n values, at most kGradientBlock; `out` may be x.
template <class T>
void drop_beyond(double limit, const T* x, T* out, size_t n) {
  const FloatKernels<T>& k = kernels_of<T>();
  constexpr T kLargest = std::numeric_limits<T>::max();
  const T bound = limit < kLargest ? static_cast<T>(limit) : kLargest, zero = 0;
  T size[kGradientBlock];
  uint8_t beyond[kGradientBlock];
  k.unary[kAbs](x, size, n);
  // Twice, since NaN is on neither side of the bound.
  k.compare[kGreater](size, 1, &bound, 0, beyond, n);
  k.where(beyond, 1, &zero, 0, x, 1, out, n);
  k.compare[kEqual](size, 1, size, 1, beyond, n);
  k.where(beyond, 1, out, 1, &zero, 0, out, n);
}

// Gradients as T: n values from `first` on, at most kGradientBlock.
template <class T>
void load_gradient(const TensorRef& gradient, size_t first, size_t n, T* out) {
  const T* from = gradient.as<T>() + first;
  for (size_t i = 0; i < n; i++) out[i] = from[i];
}
template <>
inline void load_gradient<float>(const TensorRef& gradient, size_t first, size_t n, float* out) {
  const Kernels& k = *selected_kernels();
  if (gradient.dtype == DType::kF16) return k.f16_to_f32(gradient.as<uint16_t>() + first, out, n);
  if (gradient.dtype == DType::kBF16) return k.bf16_to_f32(gradient.as<uint16_t>() + first, out, n);
  const float* from = gradient.as<float>() + first;
  for (size_t i = 0; i < n; i++) out[i] = from[i];
}

// The same, as a step takes them: cleaned, scaled and clipped.
template <class T>
void load_cleaned(const GradientControl& control, const TensorRef& gradient, size_t first, size_t n, T* out) {
  const FloatKernels<T>& k = kernels_of<T>();
  load_gradient<T>(gradient, first, n, out);
  if (control.limit != 0) drop_beyond(control.limit, out, out, n);
  const T scale = static_cast<T>(control.scale), high = static_cast<T>(control.clip), low = -high;
  k.binary[kMul](out, 1, &scale, 0, out, n);
  k.binary[kMinimum](out, 1, &high, 0, out, n);
  k.binary[kMaximum](out, 1, &low, 0, out, n);
}

// Whether gradients can be used where they lie, up to the scale.
template <class T>
bool is_in_place(const GradientControl& control, const TensorRef& gradient) {
  return !is_cleaned(control) && bytes_of(gradient.dtype) == sizeof(T);
}

// Calls body(values, first, n) for n gradients from `first` on: where they lie if they can be used as they
// are, up to the scale, else block by block.
template <class T, class Body>
void with_gradient(const GradientControl& control, const TensorRef& gradient, size_t first, size_t n,
                   Body body) {
  if (is_in_place<T>(control, gradient)) return body(gradient.as<T>() + first, first, n);
  const bool cleaned = is_cleaned(control);
  T block[kGradientBlock];
  for (size_t end = first + n; first < end; first += kGradientBlock) {
    const size_t count = end - first < kGradientBlock ? end - first : kGradientBlock;
    if (cleaned)
      load_cleaned<T>(control, gradient, first, count, block);
    else
      load_gradient<T>(gradient, first, count, block);
    body(block, first, count);
  }
}

}  // namespace drivetrain
