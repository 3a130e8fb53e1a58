// Multi-tensor optimizer steps: one instruction however many tensors there are. The first operands are the
// group's hyperparameters (f64, read when the step runs) and the step count (f64 scalar, advanced here); then
// come, for each parameter, the parameter, its gradient and its state.
#include <algorithm>
#include <cmath>

#include "kernels_of.h"
#include "parallel_chunks.h"
#include "table.h"

namespace drivetrain {
namespace {

constexpr size_t kChunk = 32768;
constexpr size_t kHeader = 2;
constexpr size_t kAlignment = 16;  // elements; a multiple of every vector, so that chunks begin at whole ones
constexpr int kStartsSlot = 5;     // of scratch

// Calls body(operand, first, n) for pieces of the parameters, which stand `stride` operands apart. Parameters
// are laid end to end and cut into chunks of equal length: many small ones make one chunk, a large one makes
// many.
template <class Body>
void for_each_piece(const OpCall& call, size_t stride, Body body) {
  const size_t count = (call.count - kHeader) / stride;
  size_t* const starts = static_cast<size_t*>(scratch(kStartsSlot, (count + 1) * sizeof(size_t)));
  starts[0] = 0;
  for (size_t i = 0; i < count; i++) {
    const size_t size = call[kHeader + i * stride].size();
    starts[i + 1] = starts[i] + (size + kAlignment - 1) / kAlignment * kAlignment;
  }
  parallel_chunks(starts[count], kChunk, [&](size_t first, size_t end) {
    size_t i = static_cast<size_t>(std::upper_bound(starts, starts + count, first) - starts) - 1;
    for (; i < count && starts[i] < end; i++) {
      const size_t operand = kHeader + i * stride;
      const size_t from = first > starts[i] ? first - starts[i] : 0;
      const size_t to = std::min(end - starts[i], call[operand].size());
      if (from < to) body(operand, from, to - from);
    }
  });
}

// hyperparameters: lr, momentum, dampening, weight decay, nesterov, maximize; parameters: p, g, momentum
// buffer
template <class T>
void sgd_of(const OpCall& call) {
  const double* h = call[0].as<double>();
  double& step = *call[1].as<double>();
  const SgdArgs args{h[0], h[1], h[2], h[3], h[4] != 0, h[5] != 0, step == 0, 1.0};
  for_each_piece(call, 3, [&](size_t i, size_t first, size_t n) {
    T* momentum = args.momentum == 0 ? nullptr : call[i + 2].as<T>() + first;
    kernels_of<T>().sgd(args, call[i].as<T>() + first, call[i + 1].as<T>() + first, momentum, n);
  });
  step += 1;
}

// hyperparameters: lr, beta1, beta2, eps, weight decay, maximize; parameters: p, g, m, v
template <class T>
void adamw_of(const OpCall& call) {
  const double* h = call[0].as<double>();
  double& step = *call[1].as<double>();
  const double t = step + 1;
  const AdamWArgs args{h[0],      h[1], h[2], h[3], h[4], 1 - std::pow(h[1], t), 1 - std::pow(h[2], t),
                       h[5] != 0, 1.0};
  for_each_piece(call, 4, [&](size_t i, size_t first, size_t n) {
    kernels_of<T>().adamw(args, call[i].as<T>() + first, call[i + 1].as<T>() + first,
                          call[i + 2].as<T>() + first, call[i + 3].as<T>() + first, n);
  });
  step = t;
}

}  // namespace

void op_sgd(const OpCall& call) { DRIVETRAIN_FLOAT_DISPATCH(call[kHeader].dtype, sgd_of, call); }
void op_adamw(const OpCall& call) { DRIVETRAIN_FLOAT_DISPATCH(call[kHeader].dtype, adamw_of, call); }

}  // namespace drivetrain
