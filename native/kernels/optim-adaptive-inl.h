// Adagrad, Adadelta, RMSprop: rates by the squares of former gradients.

//   g += decay p,  sum += g^2,  p -= step g / (sqrt(sum) + eps)
template <class V>
struct Adagrad {
  static constexpr int kStates = 1;
  Penalised<V> gradient;
  V minus_step, eps;

  explicit Adagrad(const AdagradArgs& a)
      : gradient(a), minus_step(constant<V>(-a.step)), eps(constant<V>(a.eps)) {}
  DT_INLINE void operator()(V& p, V g, V* s) const {
    g = gradient(p, g);
    s[0] = mul_add(g, g, s[0]);
    p = mul_add(minus_step, g / (sqrt(s[0]) + eps), p);
  }
};

template <class V, class T = typename V::T>
void adagrad(const AdagradArgs& a, const OptimizerPiece<T>* pieces, size_t count, T* const* state) {
  optimize<V>(Adagrad<V>(a), pieces, count, state);
}

//   g += decay p,  v = rho v + (1 - rho) g^2,  d = sqrt(u + eps) / sqrt(v + eps) g,
//   u = rho u + (1 - rho) d^2,  p -= lr d
template <class V>
struct Adadelta {
  static constexpr int kStates = 2;
  Penalised<V> gradient;
  V minus_lr, rho, blend, eps;

  explicit Adadelta(const AdadeltaArgs& a)
      : gradient(a),
        minus_lr(constant<V>(-a.lr)),
        rho(constant<V>(a.rho)),
        blend(constant<V>(1 - a.rho)),
        eps(constant<V>(a.eps)) {}
  DT_INLINE void operator()(V& p, V g, V* s) const {
    g = gradient(p, g);
    s[0] = mul_add(rho, s[0], blend * g * g);
    // Two roots: their quotient's would overflow for large gradients.
    const V d = sqrt(s[1] + eps) / sqrt(s[0] + eps) * g;
    s[1] = mul_add(rho, s[1], blend * d * d);
    p = mul_add(minus_lr, d, p);
  }
};

template <class V, class T = typename V::T>
void adadelta(const AdadeltaArgs& a, const OptimizerPiece<T>* pieces, size_t count, T* const* state) {
  optimize<V>(Adadelta<V>(a), pieces, count, state);
}

//   g += decay p,  v = alpha v + (1 - alpha) g^2,  centred: a = alpha a + (1 - alpha) g,
//   d = g / (sqrt(centred ? v - a^2 : v) + eps),  b = momentum b + d,  p -= lr b (without momentum: d)
template <class V, bool kMomentum, bool kCentered>
struct Rmsprop {
  static constexpr int kStates = 1 + kMomentum + kCentered;
  Penalised<V> gradient;
  V minus_lr, alpha, blend, eps, momentum;

  explicit Rmsprop(const RmspropArgs& a)
      : gradient(a),
        minus_lr(constant<V>(-a.lr)),
        alpha(constant<V>(a.alpha)),
        blend(constant<V>(1 - a.alpha)),
        eps(constant<V>(a.eps)),
        momentum(constant<V>(a.momentum)) {}
  DT_INLINE void operator()(V& p, V g, V* s) const {
    g = gradient(p, g);
    V v = s[0] = mul_add(alpha, s[0], blend * g * g);
    if (kCentered) {
      V& average = s[1 + kMomentum];
      average = mul_add(alpha, average, blend * g);
      // A variance; rounding can make it negative. max gives its second argument where that is NaN.
      v = max(V::set1(0), mul_add(negate(average), average, v));
    }
    V d = g / (sqrt(v) + eps);
    if (kMomentum) d = s[1] = mul_add(momentum, s[1], d);
    p = mul_add(minus_lr, d, p);
  }
};

template <class V, class T = typename V::T>
void rmsprop(const RmspropArgs& a, const OptimizerPiece<T>* pieces, size_t count, T* const* state) {
  if (a.momentum == 0)
    a.centered ? optimize<V>(Rmsprop<V, false, true>(a), pieces, count, state)
               : optimize<V>(Rmsprop<V, false, false>(a), pieces, count, state);
  else
    a.centered ? optimize<V>(Rmsprop<V, true, true>(a), pieces, count, state)
               : optimize<V>(Rmsprop<V, true, false>(a), pieces, count, state);
}
