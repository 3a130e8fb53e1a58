// Adafactor: the second moment of a matrix by that of its rows and of its columns.

template <class V>
void sum_squares_rows(const typename V::T* x, size_t rows, size_t row_stride, double* out, size_t cols) {
  using W = typename V::Wide;
  constexpr size_t kVecs = 4;
  size_t c = 0;
  for (; c + kVecs * V::kLanes <= cols; c += kVecs * V::kLanes) {
    W acc[kVecs];
    for (size_t j = 0; j < kVecs; ++j) acc[j] = W::set1(0);
    for (size_t r = 0; r < rows; ++r)
      for (size_t j = 0; j < kVecs; ++j) {
        const W w = load_wide(x + r * row_stride + c + j * V::kLanes);
        acc[j] = mul_add(w, w, acc[j]);
      }
    for (size_t j = 0; j < kVecs; ++j) store(out + c + j * V::kLanes, acc[j]);
  }
  for (; c < cols; c += V::kLanes) {
    const Part<V> at{cols - c < V::kLanes ? cols - c : V::kLanes};
    W acc = W::set1(0);
    for (size_t r = 0; r < rows; ++r) {
      const W w = at.wide(x + r * row_stride + c);
      acc = mul_add(w, w, acc);
    }
    double sums[V::kLanes];
    store(sums, acc);
    for (size_t j = 0; j < at.n; ++j) out[c + j] = sums[j];
  }
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
