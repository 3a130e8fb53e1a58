// The gradients of attention. The weights P = softmax(S) are computed again, a block of queries and keys at a
// time, from the scores S and each query's log-sum. With D = the row sums of dout * out:
//   dV = P^T dout,  dS = P (dout V^T - D),  dQ = scale dS K,  dK = scale dS^T Q
// As in attention-inl.h scores stand transposed, so that P^T and dS^T are the left sides of products too.

// C[j, c] += sum_i A[j, i] B[i, c] for `rows` rows; B's rows are padded to whole panels of columns, C's are
// not: a padded piece of the sum goes through memory.
template <class V>
struct GradSum {
  using T = typename V::T;
  static constexpr size_t kWidth = kPanel<V>;

  static void add(size_t rows, size_t depth, const T* a, ptrdiff_t a_row, const T* b, ptrdiff_t b_row, T* c,
                  size_t cols, T* piece) {
    V one[kAttentionVecs<V>];
    for (V& x : one) x = V::set1(1);
    size_t j = 0;
    for (; j + kWidth <= cols; j += kWidth)
      attention_product<V, kAttentionVecs<V>, true>(rows, depth, a, a_row, 1, b + j, b_row, c + j,
                                                    (ptrdiff_t)cols, one);
    if (j == cols) return;
    attention_product<V, kAttentionVecs<V>, false>(rows, depth, a, a_row, 1, b + j, b_row, piece, kWidth,
                                                   nullptr);
    for (size_t r = 0; r < rows; ++r)
      for (size_t i = j; i < cols; ++i) c[r * cols + i] += piece[r * kWidth + (i - j)];
  }
};

template <class V>
struct AttentionGrad {
  using T = typename V::T;
  static constexpr size_t kWidth = kPanel<V>;         // of a panel of queries
  static constexpr size_t kQueries = 64, kKeys = 64;  // of a block; its P and dS stay in L1 or nearly

  const AttentionArgs<T>& a;
  size_t first, queries;        // this block's
  size_t padded, depth, width;  // queries, in whole panels; columns of q and dout, likewise
  T *q, *q_turned, *dout, *dout_turned, *dq_turned, *log_sum, *dot, *p, *ds, *piece;

  explicit AttentionGrad(const AttentionArgs<T>& args)
      : a(args), depth(round_up(args.depth, kWidth)), width(round_up(args.width, kWidth)) {
    T* memory = (T*)scratch(
        0, (kQueries * (3 * depth + 2 * width + 2) + kKeys * (2 * kQueries + kWidth)) * sizeof(T));
    const auto take = [&](size_t n) { return memory += n, memory - n; };
    q = take(kQueries * depth), q_turned = take(kQueries * depth), dq_turned = take(kQueries * depth);
    dout = take(kQueries * width), dout_turned = take(kQueries * width);
    log_sum = take(kQueries), dot = take(kQueries);
    p = take(kKeys * kQueries), ds = take(kKeys * kQueries), piece = take(kKeys * kWidth);
  }

  // A padded copy of `queries` rows, and one that is turned.
  void copy(const T* src, ptrdiff_t src_row, size_t cols, T* rows, size_t row, T* turned) {
    memset(turned, 0, cols * kQueries * sizeof(T));
    turn(src, src_row, queries, cols, turned, kQueries);
    memset(rows, 0, queries * row * sizeof(T));
    for (size_t i = 0; i < queries; ++i)
      memcpy(rows + i * row, src + (ptrdiff_t)i * src_row, cols * sizeof(T));
  }

  void begin(size_t i0, const T* out, const T* log_sums, const T* douts) {
    first = i0, queries = smaller(kQueries, a.queries - i0), padded = round_up(queries, kWidth);
    copy(a.q + (ptrdiff_t)i0 * a.q_row, a.q_row, a.depth, q, depth, q_turned);
    copy(douts + i0 * a.width, (ptrdiff_t)a.width, a.width, dout, width, dout_turned);
    const T scale = a.scale * (T)1.4426950408889634;
    binary<V, Mul>(q_turned, 1, &scale, 0, q_turned, a.depth * kQueries);
    memset(dq_turned, 0, a.depth * kQueries * sizeof(T));
    for (size_t i = 0; i < kQueries; ++i) {
      const bool real = i < queries;
      log_sum[i] = real ? log_sums[i0 + i] : (T)__builtin_inff();  // a weight of 0
      dot[i] = 0;
      if (real) score_keys<V, 1>(out + (i0 + i) * a.width, dout + i * width, 0, a.width, dot + i);
    }
  }

  void meet(size_t j0, size_t keys, T* dk, T* dv) {
    const T *k = a.k + (ptrdiff_t)j0 * a.k_row, *v = a.v + (ptrdiff_t)j0 * a.v_row;
    for (size_t i = 0; i < padded; i += kWidth) {
      attention_product<V, kAttentionVecs<V>, false>(keys, a.depth, k, a.k_row, 1, q_turned + i, kQueries,
                                                     p + i, kQueries, nullptr);
      attention_product<V, kAttentionVecs<V>, false>(keys, a.width, v, a.v_row, 1, dout_turned + i, kQueries,
                                                     ds + i, kQueries, nullptr);
    }
    hide(a, first, queries, j0, keys, p, kQueries);
    const V scale = V::set1(a.scale);
    for (size_t j = 0; j < keys; ++j)
      for (size_t i = 0; i < padded; i += V::kLanes) {
        const size_t at = j * kQueries + i;
        const V weight = vexp2(V::load(p + at) - V::load(log_sum + i));
        store(p + at, weight);
        store(ds + at, scale * weight * (V::load(ds + at) - V::load(dot + i)));
      }
    GradSum<V>::add(keys, queries, p, kQueries, dout, (ptrdiff_t)width, dv + j0 * a.width, a.width, piece);
    GradSum<V>::add(keys, queries, ds, kQueries, q, (ptrdiff_t)depth, dk + j0 * a.depth, a.depth, piece);
    V one[kAttentionVecs<V>];
    for (V& x : one) x = V::set1(1);
    for (size_t i = 0; i < padded; i += kWidth)
      attention_product<V, kAttentionVecs<V>, true>(a.depth, keys, k, 1, a.k_row, ds + i, kQueries,
                                                    dq_turned + i, kQueries, one);
  }
};

template <class V>
void attention_grad(const AttentionArgs<typename V::T>& a, const typename V::T* out,
                    const typename V::T* log_sum, const typename V::T* dout, typename V::T* dq,
                    typename V::T* dk, typename V::T* dv) {
  using Grad = AttentionGrad<V>;
  memset(dk, 0, a.keys * a.depth * sizeof *dk);
  memset(dv, 0, a.keys * a.width * sizeof *dv);
  const size_t keys = keys_to_meet(a);
  Grad grad(a);
  for (size_t i = 0; i < a.queries; i += Grad::kQueries) {
    grad.begin(i, out, log_sum, dout);
    const size_t end = keys_before(a, keys, i + grad.queries);
    for (size_t j = 0; j < end; j += Grad::kKeys) grad.meet(j, smaller(Grad::kKeys, end - j), dk, dv);
    turn(grad.dq_turned, Grad::kQueries, a.depth, grad.queries, dq + i * a.depth, (ptrdiff_t)a.depth);
  }
}
