// Matrix products. Four ways, chosen by shape and strides alone:
//   dots      B is given transposed and there are few rows or columns: dot products, nothing is packed
//   few_rows  B's columns are contiguous, A has a row or a few, B is large: B is read once, from end to end
//   direct    B's columns are contiguous and B is small or A has few rows: tiles read A and B in place
//   Packed    everything else: blocks of A and B are copied into panels that a tile reads in order
// Work is cut by shape and each value of C is summed in an order that the shape fixes, so the number of
// threads changes nothing.

// Under this many multiply-adds a product stays on the calling thread; above, chunks have at least this many.
constexpr size_t kSerialMacs = 1 << 18, kChunkMacs = 1 << 17;

// Up to so many values B is read in place again and again, or twice.
constexpr size_t kInCache = 1 << 14, kNear = 1 << 17;

constexpr size_t round_up(size_t x, size_t unit) { return (x + unit - 1) / unit * unit; }
constexpr size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

// Large products are cut into blocks of rows, and where those are fewer than kChunks into blocks of columns
// too. even_part is the size of a block: at most `largest`, a multiple of `unit`, all about the same.
constexpr size_t kChunks = 16;
constexpr size_t even_part(size_t count, size_t largest, size_t unit) {
  const size_t parts = (count + largest - 1) / largest;
  return round_up((count + parts - 1) / parts, unit);
}

DT_INLINE void run_chunks(bool parallel, size_t chunks, ChunkFn fn, void* context) {
  if (parallel && chunks > 1) return parallel_for(chunks, fn, context);
  for (size_t i = 0; i < chunks; ++i) fn(context, i);
}

template <class T>
Finish<T> finish_of(const GemmArgs<T>& g, size_t row, size_t column) {
  const T* residual = g.residual ? g.residual + (ptrdiff_t)row * g.residual_row + (ptrdiff_t)column : nullptr;
  return {g.alpha, g.beta, g.bias ? g.bias + column : nullptr, g.activation, residual, g.residual_row};
}

// Rows i.. and columns j.. of g.
template <class T>
GemmArgs<T> block_of(const GemmArgs<T>& g, size_t i, size_t m, size_t j, size_t n) {
  GemmArgs<T> block = g;
  block.m = smaller(m, g.m - i);
  block.n = smaller(n, g.n - j);
  block.a += (ptrdiff_t)i * g.a_row;
  block.b += (ptrdiff_t)j * g.b_col;
  block.c += (ptrdiff_t)i * g.c_row + (ptrdiff_t)j;
  if (g.bias) block.bias += j;
  if (g.residual) block.residual += (ptrdiff_t)i * g.residual_row + (ptrdiff_t)j;
  return block;
}

// Runs body on blocks of the longer of C's two sides.
template <class T>
struct Split {
  const GemmArgs<T>* g;
  size_t rows, cols;
  void (*body)(const GemmArgs<T>&);

  static void chunk(void* context, size_t index) {
    const Split& s = *(const Split*)context;
    const size_t across = (s.g->n + s.cols - 1) / s.cols;
    s.body(block_of(*s.g, index / across * s.rows, s.rows, index % across * s.cols, s.cols));
  }
};
template <class T>
void split(const GemmArgs<T>& g, bool parallel, size_t row_unit, size_t col_unit,
           void (*body)(const GemmArgs<T>&)) {
  if (!parallel) return body(g);
  Split<T> s{&g, g.m, g.n, body};
  if (g.m > g.n)
    s.rows = round_up(kChunkMacs / (g.n * g.k) + 1, row_unit);
  else
    s.cols = round_up(kChunkMacs / (g.m * g.k) + 1, col_unit);
  const size_t chunks = (g.m + s.rows - 1) / s.rows * ((g.n + s.cols - 1) / s.cols);
  run_chunks(true, chunks, Split<T>::chunk, &s);
}

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
template <class V>
void dots(const GemmArgs<typename V::T>& g) {
  constexpr int kCols = 4;
  size_t j = 0;
  for (; j + kCols <= g.n; j += kCols) dots_strip<V, V::kDotRows, kCols>(g, j);
  for (; j < g.n; ++j) dots_strip<V, V::kDotRows, 1>(g, j);
}

// All rows of g against columns j .. j + cols, whose B starts at b.
template <class V, int R, int W>
void direct_strip(const GemmArgs<typename V::T>& g, size_t j, size_t cols, const typename V::T* b,
                  ptrdiff_t b_row) {
  const size_t step = even_part(g.m, R, 1);
  for (size_t i = 0; i < g.m; i += step)
    tile_rows<V, R, W>(g.k, g.a + (ptrdiff_t)i * g.a_row, g.a_row, g.a_col, b, b_row, finish_of(g, i, j),
                       g.c + (ptrdiff_t)i * g.c_row + (ptrdiff_t)j, g.c_row, smaller(step, g.m - i), cols);
}

// Strips W vectors wide from column j on, then narrower ones, then a padded copy of the columns left.
template <class V, int R, int W>
void direct_from(const GemmArgs<typename V::T>& g, size_t j) {
  using T = typename V::T;
  for (; j + W * V::kLanes <= g.n; j += W * V::kLanes)
    direct_strip<V, R, W>(g, j, W * V::kLanes, g.b + j, g.b_row);
  if (j == g.n) return;
  if constexpr (W > 1) return direct_from<V, R, W / 2>(g, j);
  T* edge = (T*)scratch(2, g.k * V::kLanes * sizeof(T));
  pack_panel<V::kLanes>(g.b + j, g.b_row, 1, g.k, g.n - j, edge);
  direct_strip<V, R, 1>(g, j, g.n - j, edge, V::kLanes);
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

// Few rows of A and a large B: four rows of B at a time are read from end to end, as memory likes it, and
// added to strips of sums that stay in L1.
template <class V>
void few_rows(const GemmArgs<typename V::T>& g) {
  using T = typename V::T;
  const size_t strip = round_up(4096 / g.m, 16);
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

template <class V>
void direct(const GemmArgs<typename V::T>& g) {
  direct_from<V, V::kTileRows, V::kTileVecs>(g, 0);
}

// The layout of a packed B: panels of kTileVecs * kLanes columns side by side, the last one only as wide as
// its columns take in whole vectors; a panel's rows lie one after another, from 0 to k.
template <class V>
size_t packed_b_bytes(size_t k, size_t n) {
  return k * round_up(n, V::kLanes) * sizeof(typename V::T);
}

// Rows k0 .. k0 + depth of the panel that begins at column j.
template <class V, int W, class T>
void pack_b_panel(const T* b, ptrdiff_t b_row, ptrdiff_t b_col, size_t depth, size_t cols, T* panel) {
  if constexpr (W > 1) {
    if (cols <= (W - 1) * V::kLanes) return pack_b_panel<V, W - 1>(b, b_row, b_col, depth, cols, panel);
  }
  pack_panel<W*(int)V::kLanes>(b, b_row, b_col, depth, cols, panel);
}

template <class V, class T>
struct PackB {
  const T* b;
  ptrdiff_t b_row, b_col;
  size_t k, n;
  T* packed;

  static constexpr size_t kCols = V::kTileVecs * V::kLanes, kPanelsPerChunk = 8;
  static void chunk(void* context, size_t index) {
    const PackB& s = *(const PackB*)context;
    const size_t end = smaller((index + 1) * kPanelsPerChunk * kCols, s.n);
    for (size_t j = index * kPanelsPerChunk * kCols; j < end; j += kCols)
      pack_b_panel<V, V::kTileVecs>(s.b + (ptrdiff_t)j * s.b_col, s.b_row, s.b_col, s.k,
                                    smaller(kCols, s.n - j), s.packed + j * s.k);
  }
  void run(bool parallel) {
    run_chunks(parallel, (n + kPanelsPerChunk * kCols - 1) / (kPanelsPerChunk * kCols), chunk, this);
  }
};

template <class V, class T = typename V::T>
void pack_b(const T* b, ptrdiff_t b_row, ptrdiff_t b_col, size_t k, size_t n, T* packed) {
  PackB<V, T>{b, b_row, b_col, k, n, packed}.run(k * n > kSerialMacs);
}

// One block of k and n: B's panels are packed once for all threads, in the caller's scratch, or were packed
// before; each chunk packs its own rows of A.
template <class V>
struct Packed {
  using T = typename V::T;
  static constexpr size_t kRows = V::kTileRows, kCols = V::kTileVecs * V::kLanes;
  // A panel of B, kCols * kDepth values, stays in L1 while it meets all panels of a block of A, which stays
  // in L2.
  static constexpr size_t kDepth = 256, kWidth = 4096;

  GemmArgs<T> g;
  const T* b = nullptr;                         // row k0 of the panel at column n0
  size_t b_depth = 0;                           // rows of a whole panel
  size_t k0 = 0, depth = 0, n0 = 0, width = 0;  // this block of k and n
  size_t rows = 0, cols = 0, cols_count = 0;    // a chunk's part of C, and how many such lie side by side

  static void multiply(void* context, size_t index) {
    const Packed& s = *(const Packed*)context;
    const size_t i0 = index / s.cols_count * s.rows, j0 = index % s.cols_count * s.cols;
    const size_t rows = smaller(s.rows, s.g.m - i0), j_end = smaller(j0 + s.cols, s.width);
    T* a = (T*)scratch(1, round_up(rows, kRows) * s.depth * sizeof(T));
    const T* from = s.g.a + (ptrdiff_t)i0 * s.g.a_row + (ptrdiff_t)s.k0 * s.g.a_col;
    for (size_t i = 0; i < rows; i += kRows)
      pack_panel<(int)kRows>(from + (ptrdiff_t)i * s.g.a_row, s.g.a_col, s.g.a_row, s.depth,
                             smaller(kRows, rows - i), a + i * s.depth);
    for (size_t j = j0; j < j_end; j += kCols) {
      const size_t cols = smaller(kCols, j_end - j);
      const T* panel = s.b + j * s.b_depth + s.k0 * round_up(cols, V::kLanes);
      for (size_t i = 0; i < rows; i += kRows) {
        Finish<T> f = finish_of(s.g, i0 + i, s.n0 + j);
        if (s.k0 > 0) f.beta = 1;
        if (s.k0 + s.depth < s.g.k) f.bias = f.residual = nullptr, f.activation = Activation::kNone;
        T* c = s.g.c + (ptrdiff_t)(i0 + i) * s.g.c_row + (ptrdiff_t)(s.n0 + j);
        tile_panel<V, V::kTileVecs>(s.depth, a + i * s.depth, panel, f, c, s.g.c_row,
                                    smaller(kRows, rows - i), cols);
      }
    }
  }

  static void gemm(const GemmArgs<T>& g, bool parallel) {
    Packed s{g};
    s.rows = even_part(g.m, g.m >= 768 ? 96 : 48, kRows);
    T* b = g.b_packed ? nullptr : (T*)scratch(0, packed_b_bytes<V>(g.k, smaller(kWidth, g.n)));
    s.b_depth = g.k;
    for (s.n0 = 0; s.n0 < g.n; s.n0 += s.width) {
      s.width = smaller(kWidth, g.n - s.n0);
      const size_t row_chunks = (g.m + s.rows - 1) / s.rows;
      s.cols = row_chunks >= kChunks ? s.width : round_up(s.width * row_chunks / kChunks + 1, 128);
      s.cols_count = (s.width + s.cols - 1) / s.cols;
      if (!g.b_packed)
        PackB<V, T>{g.b + (ptrdiff_t)s.n0 * g.b_col, g.b_row, g.b_col, g.k, s.width, b}.run(parallel);
      s.b = g.b_packed ? g.b_packed + s.n0 * g.k : b;
      for (s.k0 = 0; s.k0 < g.k; s.k0 += s.depth) {
        s.depth = smaller(kDepth, g.k - s.k0);
        run_chunks(parallel, row_chunks * s.cols_count, multiply, &s);
      }
    }
  }
};

// One row of A and a packed B: each panel is read from end to end, four rows at a time into sums of their
// own, so that the latency of a multiply-add does not bind.
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
  static constexpr size_t kCols = V::kTileVecs * V::kLanes;
  const GemmArgs<typename V::T>* g;
  size_t panels;  // of a chunk

  static void chunk(void* context, size_t index) {
    const RowTimesPacked& s = *(const RowTimesPacked*)context;
    const size_t end = smaller((index + 1) * s.panels * kCols, s.g->n);
    for (size_t j = index * s.panels * kCols; j < end; j += kCols) row_times_panel<V, V::kTileVecs>(*s.g, j);
  }
  static void gemm(const GemmArgs<typename V::T>& g, bool parallel) {
    RowTimesPacked s{&g, kChunkMacs / (g.k * kCols) + 1};
    const size_t panels = (g.n + kCols - 1) / kCols;
    run_chunks(parallel, (panels + s.panels - 1) / s.panels, chunk, &s);
  }
};

template <class V>
void gemm_one(const GemmArgs<typename V::T>& g, bool parallel) {
  using T = typename V::T;
  if (g.m == 0 || g.n == 0) return;
  parallel = parallel && g.m * g.n * g.k > kSerialMacs;
  if (g.k == 0) return direct<V>(g);
  if (g.b_packed) return g.m == 1 ? RowTimesPacked<V>::gemm(g, parallel) : Packed<V>::gemm(g, parallel);
  const bool short_side = g.m <= (V::kLanes > 1 && g.k >= 64 ? 8 * V::kDotRows : 4);
  if (g.k > 1 && g.b_row == 1 && ((short_side && g.b_col != 1) || (g.n <= 2 && g.a_col == 1))) {
    GemmArgs<T> contiguous = g;
    if (g.a_col != 1) {
      T* a = (T*)scratch(1, g.m * g.k * sizeof(T));
      for (size_t i = 0; i < g.m; ++i)
        pack_panel<1>(g.a + (ptrdiff_t)i * g.a_row, g.a_col, g.a_row, g.k, 1, a + i * g.k);
      contiguous.a = a, contiguous.a_row = (ptrdiff_t)g.k, contiguous.a_col = 1;
    }
    return split(contiguous, parallel, 4, 16, dots<V>);
  }
  // The compilers make vectors of one-lane code in loops over columns, and of one-lane tiles only where all
  // steps are constants, as in panels.
  constexpr bool kOneLane = V::kLanes == 1;
  const bool small = g.k * g.n <= kInCache;
  if (g.b_col == 1 && (g.m == 1 || (g.m <= (kOneLane ? 8 : 4) && !small)))
    return split(g, parallel, 1, 256, few_rows<V>);
  const bool in_place = small || g.m <= V::kTileRows || (g.m <= 2 * V::kTileRows && g.k * g.n <= kNear);
  if (g.b_col == 1 && !kOneLane && in_place)
    return split(g, parallel, 4 * V::kTileRows, 2 * V::kTileVecs * V::kLanes, direct<V>);
  Packed<V>::gemm(g, parallel);
}

template <class V>
void gemm(const GemmArgs<typename V::T>& g) {
  gemm_one<V>(g, true);
}
