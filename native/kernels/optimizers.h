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

struct AdafactorArgs {
  double scale, beta2, eps;  // v = beta2 v + (1 - beta2) ((scale g)^2 + eps)
  double keep, step, beta1;  // m = beta1 m + (1 - beta1) step u; p = keep p - m
};

struct MuonArgs {
  double scale, momentum;
  bool nesterov;
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

// n values of a parameter, whose state begins at the place `at`.
template <class T>
struct OptimizerPiece {
  T* param;
  const T* grad;
  size_t at, n;
};

// One step on pieces of parameters: many small ones in one call. `state` holds the method's tensors of state.
template <class T, class Args>
using OptimizerStep = void (*)(const Args& args, const OptimizerPiece<T>* pieces, size_t count,
                               T* const* state);

// On one piece, whose state is all of `state`.
template <class T, class Args>
void step_piece(OptimizerStep<T, Args> kernel, const Args& args, T* param, const T* grad, T* const* state,
                size_t n) {
  const OptimizerPiece<T> piece{param, grad, 0, n};
  kernel(args, &piece, 1, state);
}

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

  // Adafactor. The update u of a gradient g is g row column[i] where the second moment is factored, row being
  // that of one row; else g row / sqrt(column[i]), column being the moment itself.
  // The sums of the squares of x[r * row_stride + c] by rows and by columns, in double; rows >= 1.
  void (*sum_squares_tile)(const T* x, size_t rows, size_t row_stride, size_t cols, double* row_sums,
                           double* col_sums);
  // The moment of n values that is not factored; gives the sum of the squares of their updates.
  double (*adafactor_moment)(const AdafactorArgs& args, const T* grad, T* v, size_t n);
  // The same sum where it is factored.
  double (*adafactor_squares)(T row, const T* grad, const T* column, size_t n);
  // m: null without momentum, and then p = keep p - step u.
  void (*adafactor_apply)(const AdafactorArgs& args, bool factored, T row, T* param, const T* grad,
                          const T* column, T* m, size_t n);

  // Muon: b = momentum b + scale g, and the direction u is b, or with Nesterov scale g + momentum b. Gives
  // the sum of the squares of u; then out = factor u, from the b that the first one left.
  double (*muon_momentum)(const MuonArgs& args, const T* grad, T* buffer, size_t n);
  void (*muon_direction)(const MuonArgs& args, double factor, const T* grad, const T* buffer, T* out,
                         size_t n);
};

}  // namespace drivetrain
