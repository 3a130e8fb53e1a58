// The operands of an optimizer's instruction, which takes all tensors of a parameter group at once:
//   hyperparameters (f64, in the order of the method's options), counters (f64; the first counts steps), what
//   to make of the gradients (GradientControl), then as many tensors of state as the instruction's number
//   says, then the parameters, then their gradients.
// A tensor of state holds the values of all parameters end to end, each from a multiple of kAlignment on
// (of a block with moments of eight bits).
#pragma once
#include <algorithm>
#include <memory>

#include "gradient_control.h"
#include "parallel_chunks.h"
#include "pieces.h"
#include "table.h"

namespace drivetrain {

struct OptimizerCall {
  static constexpr size_t kFixed = 3;
  static constexpr size_t kMostStates = 3;
  static constexpr size_t kAlignment = 16;  // elements: a multiple of every vector; lib/optim/flat-state.ts

  explicit OptimizerCall(const OpCall& op)
      : call(op), states(static_cast<size_t>(op.attrs[0])), count((op.count - kFixed - states) / 2) {}

  const double* options() const { return call[0].as<double>(); }
  double* counters() const { return call[1].as<double>(); }
  const GradientControl& control() const { return *call[2].as<GradientControl>(); }
  const TensorRef& state(size_t k) const { return call[kFixed + k]; }
  const TensorRef& param(size_t i) const { return call[kFixed + states + i]; }
  const TensorRef& grad(size_t i) const { return call[kFixed + states + count + i]; }
  // What multiplies the gradients that with_gradient gives.
  double scale(double maximize) const {
    const double own = is_cleaned(control()) ? 1 : control().scale;
    return maximize != 0 ? -own : own;
  }

  const OpCall& call;
  const size_t states;
  const size_t count;  // parameters
};

// Where each parameter begins if it takes size_of(parameter) places, and the end: count + 1 numbers in
// scratch.
template <class SizeOf>
const size_t* starts_of(const OptimizerCall& op, int scratch_slot, SizeOf size_of) {
  size_t* const starts = static_cast<size_t*>(scratch(scratch_slot, (op.count + 1) * sizeof(size_t)));
  starts[0] = 0;
  for (size_t i = 0; i < op.count; i++) starts[i + 1] = starts[i] + size_of(op.param(i).size());
  return starts;
}

// Where the state of each parameter begins.
template <size_t kAlignment = OptimizerCall::kAlignment>
const size_t* state_starts(const OptimizerCall& op) {
  return starts_of(op, 5, [](size_t size) { return (size + kAlignment - 1) / kAlignment * kAlignment; });
}

// The parameter at a place.
inline size_t parameter_at(const OptimizerCall& op, const size_t* starts, size_t place) {
  return static_cast<size_t>(std::upper_bound(starts, starts + op.count, place) - starts) - 1;
}

// Calls body(each) for chunks of the parameters, in parallel; each(f) calls f(i, first, n, at) for its
// pieces: n values of parameter i from `first` on, whose state begins at `at`. The parameters are cut as they
// lie end to end in the state: many small ones make one chunk for a thread, a large one makes many.
template <size_t kAlignment = OptimizerCall::kAlignment, class Body>
void for_each_chunk(const OptimizerCall& op, Body body) {
  constexpr size_t kChunk = 32768;
  const size_t* const starts = state_starts<kAlignment>(op);
  parallel_chunks(starts[op.count], kChunk, [&](size_t first, size_t end) {
    body([&](auto f) {
      for (size_t i = parameter_at(op, starts, first); i < op.count && starts[i] < end; i++) {
        const size_t from = first > starts[i] ? first - starts[i] : 0;
        const size_t to = std::min(end - starts[i], op.param(i).size());
        if (from < to) f(i, from, to - from, starts[i] + from);
      }
    });
  });
}

// Calls body(i, first, n, at) for all pieces.
template <size_t kAlignment = OptimizerCall::kAlignment, class Body>
void for_each_piece(const OptimizerCall& op, Body body) {
  for_each_chunk<kAlignment>(op, [&](auto each) { each(body); });
}

// The same with the gradients as T, ready but for scale(): body(i, first, n, at, gradient), for pieces that
// may be smaller.
template <class T, size_t kAlignment = OptimizerCall::kAlignment, class Body>
void for_each_gradient(const OptimizerCall& op, Body body) {
  for_each_piece<kAlignment>(op, [&](size_t i, size_t first, size_t n, size_t at) {
    with_gradient<T>(op.control(), op.grad(i), first, n, [&](const T* gradient, size_t from, size_t count) {
      body(i, from, count, at + (from - first), gradient);
    });
  });
}

// The gradients for steps that read them several times: ready but for scale(), as they lie where that will
// do, else copied.
template <class T>
class ReadyGradients {
 public:
  explicit ReadyGradients(const OptimizerCall& op) : op_(op) {
    if (!is_cleaned(op.control())) return;
    starts_.reset(new size_t[op.count]);
    size_t end = 0;
    for (size_t i = 0; i < op.count; i++) {
      starts_[i] = end;
      end += op.grad(i).size();
    }
    copies_.reset(new T[end]);
    for_each_piece_of(
        &op.grad(0), op.count, [](size_t) {},
        [&](size_t, size_t i, size_t first, size_t n) {
          with_gradient<T>(op.control(), op.grad(i), first, n,
                           [&](const T* gradient, size_t from, size_t count) {
                             std::copy(gradient, gradient + count, copies_.get() + starts_[i] + from);
                           });
        });
  }
  const T* of(size_t i) const { return copies_ ? copies_.get() + starts_[i] : op_.grad(i).template as<T>(); }

 private:
  const OptimizerCall& op_;
  std::unique_ptr<size_t[]> starts_;
  std::unique_ptr<T[]> copies_;
};

// Adds up over each parameter: sum_of(i, first, n, at) gives the sum of n values from `first` on, a type with
// operator +=. Parameters are cut into units from their own first value on, and the units' sums are added in
// order, so that a sum depends on neither threads nor neighbours. The result lies in scratch.
template <class Sum, class SumOf>
const Sum* sum_parameters(const OptimizerCall& op, SumOf sum_of) {
  constexpr size_t kUnit = 8192, kUnitsPerChunk = 4;
  const size_t* const states = state_starts(op);
  const size_t* const units = starts_of(op, 6, [](size_t size) { return (size + kUnit - 1) / kUnit; });
  const size_t unit_count = units[op.count];
  Sum* const totals = static_cast<Sum*>(scratch(7, (op.count + unit_count) * sizeof(Sum)));
  Sum* const partial = totals + op.count;
  parallel_chunks(unit_count, kUnitsPerChunk, [&](size_t first, size_t end) {
    size_t i = parameter_at(op, units, first);
    for (size_t unit = first; unit < end; unit++) {
      while (units[i + 1] <= unit) i++;
      const size_t from = (unit - units[i]) * kUnit, left = op.param(i).size() - from;
      partial[unit] = sum_of(i, from, std::min(left, kUnit), states[i] + from);
    }
  });
  for (size_t i = 0; i < op.count; i++) {
    totals[i] = Sum{};
    for (size_t unit = units[i]; unit < units[i + 1]; unit++) totals[i] += partial[unit];
  }
  return totals;
}

// Calls f32(op) or f64(op) by the dtype of the parameters, unless the step is skipped.
template <void (*kF32)(const OptimizerCall&), void (*kF64)(const OptimizerCall&)>
void run_optimizer(const OpCall& call) {
  const OptimizerCall op(call);
  if (op.control().skip != 0) return;
  op.param(0).dtype == DType::kF64 ? kF64(op) : kF32(op);
}

}  // namespace drivetrain
