// Ops that treat the last dimension of contiguous tensors as rows: softmax, cross-entropy, layer
// normalisation.
#include <algorithm>
#include <cstring>

#include "indices.h"
#include "kernels_of.h"
#include "parallel_chunks.h"
#include "table.h"

namespace drivetrain {
namespace {

constexpr int kPartialsSlot = 4;

template <class Body>
void for_each_row(const TensorRef& t, Body body) {
  const size_t cols = t.cols();
  if (cols == 0) return;
  parallel_chunks(t.rows(), rows_per_chunk(cols), [&](size_t first, size_t end) {
    for (size_t r = first; r < end; r++) body(r, r * cols, cols);
  });
}

template <class T>
void softmax_of(const OpCall& call, void (*kernel)(const T*, T*, size_t)) {
  for_each_row(call[0],
               [&](size_t, size_t at, size_t n) { kernel(call[0].as<T>() + at, call[1].as<T>() + at, n); });
}

template <class T>
void softmax_grad_of(const OpCall& call, void (*kernel)(const T*, const T*, T*, size_t)) {
  for_each_row(call[0], [&](size_t, size_t at, size_t n) {
    kernel(call[0].as<T>() + at, call[1].as<T>() + at, call[2].as<T>() + at, n);
  });
}

// attrs: [smoothing, whether a label is ignored, which]
struct LabelRules {
  double smoothing;
  bool ignores;
  int64_t ignored;

  explicit LabelRules(const OpCall& call)
      : smoothing(call.attrs[0]), ignores(call.attrs[1] != 0), ignored(static_cast<int64_t>(call.attrs[2])) {}
  bool skips(int64_t target) const { return ignores && target == ignored; }
};

// operands: logits [n, c], labels [n], losses [n]; attrs: LabelRules. With smoothing s the loss is (1 - s)
// times that of the label and s times the classes' mean: log-sum-exp(x) - (1 - s) x[label] - s mean(x).
template <class T>
void cross_entropy_of(const OpCall& call) {
  const LabelRules rules(call);
  FirstOutOfRange stranger;
  for_each_row(call[0], [&](size_t row, size_t at, size_t n) {
    const int64_t target = index_at(call[1], row);
    const T* logits = call[0].as<T>() + at;
    T& loss = call[2].as<T>()[row];
    if (rules.skips(target)) {
      loss = 0;
    } else if (!is_below(target, n)) {
      stranger.note(row);
    } else {
      loss = kernels_of<T>().cross_entropy(logits, n, static_cast<size_t>(target));
      if (rules.smoothing != 0)
        loss += static_cast<T>(rules.smoothing) *
                (logits[target] - kernels_of<T>().sum(logits, n) / static_cast<T>(n));
    }
  });
  stranger.refuse(call, call[1]);
}

// operands: logits [n, c], labels [n], gradients of the losses [n], gradients of the logits [n, c]; attrs:
// LabelRules.
template <class T>
void cross_entropy_grad_of(const OpCall& call) {
  const LabelRules rules(call);
  FirstOutOfRange stranger;
  for_each_row(call[0], [&](size_t row, size_t at, size_t n) {
    const int64_t target = index_at(call[1], row);
    T* out = call[3].as<T>() + at;
    if (rules.skips(target)) {
      kernels_of<T>().fill(T{0}, out, n);
    } else if (!is_below(target, n)) {
      stranger.note(row);
    } else {
      const T dy = call[2].as<T>()[row];
      kernels_of<T>().cross_entropy_grad(call[0].as<T>() + at, n, static_cast<size_t>(target), dy, out);
      if (rules.smoothing == 0) return;
      const T moved = dy * static_cast<T>(rules.smoothing), share = moved / static_cast<T>(n);
      kernels_of<T>().binary[kSub](out, 1, &share, 0, out, n);
      out[target] += moved;
    }
  });
  stranger.refuse(call, call[1]);
}

// operands: x [..., n], gamma [n], beta [n], y; attrs: [eps]
template <class T>
void layer_norm_of(const OpCall& call) {
  const T eps = static_cast<T>(call.attrs[0]);
  for_each_row(call[0], [&](size_t, size_t at, size_t n) {
    kernels_of<T>().layer_norm(call[0].as<T>() + at, call[1].as<T>(), call[2].as<T>(), eps,
                               call[3].as<T>() + at, n);
  });
}

// operands: x [..., n], weight [n], y; attrs: [eps]
template <class T>
void rms_norm_of(const OpCall& call) {
  const T eps = static_cast<T>(call.attrs[0]);
  for_each_row(call[0], [&](size_t, size_t at, size_t n) {
    kernels_of<T>().rms_norm(call[0].as<T>() + at, call[1].as<T>(), eps, call[2].as<T>() + at, n);
  });
}

// Calls body(at, partial) for the rows of t, which begin at `at`; each chunk of rows adds up its own
// gradients of parameters, `parameters` of n values at `partial`, and those are combined in order into
// operands from `first_output` on.
template <class T, class Body>
void for_each_row_with_partials(const OpCall& call, size_t first_output, size_t parameters, Body body) {
  constexpr size_t kMostChunks = 64;  // which bounds the memory of the partial sums
  const size_t n = call[0].cols(), rows = call[0].rows(), width = parameters * n;
  if (n == 0) return;
  const size_t chunk = std::max(rows_per_chunk(n), (rows + kMostChunks - 1) / kMostChunks);
  const size_t chunks = (rows + chunk - 1) / chunk;
  T* partials = static_cast<T*>(scratch(kPartialsSlot, (chunks + 1) * width * sizeof(T)));
  parallel_chunks(rows, chunk, [&](size_t first, size_t end) {
    T* partial = partials + first / chunk * width;
    std::memset(partial, 0, width * sizeof(T));
    for (size_t r = first; r < end; r++) body(r * n, partial);
  });
  for (size_t i = 0; i < parameters; i++)
    kernels_of<T>().sum_rows(partials + i * n, chunks, width, call[first_output + i].as<T>(), n);
}

// operands: x, gamma [n], dy, dx, dgamma [n], dbeta [n]; attrs: [eps]
template <class T>
void layer_norm_grad_of(const OpCall& call) {
  const T eps = static_cast<T>(call.attrs[0]);
  const size_t n = call[0].cols();
  for_each_row_with_partials<T>(call, 4, 2, [&](size_t at, T* partial) {
    kernels_of<T>().layer_norm_grad(call[0].as<T>() + at, call[1].as<T>(), call[2].as<T>() + at, eps,
                                    call[3].as<T>() + at, partial, partial + n, n);
  });
}

// operands: x, weight [n], dy, dx, dweight [n]; attrs: [eps]
template <class T>
void rms_norm_grad_of(const OpCall& call) {
  const T eps = static_cast<T>(call.attrs[0]);
  const size_t n = call[0].cols();
  for_each_row_with_partials<T>(call, 4, 1, [&](size_t at, T* partial) {
    kernels_of<T>().rms_norm_grad(call[0].as<T>() + at, call[1].as<T>(), call[2].as<T>() + at, eps,
                                  call[3].as<T>() + at, partial, n);
  });
}

template <class T>
void softmax_dispatch(const OpCall& call) {
  softmax_of<T>(call, kernels_of<T>().softmax);
}
template <class T>
void log_softmax_dispatch(const OpCall& call) {
  softmax_of<T>(call, kernels_of<T>().log_softmax);
}
template <class T>
void softmax_grad_dispatch(const OpCall& call) {
  softmax_grad_of<T>(call, kernels_of<T>().softmax_grad);
}
template <class T>
void log_softmax_grad_dispatch(const OpCall& call) {
  softmax_grad_of<T>(call, kernels_of<T>().log_softmax_grad);
}

}  // namespace

void op_softmax(const OpCall& call) { DRIVETRAIN_FLOAT_DISPATCH(call[0].dtype, softmax_dispatch, call); }
void op_logSoftmax(const OpCall& call) {
  DRIVETRAIN_FLOAT_DISPATCH(call[0].dtype, log_softmax_dispatch, call);
}
void op_softmaxGrad(const OpCall& call) {
  DRIVETRAIN_FLOAT_DISPATCH(call[0].dtype, softmax_grad_dispatch, call);
}
void op_logSoftmaxGrad(const OpCall& call) {
  DRIVETRAIN_FLOAT_DISPATCH(call[0].dtype, log_softmax_grad_dispatch, call);
}
void op_crossEntropy(const OpCall& call) { DRIVETRAIN_FLOAT_DISPATCH(call[0].dtype, cross_entropy_of, call); }
void op_crossEntropyGrad(const OpCall& call) {
  DRIVETRAIN_FLOAT_DISPATCH(call[0].dtype, cross_entropy_grad_of, call);
}
void op_layerNorm(const OpCall& call) { DRIVETRAIN_FLOAT_DISPATCH(call[0].dtype, layer_norm_of, call); }
void op_layerNormGrad(const OpCall& call) {
  DRIVETRAIN_FLOAT_DISPATCH(call[0].dtype, layer_norm_grad_of, call);
}
void op_rmsNorm(const OpCall& call) { DRIVETRAIN_FLOAT_DISPATCH(call[0].dtype, rms_norm_of, call); }
void op_rmsNormGrad(const OpCall& call) { DRIVETRAIN_FLOAT_DISPATCH(call[0].dtype, rms_norm_grad_of, call); }

}  // namespace drivetrain
