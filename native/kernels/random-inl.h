// Counter-based random numbers: Philox4x32-10 of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as
// easy as 1, 2, 3" (SC 2011). Block `counter` of stream `seed` is philox(counter, key = seed): any element
// can be made by itself, so threads need no order. Integers, uniforms and f32 normals are the same bits on
// every target.

constexpr size_t kPhiloxBlocks = 64, kPhiloxWords = 4 * kPhiloxBlocks;  // of one call, at most

// At least the first `blocks` blocks.
void philox(uint64_t seed, uint64_t counter, size_t blocks, uint32_t (&words)[kPhiloxWords]) {
  int32_t low[kPhiloxBlocks], high[kPhiloxBlocks], out[4][kPhiloxBlocks];
  blocks = (blocks + 15) / 16 * 16;  // a multiple of every vector's lanes
  for (size_t i = 0; i < blocks; ++i) {
    low[i] = (int32_t)(counter + i);
    high[i] = (int32_t)((counter + i) >> 32);
  }
  for (size_t i = 0; i < blocks; i += F::kLanes) {
    I c0 = I::load(low + i), c1 = I::load(high + i), c2 = I::set1(0), c3 = I::set1(0);
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; ++round) {
      const Product p0 = mul_wide(c0, I::set1((int32_t)0xD2511F53)),
                    p1 = mul_wide(c2, I::set1((int32_t)0xCD9E8D57));
      c0 = p1.high ^ c1 ^ I::set1((int32_t)k0);
      c2 = p0.high ^ c3 ^ I::set1((int32_t)k1);
      c1 = p1.low;
      c3 = p0.low;
      k0 += 0x9E3779B9;  // golden ratio
      k1 += 0xBB67AE85;  // sqrt 3 - 1
    }
    store(out[0] + i, c0);
    store(out[1] + i, c1);
    store(out[2] + i, c2);
    store(out[3] + i, c3);
  }
  for (size_t i = 0; i < blocks; ++i)
    for (size_t j = 0; j < 4; ++j) words[4 * i + j] = (uint32_t)out[j][i];
}

// How many values of T one call of philox gives.
template <class T>
constexpr size_t kDraws = kPhiloxWords * 4 / sizeof(T);

// n <= kDraws uniforms on [0, 1), rounded up to a multiple of 4: the top 24 bits of a word, or the top 53 of
// a pair whose second word is the high one.
DT_INLINE void draw(uint64_t seed, uint64_t counter, size_t n, float* u) {
  uint32_t words[kPhiloxWords];
  philox(seed, counter, (n + 3) / 4, words);
  for (size_t i = 0; i < (n + 3) / 4 * 4; ++i) u[i] = (float)(int32_t)(words[i] >> 8) * 0x1p-24f;
}
DT_INLINE void draw(uint64_t seed, uint64_t counter, size_t n, double* u) {
  uint32_t words[kPhiloxWords];
  philox(seed, counter, (n + 3) / 4 * 2, words);
  for (size_t i = 0; i < (n + 3) / 4 * 4; ++i)
    u[i] = (double)(((uint64_t)words[2 * i + 1] << 32 | words[2 * i]) >> 11) * 0x1p-53;
}

// Calls use(i, count, u) for runs of the stream's uniforms.
template <class T, class Use>
DT_INLINE void for_each_draw(uint64_t seed, uint64_t offset, size_t first, size_t n, Use use) {
  T u[kDraws<T>] = {};
  for (size_t i = 0; i < n; i += kDraws<T>) {
    const size_t count = n - i < kDraws<T> ? n - i : kDraws<T>;
    draw(seed, offset + (first + i) / (16 / sizeof(T)), count, u);
    use(i, count, u);
  }
}

template <class T>
void uniform(uint64_t seed, uint64_t offset, size_t first, T* out, size_t n) {
  for_each_draw<T>(seed, offset, first, n,
                   [=](size_t i, size_t count, const T* u) { memcpy(out + i, u, count * sizeof(T)); });
}

DT_INLINE void sincos_turn(D u, D* sin, D* cos) {
  *sin = {::sin(6.283185307179586 * u.v)};
  *cos = {::cos(6.283185307179586 * u.v)};
}

// Box and Muller: a pair of uniforms u, w gives r cos 2 pi w and r sin 2 pi w with r = sqrt(-2 log(1 - u)).
template <class V>
void normal(uint64_t seed, uint64_t offset, size_t first, typename V::T* out, size_t n) {
  using T = typename V::T;
  constexpr size_t kPairs = kDraws<T> / 2;
  static_assert(kPairs % V::kLanes == 0);
  for_each_draw<T>(seed, offset, first, n, [=](size_t start, size_t count, const T* u) {
    T x[kPairs], y[kPairs], pairs[kDraws<T>];
    const size_t needed = (count + 1) / 2;
    for (size_t i = 0; i < kPairs; ++i) {
      x[i] = u[2 * i];
      y[i] = u[2 * i + 1];
    }
    for (size_t i = 0; i < needed; i += V::kLanes) {
      const V r = sqrt(V::set1(-2) * vlog_same(V::set1(1) - V::load(x + i)));
      V sin, cos;
      sincos_turn(V::load(y + i), &sin, &cos);
      store(x + i, r * cos);
      store(y + i, r * sin);
    }
    for (size_t i = 0; i < needed; ++i) {
      pairs[2 * i] = x[i];
      pairs[2 * i + 1] = y[i];
    }
    memcpy(out + start, pairs, count * sizeof(T));
  });
}

template <class V>
void dropout(uint64_t seed, uint64_t offset, size_t first, typename V::T p, const typename V::T* x,
             typename V::T* out, size_t n) {
  using T = typename V::T;
  const V limit = V::set1(p), keep = V::set1(1 - p), zero = V::set1(0);
  for_each_draw<T>(seed, offset, first, n, [=](size_t start, size_t count, const T* u) {
    for_each_vector<V>(count, [=](size_t i, auto at) {
      at.put(out + start + i, select(less(at.load(u + i), limit), zero, at.load(x + start + i) / keep));
    });
  });
}
