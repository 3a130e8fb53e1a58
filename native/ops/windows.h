// Windows that slide over planes, as convolutions and pooling have them.
#pragma once
#include "tensor_ref.h"

namespace drivetrain {

// attrs: [kernel, stride, padding, dilation], each for rows and columns. Planes are the last two dimensions.
struct Windows {
  ptrdiff_t kernel[2], stride[2], padding[2], dilation[2];
  ptrdiff_t in[2], out[2];

  Windows(const OpCall& call, const TensorRef& x, const TensorRef& y) {
    ptrdiff_t* const fields[] = {kernel, stride, padding, dilation};
    for (int f = 0; f < 4; f++)
      for (int d = 0; d < 2; d++) fields[f][d] = static_cast<ptrdiff_t>(call.attrs[2 * f + d]);
    for (int d = 0; d < 2; d++) {
      in[d] = x.shape[x.rank - 2 + d];
      out[d] = y.shape[y.rank - 2 + d];
    }
  }

  size_t taps() const { return static_cast<size_t>(kernel[0] * kernel[1]); }
  size_t in_size() const { return static_cast<size_t>(in[0] * in[1]); }
  size_t out_size() const { return static_cast<size_t>(out[0] * out[1]); }
  // Where tap k of window `at` lies along dimension d; in the padding where it is outside of [0, in[d]).
  ptrdiff_t place(int d, ptrdiff_t at, ptrdiff_t k) const {
    return at * stride[d] - padding[d] + k * dilation[d];
  }
  // The windows [first, end) whose tap k lies inside along dimension d.
  ptrdiff_t first_inside(int d, ptrdiff_t k) const {
    const ptrdiff_t before = padding[d] - k * dilation[d];
    return before <= 0 ? 0 : (before + stride[d] - 1) / stride[d];
  }
  ptrdiff_t end_inside(int d, ptrdiff_t k) const {
    const ptrdiff_t room = in[d] - 1 + padding[d] - k * dilation[d];
    const ptrdiff_t end = room < 0 ? 0 : room / stride[d] + 1;
    return end < out[d] ? end : out[d];
  }
};

}  // namespace drivetrain
