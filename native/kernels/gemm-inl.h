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
Finish<T> finish_of(const GemmArgs<T>& g, size_t column) {
  return {g.alpha, g.beta, g.bias ? g.bias + column : nullptr, g.activation == Activation::kRelu};
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
void split(const GemmArgs<T>& g, size_t row_unit, size_t col_unit, void (*body)(const GemmArgs<T>&)) {
  if (g.m * g.n * g.k <= kSerialMacs) return body(g);
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
  const auto f = finish_of(g, j);
  for (; i + R <= g.m; i += R)
    dot_tile<V, R, J>(g.k, g.a + (ptrdiff_t)i * g.a_row, g.a_row, b, g.b_col, f,
                      g.c + (ptrdiff_t)i * g.c_row + j, g.c_row);
  for (; i < g.m; ++i)
    dot_tile<V, 1, J>(g.k, g.a + (ptrdiff_t)i * g.a_row, g.a_row, b, g.b_col, f,
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
    tile_rows<V, R, W>(g.k, g.a + (ptrdiff_t)i * g.a_row, g.a_row, g.a_col, b, b_row, finish_of(g, j),
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
    const Finish<T> f = finish_of(g, j0);
    for (size_t i = 0; i < g.m; ++i) {
      const T* sum = sums + i * strip;
      T* c = g.c + (ptrdiff_t)i * g.c_row + (ptrdiff_t)j0;
      for_each_vector<V>(cols, [&](size_t j, auto at) {
        const V none = V::set1(0), old = f.beta != 0 ? at.load(c + j) : none;
        at.put(c + j, finish(at.load(sum + j), f, old, f.bias ? at.load(f.bias + j) : none));
      });
    }
  }
}

template <class V>
void direct(const GemmArgs<typename V::T>& g) {
  direct_from<V, V::kTileRows, V::kTileVecs>(g, 0);
}

// One block of k and n: B's panels are packed once for all threads, in the caller's scratch; each chunk packs
// its own rows of A.
template <class V>
struct Packed {
  using T = typename V::T;
  static constexpr size_t kRows = V::kTileRows, kCols = V::kTileVecs * V::kLanes;
  // A panel of B, kCols * kDepth values, stays in L1 while it meets all panels of a block of A, which stays
  // in L2.
  static constexpr size_t kDepth = 256, kWidth = 4096, kPanelsPerChunk = 8;

  GemmArgs<T> g;
  T* b = nullptr;
  size_t k0 = 0, depth = 0, n0 = 0, width = 0;  // this block of k and n
  size_t rows = 0, cols = 0, cols_count = 0;    // a chunk's part of C, and how many such lie side by side

  static void pack_b(void* context, size_t index) {
    const Packed& s = *(const Packed*)context;
    const size_t end = smaller((index + 1) * kPanelsPerChunk * kCols, s.width);
    for (size_t j = index * kPanelsPerChunk * kCols; j < end; j += kCols)
      pack_panel<(int)kCols>(s.g.b + (ptrdiff_t)s.k0 * s.g.b_row + (ptrdiff_t)(s.n0 + j) * s.g.b_col,
                             s.g.b_row, s.g.b_col, s.depth, smaller(kCols, s.width - j), s.b + j * s.depth);
  }

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
      Finish<T> f = finish_of(s.g, s.n0 + j);
      if (s.k0 > 0) f.beta = 1;
      if (s.k0 + s.depth < s.g.k) f.bias = nullptr, f.relu = false;
      for (size_t i = 0; i < rows; i += kRows) {
        T* c = s.g.c + (ptrdiff_t)(i0 + i) * s.g.c_row + (ptrdiff_t)(s.n0 + j);
        const auto run = cols <= V::kLanes ? tile_packed<V, 1> : tile_packed<V, V::kTileVecs>;
        run(s.depth, a + i * s.depth, s.b + j * s.depth, f, c, s.g.c_row, smaller(kRows, rows - i), cols);
      }
    }
  }

  static void gemm(const GemmArgs<T>& g) {
    const bool parallel = g.m * g.n * g.k > kSerialMacs;
    Packed s{g};
    s.rows = even_part(g.m, g.m >= 768 ? 96 : 48, kRows);
    s.b = (T*)scratch(0, smaller(kDepth, g.k) * round_up(smaller(kWidth, g.n), kCols) * sizeof(T));
    for (s.n0 = 0; s.n0 < g.n; s.n0 += s.width) {
      s.width = smaller(kWidth, g.n - s.n0);
      const size_t row_chunks = (g.m + s.rows - 1) / s.rows;
      s.cols = row_chunks >= kChunks ? s.width : round_up(s.width * row_chunks / kChunks + 1, 128);
      s.cols_count = (s.width + s.cols - 1) / s.cols;
      for (s.k0 = 0; s.k0 < g.k; s.k0 += s.depth) {
        s.depth = smaller(kDepth, g.k - s.k0);
        const size_t group = kPanelsPerChunk * kCols;
        run_chunks(parallel, (s.width + group - 1) / group, pack_b, &s);
        run_chunks(parallel, row_chunks * s.cols_count, multiply, &s);
      }
    }
  }
};

template <class V>
void gemm(const GemmArgs<typename V::T>& g) {
  using T = typename V::T;
  if (g.m == 0 || g.n == 0) return;
  const bool short_side = g.m <= (V::kLanes > 1 && g.k >= 64 ? 8 * V::kDotRows : 4);
  if (g.k > 1 && g.b_row == 1 && ((short_side && g.b_col != 1) || (g.n <= 2 && g.a_col == 1))) {
    GemmArgs<T> contiguous = g;
    if (g.a_col != 1) {
      T* a = (T*)scratch(1, g.m * g.k * sizeof(T));
      for (size_t i = 0; i < g.m; ++i)
        pack_panel<1>(g.a + (ptrdiff_t)i * g.a_row, g.a_col, g.a_row, g.k, 1, a + i * g.k);
      contiguous.a = a, contiguous.a_row = (ptrdiff_t)g.k, contiguous.a_col = 1;
    }
    return split(contiguous, 4, 16, dots<V>);
  }
  // The compilers make vectors of one-lane code in loops over columns, and of one-lane tiles only where all
  // steps are constants, as in panels.
  constexpr bool kOneLane = V::kLanes == 1;
  const bool small = g.k * g.n <= kInCache;
  if (g.k > 0 && g.b_col == 1 && (g.m == 1 || (g.m <= (kOneLane ? 8 : 4) && !small)))
    return split(g, 1, 256, few_rows<V>);
  const bool in_place = small || g.m <= V::kTileRows || (g.m <= 2 * V::kTileRows && g.k * g.n <= kNear);
  if (g.k == 0 || (g.b_col == 1 && !kOneLane && in_place))
    return split(g, 4 * V::kTileRows, 2 * V::kTileVecs * V::kLanes, direct<V>);
  Packed<V>::gemm(g);
}
