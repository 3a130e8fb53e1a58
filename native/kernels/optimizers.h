// What the optimizer kernels are told: the coefficients of one step, in double; kernels round each to T once
// per call. `scale` multiplies the gradient as it is read (negative: the step goes up), and `decay` times the
// parameter is added to it (the L2 penalty). The equations stand in native/kernels/optim-*-inl.h.
#pragma once
#include <cstddef>
#include <cstdint>

namespace drivetrain {

struct SgdArgs {
  double scale, decay, lr, momentum, dampening;
  bool nesterov;
  bool first;  // the momentum buffer is set to the gradient rather than blended
};

// Adam and those that differ from it in their coefficients alone.
struct AdamArgs {
  double scale, decay, beta1, beta2;
  double keep;       // multiplies the parameter: decoupled weight decay
  double step_m;     // times m over the denominator is subtracted
  double step_g;     // times the gradient over the denominator is subtracted too (NAdam)
  double root, eps;  // the denominator is root * sqrt(v) + eps
  bool amsgrad;      // the denominator is made of the largest v so far
  bool adaptive;     // without it the denominator is 1 (the first steps of RAdam)
};

struct AdamaxArgs {
  double scale, decay, beta1, beta2, step, eps;
};

struct AdagradArgs {
  double scale, decay, step, eps;
};

struct AdadeltaArgs {
  double scale, decay, lr, rho, eps;
};

struct RmspropArgs {
  double scale, decay, lr, alpha, eps, momentum;
  bool centered;
};

struct LionArgs {
  double scale, keep, lr, beta1, beta2;
};

struct LambArgs {
  double scale, beta1, beta2;
  double step_m, root, eps;  // the update is step_m m / (root sqrt(v) + eps) + decay p
  double decay;
};

struct LarsArgs {
  double scale, decay, rate, momentum;
};

// Sums of squares, in double.
struct NormSquares {
  double param, update;
};

// Moments of eight bits: a code for each value, a scale for each block of kEightBitBlock.
constexpr size_t kEightBitBlock = 256;
struct EightBitState {
  uint8_t *m, *v;
  float *m_scale, *v_scale;
};

// One step on n values of a parameter. `state` holds the method's tensors of state, from the same place on.
template <class T, class Args>
using OptimizerStep = void (*)(const Args& args, T* param, const T* grad, T* const* state, size_t n);

template <class T>
struct OptimizerKernels {
  OptimizerStep<T, SgdArgs> sgd;            // momentum buffer; without momentum none is touched
  OptimizerStep<T, AdamArgs> adam;          // m, v; with amsgrad the largest v
  OptimizerStep<T, AdamArgs> adabelief;     // m, s
  OptimizerStep<T, AdamaxArgs> adamax;      // m, u
  OptimizerStep<T, AdagradArgs> adagrad;    // sum
  OptimizerStep<T, AdadeltaArgs> adadelta;  // squareAvg, accDelta
  OptimizerStep<T, RmspropArgs> rmsprop;    // squareAvg; with momentum its buffer; centred gradAvg
  OptimizerStep<T, LionArgs> lion;          // m
  OptimizerStep<T, LarsArgs> lars;          // momentum buffer

  // LAMB's two passes: the moments, with the norms of the parameter and of its update; then the step.
  NormSquares (*lamb_moments)(const LambArgs& args, const T* param, const T* grad, T* m, T* v, size_t n);
  void (*lamb_apply)(const LambArgs& args, double rate, T* param, const T* m, const T* v, size_t n);
};

}  // namespace drivetrain
