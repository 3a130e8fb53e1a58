// Zeros where a mask says so.
#include "parallel_chunks.h"
#include "table.h"

namespace drivetrain {

namespace {

// A bool is 0 or 1, so that its negative has no bits or all of them: what is kept stays to the bit, NaN too.
template <class Bits>
void mask(Bits* x, const uint8_t* kept, size_t n) {
  for (size_t i = 0; i < n; i++) x[i] &= static_cast<Bits>(0) - kept[i];
}

}  // namespace

// operands: x f32 or f64 [...], in place; kept bool [...]
void op_mask(const OpCall& call) {
  const uint8_t* kept = call[1].as<uint8_t>();
  const bool is_double = call[0].dtype == DType::kF64;
  parallel_chunks(call[0].size(), rows_per_chunk(1), [&](size_t first, size_t end) {
    if (is_double)
      mask(call[0].as<uint64_t>() + first, kept + first, end - first);
    else
      mask(call[0].as<uint32_t>() + first, kept + first, end - first);
  });
}

}  // namespace drivetrain
