// The extent of many values in one pass, added up in an order that depends on their number alone.
#pragma once
#include <cmath>

#include "kernels_of.h"
#include "pieces.h"
#include "tensor_ref.h"

namespace drivetrain {

inline Extent& operator+=(Extent& all, const Extent& part) {
  all.sum_squares += part.sum_squares;
  if (!(part.largest <= all.largest) && all.largest == all.largest) all.largest = part.largest;
  all.not_finite += part.not_finite;
  return all;
}

// Of all values of the tensors; piece(i, first, n) gives the extent of n values of tensor i from `first` on.
template <class Piece>
Extent extent_in_order(const TensorRef* tensors, size_t count, Piece piece) {
  Extent* pieces = nullptr;
  size_t total = 0;
  for_each_piece_of(
      tensors, count,
      [&](size_t number) {
        total = number;
        pieces = static_cast<Extent*>(scratch(5, (total + 1) * sizeof(Extent)));
      },
      [&](size_t place, size_t i, size_t first, size_t n) { pieces[place] = piece(i, first, n); });
  Extent all = {0, 0, 0};
  for (size_t place = 0; place < total; place++) all += pieces[place];
  return all;
}

template <class T>
double scaled_squares_of(const TensorRef& x, double largest) {
  double total = 0;
  for (size_t j = 0; j < x.size(); j++) {
    const double scaled = x.as<T>()[j] / largest;
    if (std::abs(scaled) <= 1) total += scaled * scaled;  // what is larger was not counted
  }
  return total;
}

// The L2 norm over tensors of f32 and f64 with this extent: of f64, squares may overflow or vanish. What has
// 16 bits never comes that far.
inline double norm_of(const Extent& all, const TensorRef* tensors, size_t count) {
  const bool held = all.sum_squares > 1e-280 && all.sum_squares < HUGE_VAL;
  if (held || all.not_finite != 0 || !(all.largest > 0)) return std::sqrt(all.sum_squares);
  double total = 0;
  for (size_t i = 0; i < count; i++) {
    if (bytes_of(tensors[i].dtype) < sizeof(float)) continue;
    total += DRIVETRAIN_FLOAT_DISPATCH(tensors[i].dtype, scaled_squares_of, tensors[i], all.largest);
  }
  return all.largest * std::sqrt(total);
}

}  // namespace drivetrain
