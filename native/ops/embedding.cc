// Rows of a table by index.
#include <cstring>

#include "fill.h"
#include "indices.h"
#include "kernels_of.h"
#include "parallel_chunks.h"
#include "table.h"

namespace drivetrain {
namespace {

// operands: weight [rows, n], indices [...], out [..., n]
template <class T>
void embedding_of(const OpCall& call) {
  const size_t n = call[0].cols(), rows = call[0].rows();
  FirstOutOfRange stranger;
  parallel_chunks(call[1].size(), rows_per_chunk(n), [&](size_t first, size_t end) {
    for (size_t i = first; i < end; i++) {
      const int64_t row = index_at(call[1], i);
      if (is_below(row, rows))
        std::memcpy(call[2].as<T>() + i * n, call[0].as<T>() + static_cast<size_t>(row) * n, n * sizeof(T));
      else
        stranger.note(i);
    }
  });
  stranger.refuse(call, call[1]);
}

// operands: indices [...], dy [..., n], dweight [rows, n]. Threads share out the table's rows, so that
// equal indices add up in the order of the indices; neighbours go to different threads, as the usual indices
// are often low ones.
template <class T>
void embedding_grad_of(const OpCall& call) {
  const TensorRef &indices = call[0], &dy = call[1], &out = call[2];
  const size_t n = out.cols(), rows = out.rows(), count = indices.size();
  constexpr size_t kShares = 4;
  FirstOutOfRange stranger;
  zero(out);
  parallel_chunks(kShares, 1, [&](size_t share, size_t) {
    for (size_t i = 0; i < count; i++) {
      const int64_t index = index_at(indices, i);
      if (!is_below(index, rows)) {
        stranger.note(i);
        continue;
      }
      const size_t row = static_cast<size_t>(index);
      if (row % kShares != share) continue;
      T* to = out.as<T>() + row * n;
      kernels_of<T>().binary[kAdd](to, 1, dy.as<T>() + i * n, 1, to, n);
    }
  });
  stranger.refuse(call, indices);
}

}  // namespace

void op_embedding(const OpCall& call) { DRIVETRAIN_FLOAT_DISPATCH(call[0].dtype, embedding_of, call); }
void op_embeddingGrad(const OpCall& call) {
  DRIVETRAIN_FLOAT_DISPATCH(call[1].dtype, embedding_grad_of, call);
}

}  // namespace drivetrain
