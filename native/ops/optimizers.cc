// Multi-tensor optimizer steps: one instruction however many tensors there are. The first operands are the group's
// hyperparameters (f64, read when the step runs) and the step count (f64 scalar, advanced here); then come, for each
// parameter, the parameter, its gradient and its state.
#include <cmath>

#include "kernels_of.h"
#include "parallel_chunks.h"
#include "table.h"

namespace drivetrain {
namespace {

constexpr size_t kChunk = 32768;
constexpr size_t kHeader = 2;

// Calls body(tensor index, first, end) over all elements of tensors base, base + stride, …, cut into equal chunks.
template <class Body>
void for_each_parameter(const OpCall& call, size_t stride, Body body) {
  for (size_t i = kHeader; i < call.count; i += stride) {
    parallel_chunks(call[i].size(), kChunk, [&](size_t first, size_t end) { body(i, first, end - first); });
  }
}

// hyperparameters: lr, momentum, dampening, weight decay, nesterov, maximize; parameters: p, g, momentum buffer
template <class T>
void sgd_of(const OpCall& call) {
  const double* h = call[0].as<double>();
  double& step = *call[1].as<double>();
  const SgdArgs args{h[0], h[1], h[2], h[3], h[4] != 0, h[5] != 0, step == 0, 1.0};
  for_each_parameter(call, 3, [&](size_t i, size_t first, size_t n) {
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
  const AdamWArgs args{h[0], h[1], h[2], h[3], h[4], 1 - std::pow(h[1], t), 1 - std::pow(h[2], t), h[5] != 0, 1.0};
  for_each_parameter(call, 4, [&](size_t i, size_t first, size_t n) {
    kernels_of<T>().adamw(args, call[i].as<T>() + first, call[i + 1].as<T>() + first, call[i + 2].as<T>() + first,
                          call[i + 3].as<T>() + first, n);
  });
  step = t;
}

}  // namespace

void op_sgd(const OpCall& call) { DRIVETRAIN_FLOAT_DISPATCH(call[kHeader].dtype, sgd_of, call); }
void op_adamw(const OpCall& call) { DRIVETRAIN_FLOAT_DISPATCH(call[kHeader].dtype, adamw_of, call); }

}  // namespace drivetrain
