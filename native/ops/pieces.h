// Many tensors, cut into pieces as if they lay end to end: small ones share a chunk of a thread's work, large
// ones make several.
#pragma once
#include <algorithm>

#include "parallel_chunks.h"
#include "tensor_ref.h"

namespace drivetrain {

constexpr size_t kPiece = 16384;

// Calls body(place, i, first, n) for n values, at most kPiece, of tensor i from `first` on; pieces are
// numbered by `place`, from 0 on in the order of the tensors. `before(pieces)` is called first, with their
// number.
template <class Before, class Body>
void for_each_piece_of(const TensorRef* tensors, size_t count, Before before, Body body) {
  constexpr size_t kPiecesPerChunk = 2;
  size_t* const starts = static_cast<size_t*>(scratch(4, (count + 1) * sizeof(size_t)));
  starts[0] = 0;
  for (size_t i = 0; i < count; i++) starts[i + 1] = starts[i] + (tensors[i].size() + kPiece - 1) / kPiece;
  before(starts[count]);
  parallel_chunks(starts[count], kPiecesPerChunk, [&](size_t from, size_t end) {
    size_t i = static_cast<size_t>(std::upper_bound(starts, starts + count, from) - starts) - 1;
    for (size_t place = from; place < end; place++) {
      while (starts[i + 1] <= place) i++;
      const size_t first = (place - starts[i]) * kPiece;
      body(place, i, first, std::min(tensors[i].size() - first, kPiece));
    }
  });
}

}  // namespace drivetrain
