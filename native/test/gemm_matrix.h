// Operands of matrix products under test.
#pragma once
#include <algorithm>
#include "harness.h"

namespace drivetrain::test {

// An m x n matrix, stored transposed or not, in rows a little longer than they need be.
template <class T>
struct Matrix {
  size_t lead;
  ptrdiff_t row, col;
  Buffer<T> data;

  Matrix(Random& random, size_t m, size_t n, bool transposed, size_t gap)
      : lead((transposed ? m : n) + gap),
        row(transposed ? 1 : ptrdiff_t(lead)),
        col(transposed ? ptrdiff_t(lead) : 1),
        data(random.array<T>(m && n ? ((transposed ? n : m) - 1) * lead + lead - gap : 0)) {}

  T& at(size_t i, size_t j) { return data[size_t(ptrdiff_t(i) * row + ptrdiff_t(j) * col)]; }
  // Three values of four become 0 or -0, most of them in blocks of length_m x length_n.
  void clear(Random& random, size_t m, size_t n, size_t length_m, size_t length_n) {
    for (size_t i0 = 0; i0 < m; i0 += length_m)
      for (size_t j0 = 0; j0 < n; j0 += length_n) {
        const bool all = random.uniform(0, 1) < 0.65;
        for (size_t i = i0; i < std::min(m, i0 + length_m); ++i)
          for (size_t j = j0; j < std::min(n, j0 + length_n); ++j)
            if (all || random.uniform(0, 1) < 0.3) at(i, j) = random.uniform(0, 1) < 0.5 ? T(0) : -T(0);
      }
  }
};

template <class T>
void use_packed(GemmArgs<T>& g, const Buffer<T>& packed) {
  g.b_packed = packed.data(), g.b = nullptr;
  g.b_finite = packed_is_finite(packed.data(), packed.size() * sizeof(T));
}

// m, n, k of products that leave out steps of k where A has zeros.
inline constexpr size_t kZeroShapes[][3] = {{1, 256, 784}, {1, 300, 130}, {2, 256, 784},  {3, 300, 300},
                                            {8, 256, 784}, {9, 77, 257},  {145, 130, 70}, {500, 70, 520}};

}  // namespace drivetrain::test
