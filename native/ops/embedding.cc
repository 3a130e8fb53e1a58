// Rows of a table by index. Indices outside the table were not seen by TypeScript: they give rows of NaN, and
// add no gradient.
#include <cstring>

#include "fill.h"
#include "kernels_of.h"
#include "parallel_chunks.h"
#include "table.h"

namespace drivetrain {
namespace {

int64_t index_at(const TensorRef& indices, size_t i) {
  return indices.dtype == DType::kI64 ? indices.as<int64_t>()[i] : indices.as<int32_t>()[i];
}

// operands: weight [rows, n], indices [...], out [..., n]
template <class T>
void embedding_of(const OpCall& call) {
  const size_t n = call[0].cols(), rows = call[0].rows();
  parallel_chunks(call[1].size(), rows_per_chunk(n), [&](size_t first, size_t end) {
    for (size_t i = first; i < end; i++) {
      const int64_t row = index_at(call[1], i);
      T* out = call[2].as<T>() + i * n;
      if (row >= 0 && static_cast<size_t>(row) < rows) {
        std::memcpy(out, call[0].as<T>() + static_cast<size_t>(row) * n, n * sizeof(T));
      } else {
        kernels_of<T>().fill(static_cast<T>(__builtin_nan("")), out, n);
      }
    }
  });
}

// operands: indices [...], dy [..., n], dweight [rows, n]. Threads share out the table's rows, so that
// equal indices add up in the order of the indices; neighbours go to different threads, as the usual indices
// are often low ones.
template <class T>
void embedding_grad_of(const OpCall& call) {
  const TensorRef &indices = call[0], &dy = call[1], &out = call[2];
  const size_t n = out.cols(), rows = out.rows(), count = indices.size();
  constexpr size_t kShares = 4;
  zero(out);
  parallel_chunks(kShares, 1, [&](size_t share, size_t) {
    for (size_t i = 0; i < count; i++) {
      const size_t row = static_cast<size_t>(index_at(indices, i));  // a negative one is too large
      if (row >= rows || row % kShares != share) continue;
      T* to = out.as<T>() + row * n;
      kernels_of<T>().binary[kAdd](to, 1, dy.as<T>() + i * n, 1, to, n);
    }
  });
}

}  // namespace

void op_embedding(const OpCall& call) { DRIVETRAIN_FLOAT_DISPATCH(call[0].dtype, embedding_of, call); }
void op_embeddingGrad(const OpCall& call) {
  DRIVETRAIN_FLOAT_DISPATCH(call[1].dtype, embedding_grad_of, call);
}

}  // namespace drivetrain
