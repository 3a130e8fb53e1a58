// The operands of an optimizer's instruction, which takes all tensors of a parameter group at once:
//   hyperparameters (f64, in the order of the method's options), counters (f64; the first counts steps), then
//   as many tensors of state as the instruction's number says, then the parameters, then their gradients.
// A tensor of state holds the values of all parameters end to end, each from a multiple of kAlignment on.
#pragma once
#include <algorithm>

#include "parallel_chunks.h"
#include "table.h"

namespace drivetrain {

struct OptimizerCall {
  static constexpr size_t kMostStates = 3;
  static constexpr size_t kAlignment = 16;  // elements: a multiple of every vector; lib/optim/flat-state.ts

  explicit OptimizerCall(const OpCall& op)
      : call(op), states(static_cast<size_t>(op.attrs[0])), count((op.count - 2 - states) / 2) {}

  const double* options() const { return call[0].as<double>(); }
  double* counters() const { return call[1].as<double>(); }
  const TensorRef& state(size_t k) const { return call[2 + k]; }
  const TensorRef& param(size_t i) const { return call[2 + states + i]; }
  const TensorRef& grad(size_t i) const { return call[2 + states + count + i]; }

  const OpCall& call;
  const size_t states;
  const size_t count;  // parameters
};

// Calls body(i, first, n, at) for pieces of the parameters: n values of parameter i from `first` on, whose
// state begins at `at`. The parameters are cut as they lie end to end in the state: many small ones make one
// chunk for a thread, a large one makes many.
template <class Body>
void for_each_piece(const OptimizerCall& op, Body body) {
  constexpr size_t kChunk = 32768;
  constexpr int kStartsSlot = 5;  // of scratch
  size_t* const starts = static_cast<size_t*>(scratch(kStartsSlot, (op.count + 1) * sizeof(size_t)));
  starts[0] = 0;
  for (size_t i = 0; i < op.count; i++) {
    constexpr size_t k = OptimizerCall::kAlignment;
    starts[i + 1] = starts[i] + (op.param(i).size() + k - 1) / k * k;
  }
  parallel_chunks(starts[op.count], kChunk, [&](size_t first, size_t end) {
    size_t i = static_cast<size_t>(std::upper_bound(starts, starts + op.count, first) - starts) - 1;
    for (; i < op.count && starts[i] < end; i++) {
      const size_t from = first > starts[i] ? first - starts[i] : 0;
      const size_t to = std::min(end - starts[i], op.param(i).size());
      if (from < to) body(i, from, to - from, starts[i] + from);
    }
  });
}

}  // namespace drivetrain
