// Integers that number classes or the rows of a table. TypeScript does not see their values: ops look at each
// where they use it.
#pragma once
#include <atomic>

#include "tensor_ref.h"

namespace drivetrain {

inline int64_t index_at(const TensorRef& indices, size_t i) {
  return indices.dtype == DType::kI64 ? indices.as<int64_t>()[i] : indices.as<int32_t>()[i];
}

// Whether an index is from 0 on and below the limit: a negative one is too large.
inline bool is_below(int64_t index, size_t limit) { return static_cast<uint64_t>(index) < limit; }

// The first of the indices that is out of its range, whichever threads meet such ones.
class FirstOutOfRange {
 public:
  void note(size_t place) {
    size_t first = first_.load(std::memory_order_relaxed);
    while (place < first && !first_.compare_exchange_weak(first, place, std::memory_order_relaxed)) {
    }
  }
  // When all of them were looked at: refuses the call where there is one.
  void refuse(const OpCall& call, const TensorRef& indices) const {
    const size_t place = first_.load(std::memory_order_relaxed);
    if (place != kNone) *call.refusal = {Refusal::kIndex, place, index_at(indices, place)};
  }

 private:
  static constexpr size_t kNone = SIZE_MAX;
  std::atomic<size_t> first_{kNone};
};

}  // namespace drivetrain
