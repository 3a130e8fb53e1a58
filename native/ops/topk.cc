// The largest elements of each row of a contiguous tensor.
#include <algorithm>

#include "fill.h"
#include "kernels_of.h"
#include "parallel_chunks.h"
#include "table.h"

namespace drivetrain {
namespace {

constexpr int kOrderSlot = 4;  // of scratch
constexpr size_t kFew = 64;    // up to so many are kept in order while a row is read

// Whether x[i] comes before x[j]: the larger first, NaN before all numbers, the first of equals.
template <class T>
bool before(const T* x, int64_t i, int64_t j) {
  const bool i_nan = x[i] != x[i], j_nan = x[j] != x[j];
  if (i_nan || j_nan) return i_nan && (!j_nan || i < j);
  return x[i] > x[j] || (x[i] == x[j] && i < j);
}

// Most blocks of a long row hold nothing above the least of the best, which their maximum tells.
template <class T>
void few_of_row(const T* x, size_t n, int64_t* best, size_t k) {
  constexpr size_t kBlock = 64;
  size_t kept = 0;
  for (size_t start = 0; start < n; start += kBlock) {
    const size_t end = n - start < kBlock ? n : start + kBlock;
    if (kept == k && kernels_of<T>().max(x + start, end - start) <= x[best[k - 1]]) continue;
    for (size_t i = start; i < end; i++) {
      const int64_t at = static_cast<int64_t>(i);
      if (kept == k && !before(x, at, best[k - 1])) continue;
      size_t place = kept < k ? kept++ : k - 1;
      for (; place > 0 && before(x, at, best[place - 1]); place--) best[place] = best[place - 1];
      best[place] = at;
    }
  }
}

template <class T>
void many_of_row(const T* x, size_t n, int64_t* best, size_t k) {
  int64_t* order = static_cast<int64_t*>(scratch(kOrderSlot, n * sizeof(int64_t)));
  for (size_t i = 0; i < n; i++) order[i] = static_cast<int64_t>(i);
  const auto first = [x](int64_t i, int64_t j) { return before(x, i, j); };
  if (k < n) std::nth_element(order, order + k, order + n, first);
  std::sort(order, order + k, first);
  std::copy(order, order + k, best);
}

// operands: x [..., n], values [..., k], indices [..., k]
template <class T>
void topk_of(const OpCall& call) {
  const size_t n = call[0].cols(), k = call[1].cols();
  if (k == 0) return;
  parallel_chunks(call[0].rows(), rows_per_chunk(n), [&](size_t first, size_t end) {
    for (size_t r = first; r < end; r++) {
      const T* x = call[0].as<T>() + r * n;
      int64_t* best = call[2].as<int64_t>() + r * k;
      k <= kFew ? few_of_row(x, n, best, k) : many_of_row(x, n, best, k);
      for (size_t i = 0; i < k; i++) call[1].as<T>()[r * k + i] = x[best[i]];
    }
  });
}

// operands: indices [..., k], dy [..., k], dx [..., n]
template <class T>
void topk_grad_of(const OpCall& call) {
  const size_t k = call[0].cols(), n = call[2].cols();
  zero(call[2]);
  parallel_chunks(call[0].rows(), rows_per_chunk(k), [&](size_t first, size_t end) {
    for (size_t i = first * k; i < end * k; i++)
      call[2].as<T>()[i / k * n + static_cast<size_t>(call[0].as<int64_t>()[i])] = call[1].as<T>()[i];
  });
}

}  // namespace

void op_topk(const OpCall& call) { DRIVETRAIN_FLOAT_DISPATCH(call[0].dtype, topk_of, call); }
void op_topkGrad(const OpCall& call) { DRIVETRAIN_FLOAT_DISPATCH(call[1].dtype, topk_grad_of, call); }

}  // namespace drivetrain
