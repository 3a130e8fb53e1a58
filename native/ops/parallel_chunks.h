// parallel_for over ranges, for lambdas.
#pragma once
#include "../kernels/parallel.h"

namespace drivetrain {

// Calls body(first, end) for consecutive ranges of `chunk` items that cover [0, n).
template <class Body>
void parallel_chunks(size_t n, size_t chunk, Body body) {
  struct Context {
    size_t n, chunk;
    Body* body;
  } context{n, chunk, &body};
  parallel_for_short((n + chunk - 1) / chunk,
                     [](void* opaque, size_t i) {
                       const Context& c = *static_cast<Context*>(opaque);
                       const size_t first = i * c.chunk;
                       (*c.body)(first, c.n - first < c.chunk ? c.n : first + c.chunk);
                     },
                     &context);
}

// Rows of `cols` elements for one thread at once, so that a chunk is some tens of thousands of elements.
inline size_t rows_per_chunk(size_t cols) {
  constexpr size_t kElements = 16384;
  return cols >= kElements ? 1 : kElements / (cols ? cols : 1);
}

// An output of so many bytes is written past the caches where nothing reads it at once.
constexpr size_t kStreamBytes = size_t{32} << 20;

}  // namespace drivetrain
