// Scaled-dot-product attention without the matrix of scores: keys are met a block at a time, and each query
// keeps the largest score so far, the sum of exponentials relative to it, and its output not yet divided by
// that sum; a larger score rescales both (Milakov and Gimelshein, arXiv:1805.02867; Dao et al.,
// arXiv:2205.14135). Exponentials are powers of two: log2 e is part of the scale.
//
// Scores stand transposed, a row for each key and the queries of a panel in the lanes of its vectors. So
// maxima and sums need no step across lanes, keys and values are read where they lie, a broadcast at a time,
// and no width but that of the panel has a tail.

// The scores of one panel and a block of keys stay in L1.
constexpr size_t kKeyBlock = 128;

template <class T>
struct Rows {
  const T* data;
  ptrdiff_t row;
};

// Up to kWidth queries: all arrays are kWidth wide, and the queries that are missing are zeros.
template <class V>
struct Panel {
  using T = typename V::T;
  static constexpr size_t kWidth = kPanel<V>;

  static size_t values(const AttentionArgs<T>& a) { return (a.depth + a.width + 2) * kWidth; }

  const AttentionArgs<T>& a;
  size_t first, queries;
  T* q;            // [depth, kWidth], times scale and log2 e
  T *top, *total;  // [kWidth]
  T* out;          // [width, kWidth]

  Panel(const AttentionArgs<T>& args, size_t index, T* memory)
      : a(args), first(index * kWidth), queries(smaller(kWidth, args.queries - first)) {
    q = memory + index * values(args);
    top = q + a.depth * kWidth, total = top + kWidth, out = total + kWidth;
  }

  void begin() {
    if (queries < kWidth) memset(q, 0, a.depth * kWidth * sizeof(T));
    turn(a.q + (ptrdiff_t)first * a.q_row, a.q_row, queries, a.depth, q, kWidth);
    const V scale = V::set1(a.scale * (T)1.4426950408889634);
    for (size_t i = 0; i < a.depth * kWidth; i += V::kLanes) store(q + i, scale * V::load(q + i));
    for (size_t i = 0; i < kWidth; ++i) top[i] = -(T)__builtin_inff();
    memset(total, 0, (1 + a.width) * kWidth * sizeof(T));
  }

  // Keys j0 .. j0 + keys; scores holds keys * kWidth values.
  void meet(size_t j0, size_t keys, Rows<T> k, Rows<T> v, T* scores) {
    if (queries > V::kLanes)
      block<kAttentionVecs<V>>(j0, keys, k, v, scores);
    else
      block<1>(j0, keys, k, v, scores);
  }

  template <int W>
  void block(size_t j0, size_t keys, Rows<T> k, Rows<T> v, T* scores) {
    attention_product<V, W, false>(keys, a.depth, k.data, k.row, 1, q, kWidth, scores, kWidth, nullptr);
    hide(a, first, queries, j0, keys, scores, kWidth);

    V larger[2][W], shift[W], factor[W], sum[W];
    DT_UNROLL for (int w = 0; w < W; ++w) larger[0][w] = larger[1][w] = V::load(top + w * V::kLanes);
    for (size_t j = 0; j < keys; ++j) {
      DT_UNROLL for (int w = 0; w < W; ++w) larger[0][w] =
          max(V::load(scores + j * kWidth + w * V::kLanes), larger[0][w]);
      if (++j == keys) break;
      DT_UNROLL for (int w = 0; w < W; ++w) larger[1][w] =
          max(V::load(scores + j * kWidth + w * V::kLanes), larger[1][w]);
    }
    // Where nothing was seen yet, e^(-infinity - 0) is 0.
    const V zero = V::set1(0), never = V::set1(-(T)__builtin_inff());
    DT_UNROLL for (int w = 0; w < W; ++w) {
      const V now = max(larger[0][w], larger[1][w]);
      shift[w] = select(equal(now, never), zero, now);
      factor[w] = vexp2(V::load(top + w * V::kLanes) - shift[w]);
      store(top + w * V::kLanes, now);
      sum[w] = zero;
    }
    for (size_t j = 0; j < keys; ++j) DT_UNROLL for (int w = 0; w < W; ++w) {
        T* score = scores + j * kWidth + w * V::kLanes;
        const V e = vexp2(V::load(score) - shift[w]);
        store(score, e);
        sum[w] = sum[w] + e;
      }
    DT_UNROLL for (int w = 0; w < W; ++w) {
      T* t = total + w * V::kLanes;
      store(t, mul_add(V::load(t), factor[w], sum[w]));
    }
    attention_product<V, W, true>(a.width, keys, v.data, 1, v.row, scores, kWidth, out, kWidth, factor);
  }

  void finish(T* result, T* log_sum) {
    const V zero = V::set1(0), infinity = V::set1((T)__builtin_inff());
    T logs[kWidth];
    for (size_t i = 0; i < kWidth; i += V::kLanes) {
      const V sum = V::load(total + i);
      const auto none = equal(sum, zero);
      const V inverse = select(none, zero, V::set1(1) / sum);
      for (size_t c = 0; c < a.width; ++c) {
        T* o = out + c * kWidth + i;
        store(o, V::load(o) * inverse);
      }
      const V log2 = V::load(top + i) + vlog(sum) * V::set1((T)1.4426950408889634);
      store(logs + i, select(none, infinity, log2));
    }
    memcpy(log_sum + first, logs, queries * sizeof(T));
    turn(out, kWidth, a.width, queries, result + first * a.width, (ptrdiff_t)a.width);
  }
};

// scores[j] = q . key j for J keys.
template <class V, int J>
DT_INLINE void score_keys(const typename V::T* q, const typename V::T* k, ptrdiff_t k_row, size_t depth,
                          typename V::T* scores) {
  V sum[J];
  DT_UNROLL for (int j = 0; j < J; ++j) sum[j] = V::set1(0);
  for_each_vector<V>(depth, [&](size_t p, auto at) {
    const V qs = at.load(q + p);
    DT_UNROLL for (int j = 0; j < J; ++j) sum[j] = mul_add(qs, at.load(k + j * k_row + p), sum[j]);
  });
  DT_UNROLL for (int j = 0; j < J; ++j) scores[j] = reduce_add(sum[j]);
}

// out += e[0] v[0] + ... + e[J-1] v[J-1]
template <class V, int J>
DT_INLINE void add_values(const typename V::T* e, const typename V::T* v, ptrdiff_t v_row, size_t width,
                          typename V::T* out) {
  V es[J];
  DT_UNROLL for (int j = 0; j < J; ++j) es[j] = V::set1(e[j]);
  for_each_vector<V>(width, [&](size_t c, auto at) {
    V sum = at.load(out + c);
    DT_UNROLL for (int j = 0; j < J; ++j) sum = mul_add(es[j], at.load(v + j * v_row + c), sum);
    at.put(out + c, sum);
  });
}

// A query or a few, as when tokens are generated one by one: a panel would be mostly empty. Keys and values
// are read once, a block for all queries, and each query's scores stand in a row.
template <class V>
struct FewQueries {
  using T = typename V::T;
  static constexpr size_t kMost = V::kLanes == 1 ? 1 : 3;

  const AttentionArgs<T>& a;
  T *q, *scores;
  T top[kMost], total[kMost];

  void meet(size_t i, size_t j0, size_t keys, T* out) {
    const T *k = a.k + (ptrdiff_t)j0 * a.k_row, *v = a.v + (ptrdiff_t)j0 * a.v_row;
    size_t j = 0;
    for (; j + 4 <= keys; j += 4)
      score_keys<V, 4>(q + i * a.depth, k + (ptrdiff_t)j * a.k_row, a.k_row, a.depth, scores + j);
    for (; j < keys; ++j)
      score_keys<V, 1>(q + i * a.depth, k + (ptrdiff_t)j * a.k_row, a.k_row, a.depth, scores + j);
    hide(a, i, 1, j0, keys, scores, 1);
    const T never = -(T)__builtin_inff();
    for (; j % V::kLanes; ++j) scores[j] = never;

    const T largest = row_max<V>(scores, keys), now = largest > top[i] ? largest : top[i];
    const T shift = now == never ? 0 : now;
    T factor[V::kLanes];
    store(factor, vexp2(V::set1(top[i] - shift)));
    top[i] = now;
    V sum = V::set1(0);
    for (size_t p = 0; p < keys; p += V::kLanes) {
      const V e = vexp2(V::load(scores + p) - V::set1(shift));
      store(scores + p, e);
      sum = sum + e;
    }
    total[i] = total[i] * factor[0] + reduce_add(sum);

    binary<V, Mul>(out, 1, factor, 0, out, a.width);
    for (j = 0; j + 4 <= keys; j += 4)
      add_values<V, 4>(scores + j, v + (ptrdiff_t)j * a.v_row, a.v_row, a.width, out);
    for (; j < keys; ++j) add_values<V, 1>(scores + j, v + (ptrdiff_t)j * a.v_row, a.v_row, a.width, out);
  }

  static void run(const AttentionArgs<T>& a, T* out, T* log_sum) {
    FewQueries s{
        a, (T*)scratch(0, a.queries * a.depth * sizeof(T)), (T*)scratch(1, kKeyBlock * sizeof(T)), {}, {}};
    const T scale = a.scale * (T)1.4426950408889634;
    for (size_t i = 0; i < a.queries; ++i) {
      binary<V, Mul>(a.q + (ptrdiff_t)i * a.q_row, 1, &scale, 0, s.q + i * a.depth, a.depth);
      s.top[i] = -(T)__builtin_inff();
    }
    memset(out, 0, a.queries * a.width * sizeof(T));
    const size_t keys = keys_to_meet(a);
    for (size_t j = 0; j < keys; j += kKeyBlock)
      for (size_t i = 0; i < a.queries; ++i) {
        const size_t end = keys_before(a, keys, i + 1);
        if (j < end) s.meet(i, j, smaller(kKeyBlock, end - j), out + i * a.width);
      }
    for (size_t i = 0; i < a.queries; ++i) {
      const bool none = s.total[i] == 0;
      const T inverse = none ? 0 : 1 / s.total[i];
      binary<V, Mul>(out + i * a.width, 1, &inverse, 0, out + i * a.width, a.width);
      log_sum[i] = none ? (T)__builtin_inff() : s.top[i] + (T)::log2((double)s.total[i]);
    }
  }
};

// The rows of a block, one after the other: rows that lie a power of two apart fight for the same lines of
// L1, so where several panels read them they are copied once.
template <class T>
Rows<T> side_by_side(const T* src, ptrdiff_t src_row, size_t rows, size_t cols, int slot) {
  T* copy = (T*)scratch(slot, kKeyBlock * cols * sizeof(T));
  for (size_t i = 0; i < rows; ++i) memcpy(copy + i * cols, src + (ptrdiff_t)i * src_row, cols * sizeof(T));
  return {copy, (ptrdiff_t)cols};
}

template <class V>
void attention(const AttentionArgs<typename V::T>& a, typename V::T* out, typename V::T* log_sum) {
  using T = typename V::T;
  if (a.queries <= FewQueries<V>::kMost) return FewQueries<V>::run(a, out, log_sum);
  const size_t panels = (a.queries + kPanel<V> - 1) / kPanel<V>;
  T* const memory = (T*)scratch(0, panels * Panel<V>::values(a) * sizeof(T));
  T* const scores = (T*)scratch(1, kKeyBlock * kPanel<V> * sizeof(T));
  for (size_t p = 0; p < panels; ++p) Panel<V>(a, p, memory).begin();
  const size_t keys = keys_before(a, keys_to_meet(a), a.queries);
  for (size_t j = 0; j < keys; j += kKeyBlock) {
    const size_t count = smaller(kKeyBlock, keys - j);
    Rows<T> k{a.k + (ptrdiff_t)j * a.k_row, a.k_row}, v{a.v + (ptrdiff_t)j * a.v_row, a.v_row};
    if (panels > 2) k = side_by_side(k.data, k.row, count, a.depth, 2);
    if (panels > 2) v = side_by_side(v.data, v.row, count, a.width, 3);
    for (size_t p = 0; p < panels; ++p) {
      Panel<V> panel(a, p, memory);
      const size_t end = keys_before(a, keys, panel.first + panel.queries);
      if (j < end) panel.meet(j, smaller(count, end - j), k, v, scores);
    }
  }
  for (size_t p = 0; p < panels; ++p) Panel<V>(a, p, memory).finish(out, log_sum);
}
