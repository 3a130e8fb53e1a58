// Adam on the rows that a gradient names. The operands of native/ops/optimizer_call.h, where a gradient is
// the values of the rows [n, ...], and then the rows' indices [n] of each parameter, which are all inside.
#include <cmath>
#include <cstring>

#include "indices.h"
#include "kernels_of.h"
#include "optimizer_call.h"

namespace drivetrain {
namespace {

struct Entry {
  size_t row, place;  // the row of the parameter, and which one of the gradient's
};

// The gradient's rows in the order of the parameter's, those of one row in their own order.
void sort_entries(const TensorRef& indices, size_t count, Entry* entries) {
  for (size_t i = 0; i < count; i++) entries[i] = {static_cast<size_t>(index_at(indices, i)), i};
  std::sort(entries, entries + count, [](const Entry& a, const Entry& b) {
    return a.row != b.row ? a.row < b.row : a.place < b.place;
  });
}

// Options: lr, beta1, beta2, eps, maximize. State: m, v.
template <class T>
void sparse_adam_of(const OptimizerCall& op, const TensorRef* indices) {
  const double* h = op.options();
  const double t = op.counters()[0] + 1;
  const AdamArgs args{.scale = op.scale(h[4]),
                      .decay = 0,
                      .beta1 = h[1],
                      .beta2 = h[2],
                      .keep = 1,
                      .step_m = h[0] * std::sqrt(1 - std::pow(h[2], t)) / (1 - std::pow(h[1], t)),
                      .step_g = 0,
                      .root = 1,
                      .eps = h[3],
                      .amsgrad = false,
                      .adaptive = true};
  const FloatKernels<T>& kernels = kernels_of<T>();
  const ReadyGradients<T> gradients(op);
  const size_t* const starts = state_starts(op);
  for (size_t i = 0; i < op.count; i++) {
    const size_t n = indices[i].size(), size = op.param(i).size();
    if (n == 0 || size == 0) continue;
    const size_t rows = static_cast<size_t>(op.param(i).shape[0]), width = size / rows;
    Entry* const entries = static_cast<Entry*>(scratch(4, n * sizeof(Entry)));
    sort_entries(indices[i], n, entries);
    // Where each row's entries begin, and the end.
    size_t* const first_of = static_cast<size_t*>(scratch(6, (n + 1) * sizeof(size_t)));
    size_t named = 0;
    for (size_t k = 0; k < n; k++)
      if (k == 0 || entries[k].row != entries[k - 1].row) first_of[named++] = k;
    first_of[named] = n;
    parallel_chunks(named, rows_per_chunk(width), [&](size_t first, size_t end) {
      T* const sum = static_cast<T*>(scratch(7, width * sizeof(T)));
      for (size_t r = first; r < end; r++) {
        const auto values = [&](size_t k) { return gradients.of(i) + entries[k].place * width; };
        const T* grad = values(first_of[r]);
        for (size_t k = first_of[r] + 1; k < first_of[r + 1]; k++) {
          kernels.binary[kAdd](grad, 1, values(k), 1, sum, width);
          grad = sum;
        }
        const size_t at = entries[first_of[r]].row * width, place = starts[i] + at;
        T* const state[] = {op.state(0).as<T>() + place, op.state(1).as<T>() + place};
        step_piece(kernels.optim.adam, args, op.param(i).as<T>() + at, grad, state, width);
      }
    });
  }
  op.counters()[0] = t;
}

}  // namespace

// operands: indices, and the same once more where all are below the limit; attrs: [limit]
void op_checkIndices(const OpCall& call) {
  const size_t limit = static_cast<size_t>(call.attrs[0]), n = call[0].size();
  FirstOutOfRange stranger;
  for (size_t i = 0; i < n; i++)
    if (!is_below(index_at(call[0], i), limit)) stranger.note(i);
  stranger.refuse(call, call[0]);
  if (n > 0) std::memcpy(call[1].data, call[0].data, n * bytes_of(call[0].dtype));
}

void op_sparseAdam(const OpCall& call) {
  const size_t parameters = static_cast<size_t>(call.attrs[1]);
  const OpCall dense{call.operands, call.count - parameters, call.attrs, call.attr_count};
  const OptimizerCall op(dense);
  if (op.control().skip != 0) return;
  const TensorRef* const indices = call.operands + dense.count;
  op.param(0).dtype == DType::kF64 ? sparse_adam_of<double>(op, indices) : sparse_adam_of<float>(op, indices);
}

}  // namespace drivetrain
