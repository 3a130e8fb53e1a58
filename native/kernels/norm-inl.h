// Layer normalisation of one row (Ba, Kiros, Hinton 2016): y = (x - mean) / sqrt(var + eps) * gamma + beta,
// with the biased variance. Mean and variance are summed in double.

struct Moments {
  double mean, rstd;
};

template <class T>
Moments moments(const T* x, T eps, size_t n) {
  const double mean = wide_sum(n, [x](size_t i) { return (double)x[i]; }) / (double)n;
  const double squares = wide_sum(n, [=](size_t i) { return (x[i] - mean) * (x[i] - mean); });
  return {mean, 1 / ::sqrt(squares / (double)n + eps)};
}

template <class V>
void layer_norm(const typename V::T* x, const typename V::T* gamma, const typename V::T* beta,
                typename V::T eps, typename V::T* y, size_t n) {
  using T = typename V::T;
  const Moments s = moments(x, eps, n);
  const V mean = V::set1((T)s.mean), rstd = V::set1((T)s.rstd);
  for_each_vector<V>(n, [=](size_t i, auto at) {
    at.put(y + i, mul_add((at.load(x + i) - mean) * rstd, at.load(gamma + i), at.load(beta + i)));
  });
}

// With h = (x - mean) rstd and g = dy gamma: dx = rstd (g - mean(g) - h mean(g h)), dgamma += dy h, dbeta +=
// dy.
template <class V>
void layer_norm_grad(const typename V::T* x, const typename V::T* gamma, const typename V::T* dy,
                     typename V::T eps, typename V::T* dx, typename V::T* dgamma, typename V::T* dbeta,
                     size_t n) {
  using T = typename V::T;
  const Moments s = moments(x, eps, n);
  const double sum_g = wide_sum(n, [=](size_t i) { return (double)dy[i] * gamma[i]; });
  const double sum_gh =
      wide_sum(n, [=](size_t i) { return (double)dy[i] * gamma[i] * ((x[i] - s.mean) * s.rstd); });
  const V mean = V::set1((T)s.mean), rstd = V::set1((T)s.rstd);
  const V mean_g = V::set1((T)(sum_g / (double)n)), mean_gh = V::set1((T)(sum_gh / (double)n));
  for_each_vector<V>(n, [=](size_t i, auto at) {
    const V d = at.load(dy + i), h = (at.load(x + i) - mean) * rstd;
    const V g = d * at.load(gamma + i);
    at.put(dx + i, rstd * (g - mean_g - h * mean_gh));
    at.put(dgamma + i, mul_add(d, h, at.load(dgamma + i)));
    at.put(dbeta + i, at.load(dbeta + i) + d);
  });
}
