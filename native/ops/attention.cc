// Scaled-dot-product attention: operands [q, k, v, out, log_sum] or [q, k, v, mask, out, log_sum], of ranks 2
// to 8 with leading dimensions and the mask already broadcast (stride 0); columns of q, k and v are
// contiguous. attrs: [causal, scale].
#include "kernels_of.h"
#include "parallel_chunks.h"
#include "table.h"

namespace drivetrain {
namespace {

// Under this many multiply-adds all stays on the calling thread.
constexpr size_t kSerialAttentionMacs = 1 << 18;

// Where the matrix of `t` lies that belongs to the batch-th matrix of `out`; t's leading dimensions are those
// of out, broadcast.
template <class T>
T* matrix_at(const TensorRef& t, const TensorRef& out, size_t batch) {
  T* data = t.as<T>();
  for (int i = out.rank - 3; i >= 0; i--) {
    const size_t extent = static_cast<size_t>(out.shape[i]);
    data += static_cast<int64_t>(batch % extent) * t.strides[i];
    batch /= extent;
  }
  return data;
}

// All heads of a call: `head` gives the arguments of one.
template <class T>
struct Heads {
  const TensorRef &q, &k, &v;
  const TensorRef* mask;
  AttentionArgs<T> shape{};
  size_t count = 0;

  // inputs: q, k, v and perhaps a mask
  Heads(const OpCall& call, const TensorRef* inputs, bool masked)
      : q(inputs[0]), k(inputs[1]), v(inputs[2]), mask(masked ? inputs + 3 : nullptr) {
    const int last = q.rank - 1;
    shape.queries = static_cast<size_t>(q.shape[last - 1]), shape.depth = static_cast<size_t>(q.shape[last]);
    shape.keys = static_cast<size_t>(v.shape[last - 1]), shape.width = static_cast<size_t>(v.shape[last]);
    shape.q_row = q.strides[last - 1], shape.k_row = k.strides[last - 1], shape.v_row = v.strides[last - 1];
    if (mask) shape.mask_row = mask->strides[last - 1], shape.mask_col = mask->strides[last];
    shape.causal = call.attrs[0] != 0;
    shape.scale = static_cast<T>(call.attrs[1]);
    count = 1;
    for (int i = 0; i < last - 1; i++) count *= static_cast<size_t>(q.shape[i]);
  }

  bool serial() const {
    return count * shape.queries * shape.keys * (shape.depth + shape.width) <= kSerialAttentionMacs;
  }

  AttentionArgs<T> head(size_t index) const {
    AttentionArgs<T> args = shape;
    args.q = matrix_at<T>(q, q, index);
    args.k = matrix_at<T>(k, q, index);
    args.v = matrix_at<T>(v, q, index);
    if (mask) args.mask = matrix_at<uint8_t>(*mask, q, index);
    return args;
  }
};

template <class T>
void attention_of(const OpCall& call) {
  const Heads<T> heads(call, call.operands, call.count == 6);
  T* const out = call[call.count - 2].as<T>();
  T* const log_sum = call[call.count - 1].as<T>();
  const size_t queries = heads.shape.queries, width = heads.shape.width;
  // Of few heads each is cut finer.
  const size_t chunk = heads.count < 4 ? 32 : 128, per_head = (queries + chunk - 1) / chunk;
  const size_t chunks = heads.count * per_head;
  if (chunks == 0) return;
  parallel_chunks(chunks, heads.serial() ? chunks : 1, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; i++) {
      const size_t head = i / per_head, first = i % per_head * chunk;
      AttentionArgs<T> args = heads.head(head);
      args.first = first;
      args.queries = queries - first < chunk ? queries - first : chunk;
      args.q += static_cast<int64_t>(first) * args.q_row;
      if (args.mask) args.mask += static_cast<int64_t>(first) * args.mask_row;
      kernels_of<T>().attention(args, out + (head * queries + first) * width,
                                log_sum + head * queries + first);
    }
  });
}

// operands: the gradient of out, out, log_sum, q, k, v, perhaps the mask, then the gradients of q, k and v.
template <class T>
void attention_grad_of(const OpCall& call) {
  const Heads<T> heads(call, call.operands + 3, call.count == 10);
  const T *const dout = call[0].as<T>(), *const out = call[1].as<T>(), *const log_sum = call[2].as<T>();
  const TensorRef* const results = call.operands + call.count - 3;
  T *const dq = results[0].as<T>(), *const dk = results[1].as<T>(), *const dv = results[2].as<T>();
  const AttentionArgs<T>& s = heads.shape;
  if (heads.count == 0) return;
  parallel_chunks(heads.count, heads.serial() ? heads.count : 1, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; i++) {
      const size_t row = i * s.queries, key = i * s.keys;
      kernels_of<T>().attention_grad(heads.head(i), out + row * s.width, log_sum + row, dout + row * s.width,
                                     dq + row * s.depth, dk + key * s.depth, dv + key * s.width);
    }
  });
}

}  // namespace

void op_scaledDotProductAttention(const OpCall& call) {
  DRIVETRAIN_FLOAT_DISPATCH(call[0].dtype, attention_of, call);
}
void op_scaledDotProductAttentionGrad(const OpCall& call) {
  DRIVETRAIN_FLOAT_DISPATCH(call[0].dtype, attention_grad_of, call);
}

}  // namespace drivetrain
