// LAMB and LARS: the rate of each tensor follows from its norms, so that a step is two passes. Norms are in
// double and do not depend on the number of threads.
#include <cmath>

#include "kernels_of.h"
#include "optimizer_call.h"

namespace drivetrain {

NormSquares& operator+=(NormSquares& a, const NormSquares& b) {
  a.param += b.param;
  a.update += b.update;
  return a;
}

namespace {

// Options: lr, beta1, beta2, eps, weight decay, maximize. State: m, v.
template <class T>
void lamb_of(const OptimizerCall& op) {
  const double* h = op.options();
  const double t = op.counters()[0] + 1;
  const LambArgs args{.scale = op.scale(h[5]),
                      .beta1 = h[1],
                      .beta2 = h[2],
                      .step_m = 1 / (1 - std::pow(h[1], t)),
                      .root = 1 / std::sqrt(1 - std::pow(h[2], t)),
                      .eps = h[3],
                      .decay = h[4]};
  const OptimizerKernels<T>& kernels = kernels_of<T>().optim;
  T *const m = op.state(0).as<T>(), *const v = op.state(1).as<T>();
  const NormSquares* const squares = sum_parameters<NormSquares>(op, [&](size_t i, size_t first, size_t n,
                                                                         size_t at) {
    NormSquares sum{};
    with_gradient<T>(op.control(), op.grad(i), first, n, [&](const T* gradient, size_t from, size_t count) {
      const size_t place = at + (from - first);
      sum += kernels.lamb_moments(args, op.param(i).as<T>() + from, gradient, m + place, v + place, count);
    });
    return sum;
  });
  for_each_piece(op, [&](size_t i, size_t first, size_t n, size_t at) {
    const auto [param, update] = squares[i];
    const double trust = param == 0 || update == 0 ? 1 : std::sqrt(param) / std::sqrt(update);
    kernels.lamb_apply(args, h[0] * trust, op.param(i).as<T>() + first, m + at, v + at, n);
  });
  op.counters()[0] = t;
}

// Options: lr, momentum, weight decay, trust coefficient, maximize. State: momentum.
template <class T>
void lars_of(const OptimizerCall& op) {
  const double* h = op.options();
  const double scale = op.scale(h[4]);
  const NormSquares* const squares =
      sum_parameters<NormSquares>(op, [&](size_t i, size_t first, size_t n, size_t) {
        NormSquares sum{kernels_of<T>().extent(op.param(i).as<T>() + first, n).sum_squares, 0};
        with_gradient<T>(op.control(), op.grad(i), first, n, [&](const T* gradient, size_t, size_t count) {
          sum.update += kernels_of<T>().extent(gradient, count).sum_squares;
        });
        return sum;
      });
  for_each_gradient<T>(op, [&](size_t i, size_t first, size_t n, size_t at, const T* gradient) {
    const double param = std::sqrt(squares[i].param), grad = std::sqrt(squares[i].update) * std::abs(scale);
    const double trust = param == 0 || grad == 0 ? 1 : h[3] * param / (grad + h[2] * param);
    T* const state[] = {op.state(0).template as<T>() + at};
    step_piece(kernels_of<T>().optim.lars, LarsArgs{scale, h[2], h[0] * trust, h[1]},
               op.param(i).template as<T>() + first, gradient, state, n);
  });
  op.counters()[0] += 1;
}

}  // namespace

void op_lamb(const OpCall& call) { run_optimizer<lamb_of<float>, lamb_of<double>>(call); }
void op_lars(const OpCall& call) { run_optimizer<lars_of<float>, lars_of<double>>(call); }

}  // namespace drivetrain
