// Normalisation of one row. Layer normalisation (Ba, Kiros, Hinton 2016): y = (x - mean) / sqrt(var + eps) *
// gamma + beta, with the biased variance. RMS normalisation (Zhang, Sennrich 2019): y = x / sqrt(mean(x^2) +
// eps) * gamma. Sums are taken in double.

struct Moments {
  double mean, rstd;
};

// From the sums of x and of x^2. Of f32 these are nearly exact in double, and mean^2 / var must pass 2^29
// before taking one from the other costs as much as rounding the mean to f32 does.
DT_INLINE Moments moments_from(double sum, double squares, double eps, size_t n) {
  const double mean = sum / (double)n, variance = squares / (double)n - mean * mean;
  return {mean, 1 / ::sqrt((variance < 0 ? 0 : variance) + eps)};
}

DT_INLINE Moments moments(const float* x, float eps, size_t n) {
  constexpr size_t kVecs = kParts / F::kLanes;
  F::Wide sum[kVecs], squares[kVecs];
  for (size_t j = 0; j < kVecs; ++j) sum[j] = squares[j] = F::Wide::set1(0);
  for_each_part<F>(n, [&](size_t j, size_t i, auto at) {
    const auto w = at.wide(x + i);
    sum[j] = sum[j] + w;
    squares[j] = mul_add(w, w, squares[j]);
  });
  return moments_from(join<F>(sum), join<F>(squares), eps, n);
}

DT_INLINE Moments moments(const double* x, double eps, size_t n) {
  const double mean = wide_sum_of<D>(x, n) / (double)n;
  const double squares = wide_sum<D>(n, [=](D acc, size_t i, auto at) {
    const D d = at.load(x + i, mean) - D::set1(mean);
    return mul_add(d, d, acc);
  });
  return {mean, 1 / ::sqrt(squares / (double)n + eps)};
}

// The same of x and, with g = dy gamma and h = (x - mean) rstd, the means of g and of g h.
struct GradientMoments {
  Moments x;
  double g, gh;
};

DT_INLINE GradientMoments gradient_moments(const float* x, const float* gamma, const float* dy, float eps,
                                           size_t n) {
  using W = F::Wide;
  W sum = W::set1(0), squares = sum, sum_g = sum, sum_gx = sum;
  for_each_vector<F>(n, [&](size_t i, auto at) {
    const W w = at.wide(x + i), g = widen(at.load(dy + i) * at.load(gamma + i));
    sum = sum + w;
    squares = mul_add(w, w, squares);
    sum_g = sum_g + g;
    sum_gx = mul_add(g, w, sum_gx);
  });
  const Moments s = moments_from(reduce_add(sum), reduce_add(squares), eps, n);
  const double total_g = reduce_add(sum_g);
  return {s, total_g / (double)n, s.rstd * (reduce_add(sum_gx) - s.mean * total_g) / (double)n};
}

DT_INLINE GradientMoments gradient_moments(const double* x, const double* gamma, const double* dy, double eps,
                                           size_t n) {
  const Moments s = moments(x, eps, n);
  const auto g = [=](size_t i, auto at) { return at.load(dy + i) * at.load(gamma + i); };
  const double sum_g = wide_sum<D>(n, [=](D acc, size_t i, auto at) { return acc + g(i, at); });
  const double sum_gd = wide_sum<D>(n, [=](D acc, size_t i, auto at) {
    return mul_add(g(i, at), at.load(x + i, s.mean) - D::set1(s.mean), acc);
  });
  return {s, sum_g / (double)n, s.rstd * sum_gd / (double)n};
}

template <class V>
DT_INLINE V inverse_rms(const typename V::T* x, typename V::T eps, size_t n) {
  const double squares = wide_sum<V>(n, [x](auto acc, size_t i, auto at) {
    const auto w = at.wide(x + i);
    return mul_add(w, w, acc);
  });
  return V::set1((typename V::T)(1 / ::sqrt(squares / (double)n + eps)));
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

template <class V>
void rms_norm(const typename V::T* x, const typename V::T* gamma, typename V::T eps, typename V::T* y,
              size_t n) {
  const V rrms = inverse_rms<V>(x, eps, n);
  for_each_vector<V>(n,
                     [=](size_t i, auto at) { at.put(y + i, at.load(x + i) * rrms * at.load(gamma + i)); });
}

// With h = (x - mean) rstd and g = dy gamma: dx = rstd (g - mean(g) - h mean(g h)), dgamma += dy h, dbeta +=
// dy.
template <class V>
void layer_norm_grad(const typename V::T* x, const typename V::T* gamma, const typename V::T* dy,
                     typename V::T eps, typename V::T* dx, typename V::T* dgamma, typename V::T* dbeta,
                     size_t n) {
  using T = typename V::T;
  const GradientMoments s = gradient_moments(x, gamma, dy, eps, n);
  const V mean = V::set1((T)s.x.mean), rstd = V::set1((T)s.x.rstd);
  const V shift = V::set1((T)(-s.x.rstd * s.g)), slope = V::set1((T)(-s.x.rstd * s.gh));
  for_each_vector<V>(n, [=](size_t i, auto at) {
    const V d = at.load(dy + i), h = (at.load(x + i) - mean) * rstd;
    const V g = d * at.load(gamma + i);
    at.put(dx + i, mul_add(rstd, g, mul_add(slope, h, shift)));
    at.put(dgamma + i, mul_add(d, h, at.load(dgamma + i)));
    at.put(dbeta + i, at.load(dbeta + i) + d);
  });
}

// With h = x / rms and g = dy gamma: dx = (g - h mean(g h)) / rms, dgamma += dy h.
template <class V>
void rms_norm_grad(const typename V::T* x, const typename V::T* gamma, const typename V::T* dy,
                   typename V::T eps, typename V::T* dx, typename V::T* dgamma, size_t n) {
  using T = typename V::T;
  const V rrms = inverse_rms<V>(x, eps, n);
  const double sum_gh = wide_sum<V>(n, [=](auto acc, size_t i, auto at) {
    return mul_add(widen(at.load(dy + i) * at.load(gamma + i)), widen(at.load(x + i) * rrms), acc);
  });
  const V mean_gh = V::set1((T)(sum_gh / (double)n));
  for_each_vector<V>(n, [=](size_t i, auto at) {
    const V d = at.load(dy + i), h = at.load(x + i) * rrms;
    at.put(dx + i, rrms * (d * at.load(gamma + i) - h * mean_gh));
    at.put(dgamma + i, mul_add(d, h, at.load(dgamma + i)));
  });
}
