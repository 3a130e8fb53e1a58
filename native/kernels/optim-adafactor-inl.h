// Adafactor: the second moment of a matrix by that of its rows and of its columns.

// kRows rows of a tile: its sums by rows are written, those by columns added to, or written where `first`.
// All rows go along together, so that however far apart they are each line of memory is read once.
template <int kRows, class V>
DT_INLINE void sum_squares_strip(const typename V::T* x, size_t row_stride, size_t cols, bool first,
                                 double* row_sums, double* col_sums) {
  using W = typename V::Wide;
  W of_row[kRows];
  for (int r = 0; r < kRows; ++r) of_row[r] = W::set1(0);
  for_each_vector<V>(cols, [&](size_t c, auto at) {
    W of_col = W::set1(0);
    DT_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const W w = at.wide(x + (size_t)r * row_stride + c);
      of_row[r] = mul_add(w, w, of_row[r]);
      of_col = mul_add(w, w, of_col);
    }
    double sums[V::kLanes];
    store(sums, of_col);
    const size_t n = cols - c < V::kLanes ? cols - c : V::kLanes;
    for (size_t j = 0; j < n; ++j) col_sums[c + j] = first ? sums[j] : col_sums[c + j] + sums[j];
  });
  for (int r = 0; r < kRows; ++r) row_sums[r] = reduce_add(of_row[r]);
}

template <class V>
void sum_squares_tile(const typename V::T* x, size_t rows, size_t row_stride, size_t cols, double* row_sums,
                      double* col_sums) {
  constexpr int kRows = 4;
  size_t r = 0;
  for (; r + kRows <= rows; r += kRows)
    sum_squares_strip<kRows, V>(x + r * row_stride, row_stride, cols, r == 0, row_sums + r, col_sums);
  for (; r < rows; ++r)
    sum_squares_strip<1, V>(x + r * row_stride, row_stride, cols, r == 0, row_sums + r, col_sums);
}

template <bool kFactored, class V>
DT_INLINE V adafactor_update(V row, V g, V column) {
  if constexpr (kFactored) return g * row * column;
  return g * row / sqrt(column);
}

template <class V, class T = typename V::T>
double adafactor_moment(const AdafactorArgs& a, const T* grad, T* v, size_t n) {
  const V scale = constant<V>(a.scale), beta2 = constant<V>(a.beta2), blend2 = constant<V>(1 - a.beta2),
          eps = constant<V>(a.eps);
  return wide_sum<V>(n, [=](auto acc, size_t i, auto at) {
    const V gradient = at.load(grad + i), g = gradient * scale;
    const V moment = mul_add(beta2, at.load(v + i, 1), blend2 * mul_add(g, g, eps));
    at.put(v + i, moment);
    const auto update = widen(adafactor_update<false>(scale, gradient, moment));
    return mul_add(update, update, acc);
  });
}

template <class V, class T = typename V::T>
double adafactor_squares(T row, const T* grad, const T* column, size_t n) {
  const V rows = V::set1(row);
  return wide_sum<V>(n, [=](auto acc, size_t i, auto at) {
    const auto update = widen(adafactor_update<true>(rows, at.load(grad + i), at.load(column + i)));
    return mul_add(update, update, acc);
  });
}

template <bool kFactored, class V, class T = typename V::T>
void adafactor_step(const AdafactorArgs& a, T row, T* param, const T* grad, const T* column, T* m, size_t n) {
  const V rows = V::set1(row), keep = constant<V>(a.keep), minus_step = constant<V>(-a.step),
          beta1 = constant<V>(a.beta1), step_m = constant<V>((1 - a.beta1) * a.step);
  for_each_vector<V>(n, [=](size_t i, auto at) {
    const V update = adafactor_update<kFactored>(rows, at.load(grad + i), at.load(column + i, 1));
    const V kept = keep * at.load(param + i);
    if (m) {
      const V momentum = mul_add(beta1, at.load(m + i), step_m * update);
      at.put(m + i, momentum);
      at.put(param + i, kept - momentum);
    } else {
      at.put(param + i, mul_add(minus_step, update, kept));
    }
  });
}

template <class V, class T = typename V::T>
void adafactor_apply(const AdafactorArgs& a, bool factored, T row, T* param, const T* grad, const T* column,
                     T* m, size_t n) {
  if (factored) return adafactor_step<true, V>(a, row, param, grad, column, m, n);
  adafactor_step<false, V>(a, row, param, grad, column, m, n);
}
