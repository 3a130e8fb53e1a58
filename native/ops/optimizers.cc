// Elementwise optimizers: from a group's options and its count of steps to the coefficients of one step. The
// options come in the order of the tables in lib/optim. Bias corrections are in double.
#include <cmath>

#include "kernels_of.h"
#include "optimizer_call.h"

namespace drivetrain {
namespace {

// Runs a kernel on all parameters, on many pieces in a call where the gradients can be read as they lie.
template <class T, class Args>
void step_in_place(const OptimizerCall& op, OptimizerStep<T, Args> kernel, const Args& args) {
  constexpr size_t kAtOnce = 64;
  T* state[OptimizerCall::kMostStates];
  for (size_t s = 0; s < op.states; s++) state[s] = op.state(s).template as<T>();
  for_each_chunk(op, [&](auto each) {
    OptimizerPiece<T> pieces[kAtOnce];
    size_t count = 0;
    each([&](size_t i, size_t first, size_t n, size_t at) {
      pieces[count++] = {op.param(i).template as<T>() + first, op.grad(i).template as<T>() + first, at, n};
      if (count < kAtOnce) return;
      kernel(args, pieces, count, state);
      count = 0;
    });
    kernel(args, pieces, count, state);
  });
}

// Runs a kernel on all parameters. Of f16 and bf16 parameters the step is made on f32 copies, which are the
// last tensor of state, and rounded.
template <class T, class Args>
void step(const OptimizerCall& op, OptimizerStep<T, Args> kernel, const Args& args) {
  const DType dtype = op.param(0).dtype;
  const bool copied = bytes_of(dtype) < sizeof(T);
  if (!copied && is_in_place<T>(op.control(), op.grad(0))) return step_in_place<T>(op, kernel, args);
  const Kernels& k = *selected_kernels();
  const auto round = dtype == DType::kF16 ? k.f32_to_f16 : k.f32_to_bf16;
  const size_t states = op.states - copied;
  for_each_gradient<T>(op, [&](size_t i, size_t first, size_t n, size_t at, const T* gradient) {
    T* state[OptimizerCall::kMostStates];
    for (size_t s = 0; s < states; s++) state[s] = op.state(s).template as<T>() + at;
    T* const param = copied ? op.state(states).template as<T>() + at : op.param(i).template as<T>() + first;
    step_piece(kernel, args, param, gradient, state, n);
    if constexpr (sizeof(T) == sizeof(float))
      if (copied) round(param, op.param(i).as<uint16_t>() + first, n);
  });
}

// Options: lr, momentum, dampening, weight decay, nesterov, maximize. Counters: steps, steps with momentum.
template <class T>
void sgd_of(const OptimizerCall& op) {
  const double* h = op.options();
  double* counters = op.counters();
  const SgdArgs args{op.scale(h[5]), h[3], h[0], h[1], h[2], h[4] != 0, counters[1] == 0};
  step<T>(op, kernels_of<T>().optim.sgd, args);
  counters[0] += 1;
  if (h[1] != 0) counters[1] += 1;
}

// Options: lr, beta1, beta2, eps, weight decay, maximize.
template <bool kDecoupled>
AdamArgs adam_args(const OptimizerCall& op, double t, bool amsgrad) {
  const double* h = op.options();
  return {.scale = op.scale(h[5]),
          .decay = kDecoupled ? 0 : h[4],
          .beta1 = h[1],
          .beta2 = h[2],
          .keep = kDecoupled ? 1 - h[0] * h[4] : 1,
          .step_m = h[0] / (1 - std::pow(h[1], t)),
          .step_g = 0,
          .root = 1 / std::sqrt(1 - std::pow(h[2], t)),
          .eps = h[3],
          .amsgrad = amsgrad,
          .adaptive = true};
}
// State: m, v, and with amsgrad the largest v.
template <class T, bool kDecoupled>
void adam_of(const OptimizerCall& op) {
  const double t = op.counters()[0] + 1;
  const size_t moments = op.states - (bytes_of(op.param(0).dtype) == 2);
  step<T>(op, kernels_of<T>().optim.adam, adam_args<kDecoupled>(op, t, moments == 3));
  op.counters()[0] = t;
}

// The same with moments of eight bits. State: codes of m and v, scales of m and v.
template <bool kDecoupled>
void adam_eight_bit_of(const OptimizerCall& op) {
  const double t = op.counters()[0] + 1;
  const AdamArgs args = adam_args<kDecoupled>(op, t, false);
  for_each_gradient<float, kEightBitBlock>(
      op, [&](size_t i, size_t first, size_t n, size_t at, const float* gradient) {
        const size_t block = at / kEightBitBlock;
        const EightBitState state{op.state(0).as<uint8_t>() + at, op.state(1).as<uint8_t>() + at,
                                  op.state(2).as<float>() + block, op.state(3).as<float>() + block};
        selected_kernels()->adam_eight_bit(args, op.param(i).as<float>() + first, gradient, state, n);
      });
  op.counters()[0] = t;
}

// Options: lr, beta1, beta2, eps, weight decay, momentum decay, maximize. Counters: steps, the product of mu.
template <class T>
void nadam_of(const OptimizerCall& op) {
  const double* h = op.options();
  const double t = op.counters()[0] + 1;
  const auto mu_at = [h](double step) { return h[1] * (1 - 0.5 * std::pow(0.96, step * h[5])); };
  const double mu = mu_at(t), next = mu_at(t + 1), product = op.counters()[1] * mu;
  const AdamArgs args{.scale = op.scale(h[6]),
                      .decay = h[4],
                      .beta1 = h[1],
                      .beta2 = h[2],
                      .keep = 1,
                      .step_m = h[0] * next / (1 - product * next),
                      .step_g = h[0] * (1 - mu) / (1 - product),
                      .root = 1 / std::sqrt(1 - std::pow(h[2], t)),
                      .eps = h[3],
                      .amsgrad = false,
                      .adaptive = true};
  step<T>(op, kernels_of<T>().optim.adam, args);
  op.counters()[0] = t;
  op.counters()[1] = product;
}

// Options: lr, beta1, beta2, eps, weight decay, maximize.
template <class T>
void radam_of(const OptimizerCall& op) {
  const double* h = op.options();
  const double t = op.counters()[0] + 1, power = std::pow(h[2], t);
  const double longest = 2 / (1 - h[2]) - 1, length = longest - 2 * t * power / (1 - power);
  const bool rectified = length > 5;
  const double rect = rectified ? std::sqrt((length - 4) * (length - 2) * longest * (1 - power) /
                                            ((longest - 4) * (longest - 2) * length))
                                : 1;
  const AdamArgs args{.scale = op.scale(h[5]),
                      .decay = h[4],
                      .beta1 = h[1],
                      .beta2 = h[2],
                      .keep = 1,
                      .step_m = h[0] * rect / (1 - std::pow(h[1], t)),
                      .step_g = 0,
                      .root = 1,
                      .eps = h[3],
                      .amsgrad = false,
                      .adaptive = rectified};
  step<T>(op, kernels_of<T>().optim.adam, args);
  op.counters()[0] = t;
}

// Options: lr, beta1, beta2, eps, weight decay, maximize.
template <class T>
void adabelief_of(const OptimizerCall& op) {
  const double* h = op.options();
  const double t = op.counters()[0] + 1;
  const AdamArgs args{.scale = op.scale(h[5]),
                      .decay = 0,
                      .beta1 = h[1],
                      .beta2 = h[2],
                      .keep = 1 - h[0] * h[4],
                      .step_m = h[0] / (1 - std::pow(h[1], t)),
                      .step_g = 0,
                      .root = 1 / std::sqrt(1 - std::pow(h[2], t)),
                      .eps = h[3],
                      .amsgrad = false,
                      .adaptive = true};
  step<T>(op, kernels_of<T>().optim.adabelief, args);
  op.counters()[0] = t;
}

// Options: lr, beta1, beta2, eps, weight decay, maximize.
template <class T>
void adamax_of(const OptimizerCall& op) {
  const double* h = op.options();
  const double t = op.counters()[0] + 1;
  const AdamaxArgs args{op.scale(h[5]), h[4], h[1], h[2], h[0] / (1 - std::pow(h[1], t)), h[3]};
  step<T>(op, kernels_of<T>().optim.adamax, args);
  op.counters()[0] = t;
}

// Options: lr, lr decay, weight decay, initial accumulator value, eps, maximize.
template <class T>
void adagrad_of(const OptimizerCall& op) {
  const double* h = op.options();
  const double before = op.counters()[0];
  const AdagradArgs args{op.scale(h[5]), h[2], h[0] / (1 + before * h[1]), h[4]};
  step<T>(op, kernels_of<T>().optim.adagrad, args);
  op.counters()[0] = before + 1;
}

// Options: lr, rho, eps, weight decay, maximize.
template <class T>
void adadelta_of(const OptimizerCall& op) {
  const double* h = op.options();
  const AdadeltaArgs args{op.scale(h[4]), h[3], h[0], h[1], h[2]};
  step<T>(op, kernels_of<T>().optim.adadelta, args);
  op.counters()[0] += 1;
}

// Options: lr, alpha, eps, weight decay, momentum, centered, maximize.
template <class T>
void rmsprop_of(const OptimizerCall& op) {
  const double* h = op.options();
  const RmspropArgs args{op.scale(h[6]), h[3], h[0], h[1], h[2], h[4], h[5] != 0};
  step<T>(op, kernels_of<T>().optim.rmsprop, args);
  op.counters()[0] += 1;
}

// Options: lr, beta1, beta2, weight decay, maximize.
template <class T>
void lion_of(const OptimizerCall& op) {
  const double* h = op.options();
  const LionArgs args{op.scale(h[4]), 1 - h[0] * h[3], h[0], h[1], h[2]};
  step<T>(op, kernels_of<T>().optim.lion, args);
  op.counters()[0] += 1;
}

// Lookahead: every k-th call the slow weights (state) go a part of the way to the parameters, which then take
// their place. Options: k, that part. Counters: calls. Gradients are not read.
template <class T>
void lookahead_of(const OptimizerCall& op) {
  const double* h = op.options();
  op.counters()[0] += 1;
  if (std::fmod(op.counters()[0], h[0]) != 0) return;
  const FloatKernels<T>& k = kernels_of<T>();
  const T part = static_cast<T>(h[1]);
  for_each_piece(op, [&](size_t i, size_t first, size_t n, size_t at) {
    T *const slow = op.state(0).template as<T>() + at, *const fast = op.param(i).template as<T>() + first;
    k.binary[kSub](fast, 1, slow, 1, fast, n);
    k.binary[kMul](fast, 1, &part, 0, fast, n);
    k.binary[kAdd](slow, 1, fast, 1, slow, n);
    std::copy(slow, slow + n, fast);
  });
}

// Rounds f32 copies (state) to f16 or bf16 parameters. Gradients are not read.
void round_master(const OptimizerCall& op) {
  const Kernels& k = *selected_kernels();
  const auto round = op.param(0).dtype == DType::kF16 ? k.f32_to_f16 : k.f32_to_bf16;
  for_each_piece(op, [&](size_t i, size_t first, size_t n, size_t at) {
    round(op.state(0).as<float>() + at, op.param(i).as<uint16_t>() + first, n);
  });
}

}  // namespace

void op_sgd(const OpCall& call) { run_optimizer<sgd_of<float>, sgd_of<double>>(call); }
void op_adam(const OpCall& call) { run_optimizer<adam_of<float, false>, adam_of<double, false>>(call); }
void op_adamw(const OpCall& call) { run_optimizer<adam_of<float, true>, adam_of<double, true>>(call); }
void op_adamEightBit(const OpCall& call) {
  run_optimizer<adam_eight_bit_of<false>, adam_eight_bit_of<false>>(call);
}
void op_adamwEightBit(const OpCall& call) {
  run_optimizer<adam_eight_bit_of<true>, adam_eight_bit_of<true>>(call);
}
void op_nadam(const OpCall& call) { run_optimizer<nadam_of<float>, nadam_of<double>>(call); }
void op_radam(const OpCall& call) { run_optimizer<radam_of<float>, radam_of<double>>(call); }
void op_adabelief(const OpCall& call) { run_optimizer<adabelief_of<float>, adabelief_of<double>>(call); }
void op_adamax(const OpCall& call) { run_optimizer<adamax_of<float>, adamax_of<double>>(call); }
void op_adagrad(const OpCall& call) { run_optimizer<adagrad_of<float>, adagrad_of<double>>(call); }
void op_adadelta(const OpCall& call) { run_optimizer<adadelta_of<float>, adadelta_of<double>>(call); }
void op_rmsprop(const OpCall& call) { run_optimizer<rmsprop_of<float>, rmsprop_of<double>>(call); }
void op_roundMaster(const OpCall& call) { run_optimizer<round_master, round_master>(call); }
void op_lookahead(const OpCall& call) { run_optimizer<lookahead_of<float>, lookahead_of<double>>(call); }
void op_lion(const OpCall& call) { run_optimizer<lion_of<float>, lion_of<double>>(call); }

}  // namespace drivetrain
