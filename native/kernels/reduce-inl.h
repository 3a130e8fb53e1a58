// Sums, maxima and their like. Sums over a row are taken in double, in 16 interleaved parts that are then
// added pairwise: an order that depends on n alone, and the same bits on every target.

template <class Term>
DT_INLINE double wide_sum(size_t n, Term term) {
  constexpr size_t kParts = 16;
  double part[kParts] = {};
  size_t i = 0;
  for (; i + kParts <= n; i += kParts)
    for (size_t j = 0; j < kParts; ++j) part[j] += term(i + j);
  for (size_t j = 0; i + j < n; ++j) part[j] += term(i + j);
  for (size_t width = kParts / 2; width; width /= 2)
    for (size_t j = 0; j < width; ++j) part[j] += part[j + width];
  return part[0];
}

template <class T>
T sum(const T* x, size_t n) {
  return (T)wide_sum(n, [x](size_t i) { return (double)x[i]; });
}

template <class T>
double sum_squares(const T* x, size_t n) {
  return wide_sum(n, [x](size_t i) { return (double)x[i] * x[i]; });
}

// Maximum(x, acc) keeps the test for NaN, which looks at x alone, off the chain from one acc to the next;
// four of them hide its latency.
template <class V>
typename V::T row_max(const typename V::T* x, size_t n) {
  const Maximum larger;
  constexpr size_t kVecs = 4, kValues = kVecs * V::kLanes;
  V acc[kVecs];
  for (size_t j = 0; j < kVecs; ++j) acc[j] = V::set1(x[0]);
  size_t i = 0;
  for (; i + kValues <= n; i += kValues)
    for (size_t j = 0; j < kVecs; ++j) acc[j] = larger(V::load(x + i + j * V::kLanes), acc[j]);
  for (; i + V::kLanes <= n; i += V::kLanes) acc[0] = larger(V::load(x + i), acc[0]);
  if (i < n) acc[0] = larger(V::load_n(x + i, n - i, x[0]), acc[0]);
  typename V::T lane[V::kLanes];
  store(lane, larger(larger(acc[0], acc[1]), larger(acc[2], acc[3])));
  One<typename V::T> best{lane[0]};
  for (size_t j = 1; j < V::kLanes; ++j) best = larger(best, One<typename V::T>{lane[j]});
  return best.v;
}

template <class V>
int64_t argmax(const typename V::T* x, size_t n) {
  const typename V::T best = row_max<V>(x, n);
  const bool nan = best != best;
  size_t i = 0;
  for (; i + V::kLanes <= n; i += V::kLanes) {
    const V v = V::load(x + i);
    if (any(nan ? is_nan(v) : equal(v, V::set1(best)))) break;
  }
  while (nan ? x[i] == x[i] : x[i] != best) ++i;
  return (int64_t)i;
}

// Four vectors of columns at a time go down all rows.
template <class V, class Op>
void fold_rows(const typename V::T* x, size_t rows, size_t row_stride, typename V::T* out, size_t cols,
               typename V::T start) {
  const Op op;
  constexpr size_t kVecs = 4;
  size_t c = 0;
  for (; c + kVecs * V::kLanes <= cols; c += kVecs * V::kLanes) {
    V acc[kVecs];
    for (size_t j = 0; j < kVecs; ++j) acc[j] = V::set1(start);
    for (size_t r = 0; r < rows; ++r)
      for (size_t j = 0; j < kVecs; ++j) acc[j] = op(acc[j], V::load(x + r * row_stride + c + j * V::kLanes));
    for (size_t j = 0; j < kVecs; ++j) store(out + c + j * V::kLanes, acc[j]);
  }
  for (; c < cols; c += V::kLanes) {
    const size_t left = cols - c;
    V acc = V::set1(start);
    for (size_t r = 0; r < rows; ++r) {
      const typename V::T* p = x + r * row_stride + c;
      acc = op(acc, left < V::kLanes ? V::load_n(p, left) : V::load(p));
    }
    if (left < V::kLanes)
      store_n(out + c, acc, left);
    else
      store(out + c, acc);
  }
}

template <class V>
void sum_rows(const typename V::T* x, size_t rows, size_t row_stride, typename V::T* out, size_t cols) {
  fold_rows<V, Add>(x, rows, row_stride, out, cols, 0);
}

template <class V>
void max_rows(const typename V::T* x, size_t rows, size_t row_stride, typename V::T* out, size_t cols) {
  fold_rows<V, Maximum>(x, rows, row_stride, out, cols, -(typename V::T)__builtin_inff());
}
