// Reductions of a contiguous tensor seen as [outer, reduced, inner]; attrs: [outer, reduced, inner]. Ranges
// are cut by shape alone and partial results are combined in order, so that the bits do not depend on the
// number of threads.
#include "extent.h"
#include "kernels_of.h"
#include "parallel_chunks.h"
#include "table.h"

namespace drivetrain {
namespace {

constexpr size_t kPartial = 16384;  // elements behind one partial result
constexpr int kPartialsSlot = 4;    // of scratch; kernels use the lower ones

struct Dimensions {
  size_t outer, reduced, inner;
  explicit Dimensions(const OpCall& call)
      : outer(static_cast<size_t>(call.attrs[0])),
        reduced(static_cast<size_t>(call.attrs[1])),
        inner(static_cast<size_t>(call.attrs[2])) {}
};

// Reduces one long row by partial results, themselves reduced by the same kernel.
template <class T, class Kernel>
T reduce_row(const T* x, size_t n, Kernel kernel) {
  if (n <= kPartial) return kernel(x, n);
  const size_t count = (n + kPartial - 1) / kPartial;
  T* partials = static_cast<T*>(scratch(kPartialsSlot, count * sizeof(T)));
  parallel_chunks(n, kPartial, [&](size_t first, size_t end) {
    partials[first / kPartial] = kernel(x + first, end - first);
  });
  return kernel(partials, count);
}

template <class T, class RowKernel, class ColumnKernel>
void reduce(const OpCall& call, RowKernel row, ColumnKernel columns) {
  const Dimensions d(call);
  const T* x = call[0].as<T>();
  T* out = call[1].as<T>();
  if (d.inner == 1 && d.outer == 1) {
    out[0] = reduce_row(x, d.reduced, row);
  } else if (d.inner == 1) {
    parallel_chunks(d.outer, rows_per_chunk(d.reduced), [&](size_t first, size_t end) {
      for (size_t i = first; i < end; i++) out[i] = row(x + i * d.reduced, d.reduced);
    });
  } else {
    constexpr size_t kColumns = 256;
    const size_t blocks = (d.inner + kColumns - 1) / kColumns;
    parallel_chunks(d.outer * blocks, rows_per_chunk(d.reduced * kColumns), [&](size_t first, size_t end) {
      for (size_t i = first; i < end; i++) {
        const size_t o = i / blocks, column = i % blocks * kColumns;
        const size_t width = d.inner - column < kColumns ? d.inner - column : kColumns;
        columns(x + o * d.reduced * d.inner + column, d.reduced, d.inner, out + o * d.inner + column, width);
      }
    });
  }
}

template <class T>
void sum_of(const OpCall& call) {
  reduce<T>(call, kernels_of<T>().sum, kernels_of<T>().sum_rows);
}

template <class T>
void max_of(const OpCall& call) {
  reduce<T>(call, kernels_of<T>().max, kernels_of<T>().max_rows);
}

template <class T>
void argmax_of(const OpCall& call) {
  const Dimensions d(call);
  const T* x = call[0].as<T>();
  int64_t* out = call[1].as<int64_t>();
  parallel_chunks(d.outer, rows_per_chunk(d.reduced), [&](size_t first, size_t end) {
    for (size_t i = first; i < end; i++) out[i] = kernels_of<T>().argmax(x + i * d.reduced, d.reduced);
  });
}

// operands: any number of tensors; then their common L2 norm, the largest |x| (scalars of T) and how many
// elements are not finite (an i64 scalar). One pass, accumulated in double, tensor by tensor.
template <class T>
void norms_of(const OpCall& call) {
  const size_t tensors = call.count - 3;
  const Extent all = extent_in_order(call.operands, tensors, [&](size_t i, size_t first, size_t n) {
    return kernels_of<T>().extent(call[i].as<T>() + first, n);
  });
  *call[tensors].as<T>() = static_cast<T>(norm_of(all, call.operands, tensors));
  *call[tensors + 1].as<T>() = static_cast<T>(all.largest);
  *call[tensors + 2].as<int64_t>() = all.not_finite;
}

}  // namespace

void op_sum(const OpCall& call) { DRIVETRAIN_FLOAT_DISPATCH(call[0].dtype, sum_of, call); }
void op_max(const OpCall& call) { DRIVETRAIN_FLOAT_DISPATCH(call[0].dtype, max_of, call); }
void op_argmax(const OpCall& call) { DRIVETRAIN_FLOAT_DISPATCH(call[0].dtype, argmax_of, call); }
void op_norms(const OpCall& call) { DRIVETRAIN_FLOAT_DISPATCH(call[0].dtype, norms_of, call); }

}  // namespace drivetrain
