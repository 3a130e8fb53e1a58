// Softmax and cross entropy over one row. The maximum is taken out first, so that nothing overflows; a row
// with a NaN or +infinity, or of -infinity alone, gives NaN.

// The sum of e^(x - top), which also go to out unless it is null. Each block of kBlock values is summed in
// vector lanes and added to the total in double, which bounds the error of long rows.
template <class V>
double sum_exp(const typename V::T* x, typename V::T top, typename V::T* out, size_t n) {
  using T = typename V::T;
  const V shift = V::set1(top);
  double total = 0;
  for (size_t start = 0; start < n; start += kBlock) {
    const size_t end = n - start < kBlock ? n : start + kBlock;
    V acc = V::set1(0);
    size_t i = start;
    for (; i + V::kLanes <= end; i += V::kLanes) {
      const V e = vexp_down(V::load(x + i) - shift);
      if (out) store(out + i, e);
      acc = acc + e;
    }
    if (i < end) {  // the padding, e^-infinity, adds 0
      const V e = vexp_down(V::load_n(x + i, end - i, -(T)__builtin_inff()) - shift);
      if (out) store_n(out + i, e, end - i);
      acc = acc + e;
    }
    total += (double)reduce_add(acc);
  }
  return total;
}

template <class V>
void softmax(const typename V::T* x, typename V::T* out, size_t n) {
  const double sum = sum_exp<V>(x, row_max<V>(x, n), out, n);
  const V scale = V::set1((typename V::T)(1 / sum));
  for_each_vector<V>(n, [=](size_t i, auto at) { at.put(out + i, at.load(out + i) * scale); });
}

template <class V>
double log_sum_exp(const typename V::T* x, typename V::T top, size_t n) {
  return ::log(sum_exp<V>(x, top, nullptr, n));
}

// (x - top) - log sum, in this order: x - top is exact or nearly so.
template <class V>
void log_softmax(const typename V::T* x, typename V::T* out, size_t n) {
  using T = typename V::T;
  const T top = row_max<V>(x, n);
  const V shift = V::set1(top), log_sum = V::set1((T)log_sum_exp<V>(x, top, n));
  for_each_vector<V>(n, [=](size_t i, auto at) { at.put(out + i, at.load(x + i) - shift - log_sum); });
}

// dx = y (dy - sum y dy)
template <class V>
void softmax_grad(const typename V::T* y, const typename V::T* dy, typename V::T* dx, size_t n) {
  using T = typename V::T;
  const V dot = V::set1((T)wide_sum<V>(
      n, [=](auto acc, size_t i, auto at) { return mul_add(at.wide(y + i), at.wide(dy + i), acc); }));
  for_each_vector<V>(n, [=](size_t i, auto at) { at.put(dx + i, at.load(y + i) * (at.load(dy + i) - dot)); });
}

// dx = dy - e^y sum dy
template <class V>
void log_softmax_grad(const typename V::T* y, const typename V::T* dy, typename V::T* dx, size_t n) {
  using T = typename V::T;
  const V total = V::set1((T)wide_sum_of<V>(dy, n));
  for_each_vector<V>(
      n, [=](size_t i, auto at) { at.put(dx + i, at.load(dy + i) - vexp_down(at.load(y + i)) * total); });
}

template <class V>
typename V::T cross_entropy(const typename V::T* logits, size_t n, size_t target) {
  using T = typename V::T;
  const T top = row_max<V>(logits, n);
  return (T)(log_sum_exp<V>(logits, top, n) - ((double)logits[target] - top));
}

// dx = scale (softmax - one at the target)
template <class V>
void cross_entropy_grad(const typename V::T* logits, size_t n, size_t target, typename V::T scale,
                        typename V::T* dx) {
  const double sum = sum_exp<V>(logits, row_max<V>(logits, n), dx, n);
  const V factor = V::set1((typename V::T)(scale / sum));
  for_each_vector<V>(n, [=](size_t i, auto at) { at.put(dx + i, at.load(dx + i) * factor); });
  dx[target] -= scale;
}
