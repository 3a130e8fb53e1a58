// Sums, maxima and their like. Sums over a row are taken in double, in 16 interleaved parts that are then
// added pairwise: an order that depends on n alone.

constexpr size_t kParts = 16;

// Adds up vectors that hold kParts sums in all.
template <class V>
DT_INLINE double join(const typename V::Wide (&acc)[kParts / V::kLanes]) {
  double part[kParts];
  for (size_t j = 0; j < kParts / V::kLanes; ++j) store(part + j * V::kLanes, acc[j]);
  for (size_t width = kParts / 2; width; width /= 2)
    for (size_t j = 0; j < width; ++j) part[j] += part[j + width];
  return part[0];
}

// Calls body(j, i, at) for the vectors at i of a range of n values; j, known to the compiler, counts the
// vectors of kParts values.
template <class V, class Body>
DT_INLINE void for_each_part(size_t n, Body body) {
  constexpr size_t kVecs = kParts / V::kLanes;
  size_t i = 0;
  for (; i + kParts <= n; i += kParts) {
    DT_UNROLL
    for (size_t j = 0; j < kVecs; ++j) body(j, i + j * V::kLanes, Whole<V>{});
  }
  DT_UNROLL
  for (size_t j = 0; j < kVecs; ++j, i += V::kLanes) {
    if (i + V::kLanes <= n)
      body(j, i, Whole<V>{});
    else if (i < n)
      body(j, i, Part<V>{n - i});
  }
}

// Asks for memory ahead of a loop that only reads: the hardware's prefetchers stop at the end of every page.
// Beyond the cache this is worth a third on one thread, and half on two.
template <class V>
DT_INLINE void ask_ahead(const typename V::T* x) {
  constexpr size_t kAhead = 1024;
  if (V::kLanes > 1) __builtin_prefetch(x + kAhead, 0);
}

// The sum of what term(acc, i, at), which adds what stands at i to sums acc, adds. Beyond the end `at` loads
// zeros.
template <class V, class Term>
DT_INLINE double wide_sum(size_t n, Term term) {
  typename V::Wide acc[kParts / V::kLanes];
  for (auto& sums : acc) sums = V::Wide::set1(0);
  for_each_part<V>(n, [&](size_t j, size_t i, auto at) { acc[j] = term(acc[j], i, at); });
  return join<V>(acc);
}

template <class V>
DT_INLINE double wide_sum_of(const typename V::T* x, size_t n) {
  return wide_sum<V>(n, [x](auto acc, size_t i, auto at) {
    ask_ahead<V>(x + i);
    return acc + at.wide(x + i);
  });
}

template <class V>
typename V::T sum(const typename V::T* x, size_t n) {
  return (typename V::T)wide_sum_of<V>(x, n);
}

// A sum of squares that is finite has no NaN or infinity in it, so those are counted only where it is not.
template <class V>
Extent extent(const typename V::T* x, size_t n) {
  using T = typename V::T;
  constexpr size_t kVecs = kParts / V::kLanes;
  typename V::Wide acc[kVecs];
  V top[kVecs];
  for (size_t j = 0; j < kVecs; ++j) acc[j] = V::Wide::set1(0), top[j] = V::set1(0);
  for_each_part<V>(n, [&](size_t j, size_t i, auto at) {
    ask_ahead<V>(x + i);
    const auto w = at.wide(x + i);
    acc[j] = mul_add(w, w, acc[j]);
    top[j] = max(abs(at.load(x + i)), top[j]);  // passes over a NaN
  });
  Extent result = {join<V>(acc), 0, 0};
  T lane[kParts];
  for (size_t j = 0; j < kVecs; ++j) store(lane + j * V::kLanes, top[j]);
  for (size_t j = 0; j < kParts; ++j)
    if (lane[j] > result.largest) result.largest = lane[j];
  if (result.sum_squares < __builtin_inf()) return result;
  for (size_t i = 0; i < n; ++i) {
    if (x[i] != x[i]) result.largest = __builtin_nan("");
    result.not_finite += x[i] - x[i] != 0;
  }
  return result;
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
  using Lane = One<typename V::T>;
  typename V::T lane[V::kLanes];
  store(lane, larger(larger(acc[0], acc[1]), larger(acc[2], acc[3])));
  for (size_t width = V::kLanes / 2; width; width /= 2)
    for (size_t j = 0; j < width; ++j) lane[j] = larger(Lane{lane[j]}, Lane{lane[j + width]}).v;
  return lane[0];
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
