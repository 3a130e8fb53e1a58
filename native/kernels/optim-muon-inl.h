// Muon's elementwise part; the products of its iteration are those of gemm-inl.h.

template <class V>
struct MuonDirection {
  V scale, momentum;
  bool nesterov;
  explicit MuonDirection(const MuonArgs& a)
      : scale(constant<V>(a.scale)), momentum(constant<V>(a.momentum)), nesterov(a.nesterov) {}
  DT_INLINE V operator()(V g, V b) const { return nesterov ? mul_add(momentum, b, scale * g) : b; }
};

template <class V, class T = typename V::T>
double muon_momentum(const MuonArgs& a, const T* grad, T* buffer, size_t n) {
  const MuonDirection<V> direction(a);
  return wide_sum<V>(n, [=](auto acc, size_t i, auto at) {
    const V g = at.load(grad + i);
    const V b = mul_add(direction.momentum, at.load(buffer + i), direction.scale * g);
    at.put(buffer + i, b);
    const auto u = widen(direction(g, b));
    return mul_add(u, u, acc);
  });
}

template <class V, class T = typename V::T>
void muon_direction(const MuonArgs& a, double factor, const T* grad, const T* buffer, T* out, size_t n) {
  const MuonDirection<V> direction(a);
  const V factors = constant<V>(factor);
  for_each_vector<V>(n, [=](size_t i, auto at) {
    at.put(out + i, factors * direction(at.load(grad + i), at.load(buffer + i)));
  });
}
