// Adam and its relatives: two moments.

//   g += decay p,  m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g^2  (AdaBelief: (g - m)^2, and eps added)
//   p = keep p - (step_m m + step_g g) / (root sqrt(v) + eps)
// The scale of the root is folded into the multiply-add: one root and one division a vector, which is what
// binds in cache.
enum class Second { kPlain, kLargest, kBelief };

template <class V, Second kSecond>
struct AdamMoments {
  static constexpr int kStates = kSecond == Second::kLargest ? 3 : 2;
  Penalised<V> gradient;
  V beta1, blend1, beta2, blend2, keep, minus_step_m, minus_step_g, root, eps;

  explicit AdamMoments(const AdamArgs& a)
      : gradient(a),
        beta1(constant<V>(a.beta1)),
        blend1(constant<V>(1 - a.beta1)),
        beta2(constant<V>(a.beta2)),
        blend2(constant<V>(1 - a.beta2)),
        keep(constant<V>(a.keep)),
        minus_step_m(constant<V>(-a.step_m)),
        minus_step_g(constant<V>(-a.step_g)),
        root(constant<V>(a.root)),
        eps(constant<V>(a.eps)) {}
  // Updates the moments, and gives the second one as the denominator takes it.
  DT_INLINE V moments(V g, V* s) const {
    s[0] = mul_add(beta1, s[0], blend1 * g);
    const V d = kSecond == Second::kBelief ? g - s[0] : g;
    const V v = mul_add(beta2, s[1], blend2 * d * d);
    s[1] = kSecond == Second::kBelief ? v + eps : v;
    if (kSecond != Second::kLargest) return s[1];
    s[2] = Maximum()(s[2], s[1]);
    return s[2];
  }
  DT_INLINE V denominator(V v) const { return mul_add(sqrt(v), root, eps); }
};

template <class V, Second kSecond>
struct Adam : AdamMoments<V, kSecond> {
  using AdamMoments<V, kSecond>::AdamMoments;
  DT_INLINE void operator()(V& p, V g, V* s) const {
    g = this->gradient(p, g);
    const V v = this->moments(g, s);
    p = mul_add(this->minus_step_m, s[0] / this->denominator(v), p * this->keep);
  }
};

template <class V>
struct Nadam : AdamMoments<V, Second::kPlain> {
  using AdamMoments<V, Second::kPlain>::AdamMoments;
  DT_INLINE void operator()(V& p, V g, V* s) const {
    g = this->gradient(p, g);
    const V v = this->moments(g, s);
    const V numerator = mul_add(this->minus_step_m, s[0], this->minus_step_g * g);
    p = p * this->keep + numerator / this->denominator(v);
  }
};

template <class V>
struct MomentsOnly : AdamMoments<V, Second::kPlain> {  // the denominator is 1
  using AdamMoments<V, Second::kPlain>::AdamMoments;
  DT_INLINE void operator()(V& p, V g, V* s) const {
    this->moments(this->gradient(p, g), s);
    p = mul_add(this->minus_step_m, s[0], p * this->keep);
  }
};

template <class V, class T = typename V::T>
void adam(const AdamArgs& a, const OptimizerPiece<T>* pieces, size_t count, T* const* state) {
  if (!a.adaptive)
    optimize<V>(MomentsOnly<V>(a), pieces, count, state);
  else if (a.step_g != 0)
    optimize<V>(Nadam<V>(a), pieces, count, state);
  else if (a.amsgrad)
    optimize<V>(Adam<V, Second::kLargest>(a), pieces, count, state);
  else
    optimize<V>(Adam<V, Second::kPlain>(a), pieces, count, state);
}

template <class V, class T = typename V::T>
void adabelief(const AdamArgs& a, const OptimizerPiece<T>* pieces, size_t count, T* const* state) {
  optimize<V>(Adam<V, Second::kBelief>(a), pieces, count, state);
}

//   g += decay p,  m = b1 m + (1 - b1) g,  u = max(b2 u, |g| + eps),  p -= step m / u
template <class V>
struct Adamax {
  static constexpr int kStates = 2;
  Penalised<V> gradient;
  V beta1, blend1, beta2, minus_step, eps;

  explicit Adamax(const AdamaxArgs& a)
      : gradient(a),
        beta1(constant<V>(a.beta1)),
        blend1(constant<V>(1 - a.beta1)),
        beta2(constant<V>(a.beta2)),
        minus_step(constant<V>(-a.step)),
        eps(constant<V>(a.eps)) {}
  DT_INLINE void operator()(V& p, V g, V* s) const {
    g = gradient(p, g);
    s[0] = mul_add(beta1, s[0], blend1 * g);
    s[1] = Maximum()(beta2 * s[1], abs(g) + eps);
    p = mul_add(minus_step, s[0] / s[1], p);
  }
};

template <class V, class T = typename V::T>
void adamax(const AdamaxArgs& a, const OptimizerPiece<T>* pieces, size_t count, T* const* state) {
  optimize<V>(Adamax<V>(a), pieces, count, state);
}
