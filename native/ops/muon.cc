// Muon: the direction of momentum, made nearly orthogonal by five steps of a Newton-Schulz iteration, for
// every matrix of a group.
#include <cmath>
#include <cstring>

#include "kernels_of.h"
#include "optimizer_call.h"

namespace drivetrain {
namespace {

// x <- a x + (b A + c A^2) x with A = x x^T takes every singular value in (0, 1] to about 1 in five steps.
constexpr int kSteps = 5;
constexpr double kA = 3.4445, kB = -4.7750, kC = 2.0315;
constexpr double kEps = 1e-7;  // added to the norm that the direction is divided by

template <class T>
void product(size_t m, size_t n, size_t k, T alpha, const T* a, size_t a_row, size_t a_col, const T* b,
             size_t b_row, size_t b_col, T beta, T* c) {
  GemmArgs<T> args{};
  args.m = m, args.n = n, args.k = k;
  args.a = a, args.a_row = static_cast<ptrdiff_t>(a_row), args.a_col = static_cast<ptrdiff_t>(a_col);
  args.b = b, args.b_row = static_cast<ptrdiff_t>(b_row), args.b_col = static_cast<ptrdiff_t>(b_col);
  args.c = c, args.c_row = static_cast<ptrdiff_t>(n);
  args.alpha = alpha, args.beta = beta;
  kernels_of<T>().gemm_batched(args, GemmBatch{});
}

// param <- keep param - rate orthogonalised(x), for x [rows, cols]; x, next (as large) and two squares of the
// shorter side are room to work in.
template <class T>
void step_along(size_t rows, size_t cols, T* x, T* next, T* gram, T* poly, T keep, T rate, T* param) {
  const bool wide = rows <= cols;
  const size_t side = wide ? rows : cols, length = wide ? cols : rows;
  for (int step = 1; step <= kSteps; step++) {
    if (wide) {
      product<T>(side, side, length, 1, x, cols, 1, x, 1, cols, 0, gram);
    } else {
      product<T>(side, side, length, 1, x, 1, cols, x, cols, 1, 0, gram);
    }
    std::memcpy(poly, gram, side * side * sizeof(T));
    product<T>(side, side, side, static_cast<T>(kC), gram, side, 1, gram, side, 1, static_cast<T>(kB), poly);
    for (size_t i = 0; i < side; i++) poly[i * (side + 1)] += static_cast<T>(kA);
    const bool last = step == kSteps;
    T* const out = last ? param : next;
    const T alpha = last ? -rate : 1, beta = last ? keep : 0;
    if (wide) {
      product<T>(rows, cols, side, alpha, poly, side, 1, x, cols, 1, beta, out);
    } else {
      product<T>(rows, cols, side, alpha, x, cols, 1, poly, side, 1, beta, out);
    }
    std::swap(x, next);
  }
}

// Options: lr, momentum, nesterov, weight decay, maximize. State: momentum.
template <class T>
void muon_of(const OptimizerCall& op) {
  const double* h = op.options();
  const MuonArgs args{op.scale(h[4]), h[1], h[2] != 0};
  const OptimizerKernels<T>& kernels = kernels_of<T>().optim;
  const ReadyGradients<T> gradients(op);
  const double* const squares = sum_parameters<double>(op, [&](size_t i, size_t first, size_t n, size_t at) {
    return kernels.muon_momentum(args, gradients.of(i) + first, op.state(0).as<T>() + at, n);
  });
  const size_t* const starts = state_starts(op);
  const auto step = [&](size_t i) {
    const TensorRef& param = op.param(i);
    const size_t size = param.size();
    if (size == 0) return;
    const size_t rows = static_cast<size_t>(param.shape[0]), cols = size / rows, side = std::min(rows, cols);
    T* const x = static_cast<T*>(scratch(4, 2 * (size + side * side) * sizeof(T)));
    constexpr size_t kChunk = 32768;
    parallel_chunks(size, kChunk, [&](size_t first, size_t end) {
      kernels.muon_direction(args, 1 / (std::sqrt(squares[i]) + kEps), gradients.of(i) + first,
                             op.state(0).as<T>() + starts[i] + first, x + first, end - first);
    });
    const double aspect = std::max(1.0, static_cast<double>(rows) / static_cast<double>(cols));
    step_along<T>(rows, cols, x, x + size, x + 2 * size, x + 2 * size + side * side,
                  static_cast<T>(1 - h[0] * h[3]), static_cast<T>(h[0] * std::sqrt(aspect)), param.as<T>());
  };
  // Small matrices are shared out; the products of large ones are, and one matrix at a time needs less room.
  constexpr size_t kLarge = 1 << 16;
  parallel_chunks(op.count, 1, [&](size_t i, size_t) {
    if (op.param(i).size() < kLarge) step(i);
  });
  for (size_t i = 0; i < op.count; i++)
    if (op.param(i).size() >= kLarge) step(i);
  op.counters()[0] += 1;
}

}  // namespace

void op_muon(const OpCall& call) { run_optimizer<muon_of<float>, muon_of<double>>(call); }

}  // namespace drivetrain
