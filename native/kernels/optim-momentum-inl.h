// SGD and Lion: one moment, or none.

//   g += decay p,  b = momentum b + (1 - dampening) g (at first b = g, from zeros),  p -= lr (nesterov ? g +
//   momentum b : b)
template <class V, bool kMomentum, bool kNesterov>
struct Sgd {
  static constexpr int kStates = kMomentum;
  Penalised<V> gradient;
  V minus_lr, momentum, keep, blend;

  explicit Sgd(const SgdArgs& a)
      : gradient(a),
        minus_lr(constant<V>(-a.lr)),
        momentum(constant<V>(a.momentum)),
        keep(constant<V>(a.first ? 0 : a.momentum)),
        blend(constant<V>(a.first ? 1 : 1 - a.dampening)) {}
  DT_INLINE void operator()(V& p, V g, V* s) const {
    g = gradient(p, g);
    if (kMomentum) {
      s[0] = mul_add(keep, s[0], blend * g);
      g = kNesterov ? mul_add(momentum, s[0], g) : s[0];
    }
    p = mul_add(minus_lr, g, p);
  }
};

template <class V, class T = typename V::T>
void sgd(const SgdArgs& a, const OptimizerPiece<T>* pieces, size_t count, T* const* state) {
  if (a.momentum == 0)
    optimize<V>(Sgd<V, false, false>(a), pieces, count, state);
  else if (a.nesterov)
    optimize<V>(Sgd<V, true, true>(a), pieces, count, state);
  else
    optimize<V>(Sgd<V, true, false>(a), pieces, count, state);
}

//   p = keep p - lr sign(b1 m + (1 - b1) g),  m = b2 m + (1 - b2) g
template <class V>
struct LionStep {
  static constexpr int kStates = 1;
  V scale, keep, minus_lr, beta1, blend1, beta2, blend2;

  explicit LionStep(const LionArgs& a)
      : scale(constant<V>(a.scale)),
        keep(constant<V>(a.keep)),
        minus_lr(constant<V>(-a.lr)),
        beta1(constant<V>(a.beta1)),
        blend1(constant<V>(1 - a.beta1)),
        beta2(constant<V>(a.beta2)),
        blend2(constant<V>(1 - a.beta2)) {}
  DT_INLINE void operator()(V& p, V g, V* s) const {
    g = g * scale;
    const V direction = Sign()(mul_add(beta1, s[0], blend1 * g));
    p = mul_add(minus_lr, direction, p * keep);
    s[0] = mul_add(beta2, s[0], blend2 * g);
  }
};

template <class V, class T = typename V::T>
void lion(const LionArgs& a, const OptimizerPiece<T>* pieces, size_t count, T* const* state) {
  optimize<V>(LionStep<V>(a), pieces, count, state);
}
