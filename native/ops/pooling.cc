// The largest element and the mean of windows over planes; each plane by itself. attrs: those of Windows.
#include <algorithm>

#include "kernels_of.h"
#include "parallel_chunks.h"
#include "table.h"
#include "windows.h"

namespace drivetrain {
namespace {

// Calls body(plane) for planes that each have so many windows to look at.
template <class Body>
void for_each_plane(const TensorRef& y, const Windows& w, Body body) {
  size_t planes = 1;
  for (int i = 0; i + 2 < y.rank; i++) planes *= static_cast<size_t>(y.shape[i]);
  parallel_chunks(planes, rows_per_chunk(w.in_size() + w.out_size() * w.taps()),
                  [&](size_t first, size_t end) {
                    for (size_t plane = first; plane < end; plane++) body(plane);
                  });
}

// Calls body(first, end, at, step) for each tap of the windows of one row, tap by tap: windows [first, end)
// see the elements at, at + step, ... of the plane.
template <class Body>
void for_each_tap(const Windows& w, ptrdiff_t row, Body body) {
  for (ptrdiff_t ky = 0; ky < w.kernel[0]; ky++) {
    const ptrdiff_t y = w.place(0, row, ky);
    if (y < 0 || y >= w.in[0]) continue;
    for (ptrdiff_t kx = 0; kx < w.kernel[1]; kx++) {
      const ptrdiff_t first = w.first_inside(1, kx);
      body(first, w.end_inside(1, kx), y * w.in[1] + w.place(1, first, kx), w.stride[1]);
    }
  }
}

// operands: x, y, indices (i32, in the plane; -1 for a window that is all padding). The first of equals; NaN
// is the largest.
template <class T>
void max_pool_of(const OpCall& call) {
  const Windows w(call, call[0], call[1]);
  for_each_plane(call[1], w, [&](size_t plane) {
    const T* x = call[0].as<T>() + plane * w.in_size();
    T* y = call[1].as<T>() + plane * w.out_size();
    int32_t* indices = call[2].as<int32_t>() + plane * w.out_size();
    std::fill(y, y + w.out_size(), -static_cast<T>(__builtin_inf()));
    std::fill(indices, indices + w.out_size(), -1);
    for (ptrdiff_t row = 0; row < w.out[0]; row++, y += w.out[1], indices += w.out[1])
      for_each_tap(w, row, [&](ptrdiff_t first, ptrdiff_t end, ptrdiff_t at, ptrdiff_t step) {
        for (ptrdiff_t i = first; i < end; i++, at += step) {
          const bool larger = (x[at] > y[i]) | (indices[i] < 0) | ((x[at] != x[at]) & (y[i] == y[i]));
          y[i] = larger ? x[at] : y[i];
          indices[i] = larger ? static_cast<int32_t>(at) : indices[i];
        }
      });
  });
}

// operands: indices, dy, dx
template <class T>
void max_pool_grad_of(const OpCall& call) {
  const Windows w(call, call[2], call[1]);
  for_each_plane(call[1], w, [&](size_t plane) {
    const int32_t* indices = call[0].as<int32_t>() + plane * w.out_size();
    const T* dy = call[1].as<T>() + plane * w.out_size();
    T* dx = call[2].as<T>() + plane * w.in_size();
    std::fill(dx, dx + w.in_size(), T{0});
    for (size_t i = 0; i < w.out_size(); i++)
      if (indices[i] >= 0) dx[indices[i]] += dy[i];
  });
}

// operands: x, y. What lies in the padding counts as 0.
template <class T>
void avg_pool_of(const OpCall& call) {
  const Windows w(call, call[0], call[1]);
  const T share = T{1} / static_cast<T>(w.taps());
  for_each_plane(call[1], w, [&](size_t plane) {
    const T* x = call[0].as<T>() + plane * w.in_size();
    T* y = call[1].as<T>() + plane * w.out_size();
    std::fill(y, y + w.out_size(), T{0});
    for (ptrdiff_t row = 0; row < w.out[0]; row++, y += w.out[1]) {
      for_each_tap(w, row, [&](ptrdiff_t first, ptrdiff_t end, ptrdiff_t at, ptrdiff_t step) {
        for (ptrdiff_t i = first; i < end; i++, at += step) y[i] += x[at];
      });
      for (ptrdiff_t i = 0; i < w.out[1]; i++) y[i] *= share;
    }
  });
}

// operands: dy, dx
template <class T>
void avg_pool_grad_of(const OpCall& call) {
  const Windows w(call, call[1], call[0]);
  const T share = T{1} / static_cast<T>(w.taps());
  for_each_plane(call[0], w, [&](size_t plane) {
    const T* dy = call[0].as<T>() + plane * w.out_size();
    T* dx = call[1].as<T>() + plane * w.in_size();
    std::fill(dx, dx + w.in_size(), T{0});
    for (ptrdiff_t row = 0; row < w.out[0]; row++, dy += w.out[1])
      for_each_tap(w, row, [&](ptrdiff_t first, ptrdiff_t end, ptrdiff_t at, ptrdiff_t step) {
        for (ptrdiff_t i = first; i < end; i++, at += step) dx[at] += dy[i] * share;
      });
  });
}

}  // namespace

void op_maxPool2d(const OpCall& call) { DRIVETRAIN_FLOAT_DISPATCH(call[0].dtype, max_pool_of, call); }
void op_maxPool2dGrad(const OpCall& call) {
  DRIVETRAIN_FLOAT_DISPATCH(call[1].dtype, max_pool_grad_of, call);
}
void op_avgPool2d(const OpCall& call) { DRIVETRAIN_FLOAT_DISPATCH(call[0].dtype, avg_pool_of, call); }
void op_avgPool2dGrad(const OpCall& call) {
  DRIVETRAIN_FLOAT_DISPATCH(call[0].dtype, avg_pool_grad_of, call);
}

}  // namespace drivetrain
