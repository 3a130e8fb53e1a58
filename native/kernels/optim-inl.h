// The driver of the fused optimizer steps: one pass over memory. A method is a struct of vectors, made once
// per call, with kStates tensors of state and
//   void operator()(V& p, V g, V* s) const
// which updates a vector of the parameter and of each state from one of the gradient.

// How far ahead of the loop memory is asked for, in values. The hardware's prefetchers stop at the end of
// every page, and there are up to five pages at a time; this is worth 5 to 15 % beyond the cache.
constexpr size_t kPrefetch = 256;

template <class V, class Method, class T = typename V::T>
DT_INLINE void optimize(const Method& method, const OptimizerPiece<T>* pieces, size_t count,
                        T* const* state) {
  constexpr int kStates = Method::kStates;
  for (size_t piece = 0; piece < count; ++piece) {
    T* const param = pieces[piece].param;
    const T* const grad = pieces[piece].grad;
    struct {
      T* of[kStates ? kStates : 1];
    } states = {};
    for (int k = 0; k < kStates; ++k) states.of[k] = state[k] + pieces[piece].at;
    for_each_vector<V>(pieces[piece].n, [=](size_t i, auto at) {
      V p = at.load(param + i), s[kStates ? kStates : 1];
      if (V::kLanes > 1) {
        __builtin_prefetch(param + i + kPrefetch, 1);
        __builtin_prefetch(grad + i + kPrefetch, 0);
        for (int k = 0; k < kStates; ++k) __builtin_prefetch(states.of[k] + i + kPrefetch, 1);
      }
      for (int k = 0; k < kStates; ++k) s[k] = at.load(states.of[k] + i);
      method(p, at.load(grad + i), s);
      for (int k = 0; k < kStates; ++k) at.put(states.of[k] + i, s[k]);
      at.put(param + i, p);
    });
  }
}

template <class V>
DT_INLINE V constant(double x) {
  return V::set1((typename V::T)x);
}

// The gradient as methods with an L2 penalty see it.
template <class V>
struct Penalised {
  V scale, decay;
  template <class Args>
  explicit Penalised(const Args& args) : scale(constant<V>(args.scale)), decay(constant<V>(args.decay)) {}
  DT_INLINE V operator()(V p, V g) const { return mul_add(decay, p, g * scale); }
};
