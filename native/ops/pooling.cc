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

// Calls body(index in the plane) for the taps of a window that are inside, row by row.
template <class Body>
void for_each_tap(const Windows& w, size_t window, Body body) {
  const ptrdiff_t at[] = {static_cast<ptrdiff_t>(window) / w.out[1],
                          static_cast<ptrdiff_t>(window) % w.out[1]};
  for (ptrdiff_t ky = 0; ky < w.kernel[0]; ky++) {
    const ptrdiff_t y = w.place(0, at[0], ky);
    if (y < 0 || y >= w.in[0]) continue;
    for (ptrdiff_t kx = 0; kx < w.kernel[1]; kx++) {
      const ptrdiff_t x = w.place(1, at[1], kx);
      if (x >= 0 && x < w.in[1]) body(y * w.in[1] + x);
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
    for (size_t i = 0; i < w.out_size(); i++) {
      T largest = -static_cast<T>(__builtin_inf());
      ptrdiff_t index = -1;
      for_each_tap(w, i, [&](ptrdiff_t at) {
        if (index >= 0 && !(x[at] > largest) && (x[at] == x[at] || largest != largest)) return;
        largest = x[at];
        index = at;
      });
      y[i] = largest;
      indices[i] = static_cast<int32_t>(index);
    }
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
    for (size_t i = 0; i < w.out_size(); i++) {
      T sum = 0;
      for_each_tap(w, i, [&](ptrdiff_t at) { sum += x[at]; });
      y[i] = sum * share;
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
    for (size_t i = 0; i < w.out_size(); i++)
      for_each_tap(w, i, [&](ptrdiff_t at) { dx[at] += dy[i] * share; });
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
