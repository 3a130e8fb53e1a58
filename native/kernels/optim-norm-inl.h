// LAMB and LARS: a rate for each tensor by its norms.

//   m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g^2,  u = step_m m / (root sqrt(v) + eps) + decay p,
//   then p -= rate u: two passes, which read 24 and 16 bytes a parameter in f32. u is made twice, not kept.
template <class V>
struct LambUpdate {
  V step_m, root, eps, decay;
  explicit LambUpdate(const LambArgs& a)
      : step_m(constant<V>(a.step_m)),
        root(constant<V>(a.root)),
        eps(constant<V>(a.eps)),
        decay(constant<V>(a.decay)) {}
  DT_INLINE V operator()(V p, V m, V v) const {
    return mul_add(decay, p, step_m * m / mul_add(sqrt(v), root, eps));
  }
};

template <class V, class T = typename V::T>
NormSquares lamb_moments(const LambArgs& a, const T* param, const T* grad, T* m, T* v, size_t n) {
  constexpr size_t kSummed = 1024;  // values that wait in cache to be squared in double
  T updates[kSummed];
  const V scale = constant<V>(a.scale), beta1 = constant<V>(a.beta1), blend1 = constant<V>(1 - a.beta1),
          beta2 = constant<V>(a.beta2), blend2 = constant<V>(1 - a.beta2);
  const LambUpdate<V> update(a);
  NormSquares sums = {0, 0};
  for (size_t first = 0; first < n; first += kSummed) {
    const size_t count = n - first < kSummed ? n - first : kSummed;
    const T *const p = param + first, *const g = grad + first;
    T *const ms = m + first, *const vs = v + first, *const us = updates;
    for_each_vector<V>(count, [=](size_t i, auto at) {
      const V gradient = at.load(g + i) * scale;
      const V new_m = mul_add(beta1, at.load(ms + i), blend1 * gradient);
      const V new_v = mul_add(beta2, at.load(vs + i), blend2 * gradient * gradient);
      at.put(ms + i, new_m);
      at.put(vs + i, new_v);
      at.put(us + i, update(at.load(p + i), new_m, new_v));
    });
    sums.param += extent<V>(p, count).sum_squares;
    sums.update += extent<V>(us, count).sum_squares;
  }
  return sums;
}

template <class V, class T = typename V::T>
void lamb_apply(const LambArgs& a, double rate, T* param, const T* m, const T* v, size_t n) {
  const LambUpdate<V> update(a);
  const V minus_rate = constant<V>(-rate);
  for_each_vector<V>(n, [=](size_t i, auto at) {
    const V p = at.load(param + i);
    at.put(param + i, mul_add(minus_rate, update(p, at.load(m + i), at.load(v + i)), p));
  });
}

//   b = momentum b + rate (g + decay p),  p -= b
template <class V>
struct Lars {
  static constexpr int kStates = 1;
  Penalised<V> gradient;
  V rate, momentum;

  explicit Lars(const LarsArgs& a)
      : gradient(a), rate(constant<V>(a.rate)), momentum(constant<V>(a.momentum)) {}
  DT_INLINE void operator()(V& p, V g, V* s) const {
    s[0] = mul_add(momentum, s[0], rate * gradient(p, g));
    p = p - s[0];
  }
};

template <class V, class T = typename V::T>
void lars(const LarsArgs& a, const OptimizerPiece<T>* pieces, size_t count, T* const* state) {
  optimize<V>(Lars<V>(a), pieces, count, state);
}
