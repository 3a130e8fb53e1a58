// Scaled-dot-product attention: operands [q, k, v, out, log_sum] or [q, k, v, mask, out, log_sum], of ranks 2
// to 8 with leading dimensions and the mask already broadcast (stride 0); columns of q, k and v are
// contiguous. attrs: [causal, scale].
#include <algorithm>

#include "kernels_of.h"
#include "parallel_chunks.h"
#include "table.h"

namespace drivetrain {
namespace {

// Under this many multiply-adds all stays on the calling thread.
constexpr size_t kSerialAttentionMacs = 1 << 18;

constexpr int kSharesSlot = 4;
constexpr size_t kSharesAtOnce = 1 << 12;  // values of a chunk that adds them up

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

  // At most `count` queries from the first on.
  AttentionArgs<T> queries_of(size_t index, size_t first, size_t count) const {
    AttentionArgs<T> args = head(index);
    args.first = first;
    args.queries = std::min(count, shape.queries - first);
    args.q += static_cast<int64_t>(first) * args.q_row;
    if (args.mask) args.mask += static_cast<int64_t>(first) * args.mask_row;
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
      const size_t head = i / per_head;
      const AttentionArgs<T> args = heads.queries_of(head, i % per_head * chunk, chunk);
      const size_t row = head * queries + args.first;
      kernels_of<T>().attention(args, out + row * width, log_sum + row);
    }
  });
}

// Queries of a head that are one piece of work: all of them, or of few heads some whole blocks of the kernel,
// two at least, so that there is work for eight threads.
size_t queries_of_part(size_t heads, size_t queries) {
  constexpr size_t kParts = 8, kBlock = 64;
  if (heads >= 4) return queries;
  const size_t even = (queries * heads + kParts - 1) / kParts;
  return std::max(2 * kBlock, (even + kBlock - 1) / kBlock * kBlock);
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
  // The parts of a head add to the same gradients of keys and values: all but the first in memory of their
  // own.
  const size_t part = queries_of_part(heads.count, s.queries);
  const size_t parts = std::max<size_t>(1, (s.queries + part - 1) / part), chunks = heads.count * parts;
  const size_t keys = heads.count * s.keys, share = keys * (s.depth + s.width);
  T* const shares = static_cast<T*>(scratch(kSharesSlot, (parts - 1) * share * sizeof(T)));
  parallel_chunks(chunks, heads.serial() ? chunks : 1, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; i++) {
      const size_t head = i / parts, index = i % parts;
      const AttentionArgs<T> args = heads.queries_of(head, index * part, part);
      const size_t row = head * s.queries + args.first, key = head * s.keys;
      T* const dk_share = index == 0 ? dk : shares + (index - 1) * share;
      T* const dv_share = index == 0 ? dv : dk_share + keys * s.depth;
      kernels_of<T>().attention_grad(args, out + row * s.width, log_sum + row, dout + row * s.width,
                                     dq + row * s.depth, dk_share + key * s.depth, dv_share + key * s.width);
    }
  });
  const auto add_shares = [&](T* sum, const T* of_part, size_t size) {
    parallel_chunks(size, kSharesAtOnce, [&](size_t begin, size_t end) {
      for (size_t p = 0; p + 1 < parts; p++)
        kernels_of<T>().binary[kAdd](sum + begin, 1, of_part + p * share + begin, 1, sum + begin,
                                     end - begin);
    });
  };
  if (parts == 1) return;
  add_shares(dk, shares, keys * s.depth);
  add_shares(dv, shares + keys * s.depth, keys * s.width);
}

}  // namespace

void op_scaledDotProductAttention(const OpCall& call) {
  DRIVETRAIN_FLOAT_DISPATCH(call[0].dtype, attention_of, call);
}
void op_scaledDotProductAttentionGrad(const OpCall& call) {
  DRIVETRAIN_FLOAT_DISPATCH(call[0].dtype, attention_grad_of, call);
}

}  // namespace drivetrain
