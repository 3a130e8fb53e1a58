// Products with so few rows or columns that each value of a large operand is used once or a few times: memory
// binds, so it is read from end to end.

// A few columns of B stay in L1 while they meet all rows of A.
template <class V, int R, int J>
void dots_strip(const GemmArgs<typename V::T>& g, size_t j) {
  size_t i = 0;
  const auto* b = g.b + (ptrdiff_t)j * g.b_col;
  for (; i + R <= g.m; i += R)
    dot_tile<V, R, J>(g.k, g.a + (ptrdiff_t)i * g.a_row, g.a_row, b, g.b_col, finish_of(g, i, j),
                      g.c + (ptrdiff_t)i * g.c_row + j, g.c_row);
  for (; i < g.m; ++i)
    dot_tile<V, 1, J>(g.k, g.a + (ptrdiff_t)i * g.a_row, g.a_row, b, g.b_col, finish_of(g, i, j),
                      g.c + (ptrdiff_t)i * g.c_row + j, g.c_row);
}
// All of A and B are read along k: for a B that is given transposed, and for few columns.
template <class V>
void dots(const GemmArgs<typename V::T>& g) {
  constexpr int kCols = 4;
  size_t j = 0;
  for (; j + kCols <= g.n; j += kCols) dots_strip<V, V::kDotRows, kCols>(g, j);
  for (; j < g.n; ++j) dots_strip<V, V::kDotRows, 1>(g, j);
}

// sum[j] += a[0] B[0, j] + ... + a[kTaken-1] B[kTaken-1, j]
template <class V, int kTaken>
DT_INLINE void add_rows(const typename V::T* a, ptrdiff_t a_col, const typename V::T* b, ptrdiff_t b_row,
                        size_t cols, typename V::T* sum) {
  V as[kTaken];
  for (int p = 0; p < kTaken; ++p) as[p] = V::set1(a[p * a_col]);
  for_each_vector<V>(cols, [&](size_t j, auto at) {
    V s = at.load(sum + j);
    for (int p = 0; p < kTaken; ++p) s = mul_add(as[p], at.load(b + p * b_row + j), s);
    at.put(sum + j, s);
  });
}

// Columns of the sums that stay in L1.
constexpr size_t kStripValues = 4096;

// Few rows of A and a large B: four rows of B at a time are read from end to end, as memory likes it, and
// added to strips of sums that stay in L1.
template <class V>
void few_rows(const GemmArgs<typename V::T>& g) {
  using T = typename V::T;
  const size_t strip = round_up(kStripValues / g.m, 16);
  T* sums = (T*)scratch(2, g.m * strip * sizeof(T));
  for (size_t j0 = 0; j0 < g.n; j0 += strip) {
    const size_t cols = smaller(strip, g.n - j0);
    memset(sums, 0, g.m * strip * sizeof(T));
    size_t p = 0;
    for (; p < g.k; p += p + 4 <= g.k ? 4 : 1)
      for (size_t i = 0; i < g.m; ++i) {
        const T* a = g.a + (ptrdiff_t)i * g.a_row + (ptrdiff_t)p * g.a_col;
        const T* b = g.b + (ptrdiff_t)p * g.b_row + (ptrdiff_t)j0;
        if (p + 4 <= g.k)
          add_rows<V, 4>(a, g.a_col, b, g.b_row, cols, sums + i * strip);
        else
          add_rows<V, 1>(a, g.a_col, b, g.b_row, cols, sums + i * strip);
      }
    finish_rows<V>(sums, strip, g.m, finish_of(g, 0, j0), g.c + (ptrdiff_t)j0, g.c_row, cols);
  }
}

// The same in parts of k, so that threads read B from end to end too: each part has sums of its own, which
// are added in order.
template <class V>
struct FewRows {
  using T = typename V::T;
  static constexpr size_t kParts = 8;
  const GemmArgs<T>* g;
  size_t depth;  // of a part
  T* sums;

  static void chunk(void* context, size_t index) {
    const FewRows& s = *(const FewRows*)context;
    GemmArgs<T> part = *s.g;
    const size_t k0 = index * s.depth;
    part.k = smaller(s.depth, s.g->k - k0);
    part.a += (ptrdiff_t)k0 * part.a_col, part.b += (ptrdiff_t)k0 * part.b_row;
    part.c = s.sums + index * part.m * part.n, part.c_row = (ptrdiff_t)part.n;
    part.alpha = 1, part.beta = 0;
    part.bias = part.residual = nullptr, part.activation = Activation::kNone;
    few_rows<V>(part);
  }
  static void gemm(const GemmArgs<T>& g, bool parallel) {
    const size_t values = g.m * g.n;
    if (values * g.k <= kSerialMacs) return few_rows<V>(g);
    // So wide that sums of parts would be much to read and write: whole strips of columns.
    if (values > kParts * kStripValues)
      return split(g, parallel, 1, round_up(kStripValues / g.m, 16), few_rows<V>);
    const size_t least = kChunkMacs / values + 1, even = parts_of(g.k, kParts);
    FewRows s{&g, round_up(even > least ? even : least, 4), nullptr};
    const size_t parts = parts_of(g.k, s.depth);
    s.sums = (T*)scratch(1, parts * values * sizeof(T));
    run_chunks(parallel, parts, chunk, &s);
    for (size_t p = 1; p < parts; ++p) binary<V, Add>(s.sums, 1, s.sums + p * values, 1, s.sums, values);
    finish_rows<V>(s.sums, g.n, g.m, finish_of(g, 0, 0), g.c, g.c_row, g.n);
  }
};

// Panels of a packed B that one row of A meets together.
constexpr int kPanelsTogether = 4;

// One row of A and a packed B. Several panels are read side by side, at all steps or at those of a list.
template <class V, bool kListed>
void row_times_panels(const GemmArgs<typename V::T>& g, size_t j, const Steps& steps) {
  using T = typename V::T;
  constexpr int W = V::kTileVecs, P = kPanelsTogether;
  constexpr size_t kWide = W * V::kLanes;
#define DT_SUMS DT_UNROLL for (int i = 0; i < P; ++i) DT_UNROLL for (int w = 0; w < W; ++w)
  V sum[P][W];
  DT_SUMS sum[i][w] = V::set1(0);
  const T* b = g.b_packed + j * g.k;
  for (size_t q = 0; q < steps.count; ++q) {
    const size_t p = kListed ? steps.at[q] : q;
    const V as = V::set1(g.a[(ptrdiff_t)p * g.a_col]);
    const T* row = b + p * kWide;
    DT_SUMS sum[i][w] = mul_add(as, V::load(row + i * kWide * g.k + w * V::kLanes), sum[i][w]);
  }
  T done[P * kWide];
  DT_SUMS store(done + i * kWide + w * V::kLanes, sum[i][w]);
#undef DT_SUMS
  finish_rows<V>(done, P * kWide, 1, finish_of(g, 0, j), g.c + (ptrdiff_t)j, 0, P * kWide);
}

// One panel alone: four rows at a time go into sums of their own, so that the latency of a multiply-add does
// not bind.
template <class V, int W>
void row_times_panel(const GemmArgs<typename V::T>& g, size_t j) {
  using T = typename V::T;
  const size_t cols = smaller(W * V::kLanes, g.n - j);
  if constexpr (W > 1) {
    if (cols <= (W - 1) * V::kLanes) return row_times_panel<V, W - 1>(g, j);
  }
  constexpr size_t kWide = W * V::kLanes, kSums = 4;
  V sum[kSums][W];
  DT_UNROLL for (size_t s = 0; s < kSums; ++s) DT_UNROLL for (int w = 0; w < W; ++w) sum[s][w] = V::set1(0);
  const T *a = g.a, *b = g.b_packed + j * g.k;
  size_t p = 0;
  for (; p + kSums <= g.k; p += kSums, b += kSums * kWide) DT_UNROLL for (size_t s = 0; s < kSums; ++s) {
      const V as = V::set1(a[(ptrdiff_t)(p + s) * g.a_col]);
      DT_UNROLL for (int w = 0; w < W; ++w) sum[s][w] =
          mul_add(as, V::load(b + s * kWide + w * V::kLanes), sum[s][w]);
    }
  for (; p < g.k; ++p, b += kWide)
    DT_UNROLL for (int w = 0; w < W; ++w) sum[0][w] =
        mul_add(V::set1(a[(ptrdiff_t)p * g.a_col]), V::load(b + w * V::kLanes), sum[0][w]);
  T done[kWide];
  DT_UNROLL for (int w = 0; w < W; ++w)
      store(done + w * V::kLanes, (sum[0][w] + sum[1][w]) + (sum[2][w] + sum[3][w]));
  finish_rows<V>(done, kWide, 1, finish_of(g, 0, j), g.c + (ptrdiff_t)j, 0, cols);
}

template <class V>
struct RowTimesPacked {
  static constexpr size_t kCols = V::kTileVecs * V::kLanes, kTogether = kPanelsTogether * kCols;
  const GemmArgs<typename V::T>* g;
  size_t cols;  // of a chunk
  Steps steps;  // all of them, unlisted, where `at` is null

  static void chunk(void* context, size_t index) {
    const RowTimesPacked& s = *(const RowTimesPacked*)context;
    const auto run = s.steps.at ? row_times_panels<V, true> : row_times_panels<V, false>;
    const size_t end = smaller((index + 1) * s.cols, s.g->n);
    size_t j = index * s.cols;
    for (; j + kTogether <= end; j += kTogether) run(*s.g, j, s.steps);
    for (; j < end; j += kCols) row_times_panel<V, V::kTileVecs>(*s.g, j);
  }
  static void gemm(const GemmArgs<typename V::T>& g, bool parallel) {
    RowTimesPacked s{&g, round_up(kChunkMacs / g.k + 1, kTogether), {nullptr, g.k}};
    if (g.b_finite && g.n >= kTogether && g.a_col == 1) {
      uint32_t* list = (uint32_t*)scratch(1, (g.k + V::kLanes) * sizeof(uint32_t));
      const size_t count = list_steps<V>(g.a, g.k, list);
      if (count < g.k / 8 * 7) s.steps = {list, count};
    }
    run_chunks(parallel, parts_of(g.n, s.cols), chunk, &s);
  }
};
