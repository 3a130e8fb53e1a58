#include "non_finite.h"

#include <algorithm>
#include <cstring>

namespace drivetrain {
namespace {

// Of the bits of a float without its sign, where `infinity` are those of infinity.
template <class Bits>
Worst worst_of_bits(Bits magnitude, Bits infinity) {
  return magnitude < infinity ? Worst::kFinite : magnitude == infinity ? Worst::kInfinite : Worst::kNaN;
}

template <class Bits>
Worst worst_of_dimension(const TensorRef& t, int dimension, const char* data, Bits infinity) {
  if (dimension == t.rank) {
    Bits bits;
    std::memcpy(&bits, data, sizeof(Bits));
    return worst_of_bits<Bits>(bits & static_cast<Bits>(~(Bits{1} << (8 * sizeof(Bits) - 1))), infinity);
  }
  const int64_t count =
      t.strides[dimension] == 0 ? std::min<int64_t>(t.shape[dimension], 1) : t.shape[dimension];
  Worst worst = Worst::kFinite;
  for (int64_t i = 0; i < count && worst != Worst::kNaN; i++) {
    const char* const element = data + i * t.strides[dimension] * static_cast<int64_t>(sizeof(Bits));
    worst = std::max(worst, worst_of_dimension<Bits>(t, dimension + 1, element, infinity));
  }
  return worst;
}

}  // namespace

Worst worst_of(const TensorRef& t) {
  if (t.size() == 0) return Worst::kFinite;
  const char* const data = t.as<const char>();
  switch (t.dtype) {
    case DType::kF32:
      return worst_of_dimension<uint32_t>(t, 0, data, 0x7f800000u);
    case DType::kF64:
      return worst_of_dimension<uint64_t>(t, 0, data, 0x7ff0000000000000u);
    case DType::kF16:
      return worst_of_dimension<uint16_t>(t, 0, data, 0x7c00);
    case DType::kBF16:
      return worst_of_dimension<uint16_t>(t, 0, data, 0x7f80);
    default:
      return Worst::kFinite;
  }
}

}  // namespace drivetrain
