// The product of blocks, for everything that is not thin. A chunk is a block of C and owes nothing to others:
// for one part of k after another it takes each panel of B through all its rows of A. The panel stays in L1
// meanwhile, the rows of A in L2.
//
// A panel is as wide as a tile. Where several chunks meet the same columns all of B is packed before; else a
// chunk copies some panels at a time, unless B is small or few rows meet it: then tiles read it in place.
// A is read in place too, but rows that are far apart or that a tile could not step through are copied.

template <class V>
struct Blocks {
  using T = typename V::T;
  static constexpr size_t kRows = V::kTileRows, kCols = V::kTileVecs * V::kLanes;
  static constexpr size_t kDepth = 256;        // of a part of k
  static constexpr size_t kGroup = 8 * kCols;  // columns that are copied together
  // The largest chunk. More rows share a B that does not stay in L2 (more than kFar values).
  static constexpr size_t kBlockRows = 144, kFarRows = 480, kBlockCols = 1024, kFar = 1 << 21;
  // Values of B that are read in place again and again, or by two strips of A.
  static constexpr size_t kInPlace = 1 << 14, kNear = 1 << 17;
  static constexpr size_t kPackedAtOnce = 1 << 22;  // values of B in scratch
  static constexpr bool kOneLane = V::kLanes == 1;
  static constexpr size_t kLeastListed = 1 << 14;  // multiply-adds for which zeros are looked for

  // One part of k.
  const GemmArgs<T>& g;
  size_t k0, depth;
  const T* a;
  ptrdiff_t a_row, a_step;  // from one row to the next; see Column
  Layout layout;
  size_t strip;  // rows of a tile
  Lists<V> lists;
  bool listed;  // steps of k are left out

  static void block(const GemmArgs<T>& g) {
    const size_t part = g.k <= kDepth ? g.k : even_part(g.k, kDepth, 8);
    const size_t rows = rows_of_tile<V>(smaller(parts_of(g.n, V::kLanes), V::kTileVecs));
    const size_t strip = g.m <= rows ? g.m : even_part(g.m, rows, 1);
    const double looking = g.b_finite ? 0 : kLooking / (double)g.m;
    const double most = most_left(kListing / (double)g.n + looking);
    size_t k0 = 0;
    do {
      const size_t depth = smaller(part, g.k - k0);
      const T* a = g.a + (ptrdiff_t)k0 * g.a_col;
      Blocks s{g, k0, depth, a, 0, 0, Layout::kColumns, strip, {a, g.a_row, g.m, depth, most}, false};
      s.listed = g.a_col == 1 && g.n >= kCols && g.m * g.n * depth >= kLeastListed && s.lists.make();
      if (!s.listed) s.place_a();
      for (size_t j = 0; j < g.n; j += kGroup) s.columns(j, smaller(kGroup, g.n - j));
      k0 += part;
    } while (k0 < g.k);
  }

  void place_a() {
    const bool often = g.n > 4 * kCols;
    if (!kOneLane && g.a_col == 1) {
      layout = Layout::kRows;
      a_row = a_step = g.a_row;
      // Rows whose distance is a multiple of a large power of two compete for the same lines of the caches.
      if (often && g.a_row % 256 == 0) copy_rows();
    } else if (!kOneLane && g.a_row == 1 && !often) {
      a_row = 1, a_step = g.a_col;
    } else {
      T* copy = (T*)scratch(1, round_up(g.m, kRows) * depth * sizeof(T));
      for (size_t i = 0; i < g.m; i += kRows)
        pack_panel<(int)kRows>(a + (ptrdiff_t)i * g.a_row, g.a_col, g.a_row, depth, smaller(kRows, g.m - i),
                               copy + i * depth);
      a = copy, a_row = (ptrdiff_t)depth, a_step = kRows, strip = kRows;
    }
  }

  void copy_rows() {
    a_row = a_step = (ptrdiff_t)round_up(depth, 16) + 16;
    T* copy = (T*)scratch(1, g.m * (size_t)a_row * sizeof(T));
    for (size_t i = 0; i < g.m; ++i)
      memcpy(copy + (ptrdiff_t)i * a_row, a + (ptrdiff_t)i * g.a_row, depth * sizeof(T));
    a = copy;
  }

  // Columns j0 .. j0 + width of C.
  void columns(size_t j0, size_t width) const {
    if (g.b_packed) return panels(j0, width, g.b_packed + j0 * g.k, g.k, k0);
    const T* b = g.b + (ptrdiff_t)k0 * g.b_row + (ptrdiff_t)j0 * g.b_col;
    size_t in_place = 0;
    if (!kOneLane && g.b_col == 1 && (depth * g.n <= kInPlace || (g.m <= 2 * strip && g.k * g.n <= kNear))) {
      in_place = width % V::kLanes && !V::kMasks ? width / kCols * kCols : width;
      for (size_t j = 0, cols; j < in_place; j += cols) {
        cols = columns_at_once(in_place - j);
        strips(j0 + j, cols, b + j, g.b_row, kCols);
      }
      if (in_place == width) return;
    }
    T* copy = (T*)scratch(2, kGroup * depth * sizeof(T));
    b += (ptrdiff_t)in_place * g.b_col, j0 += in_place, width -= in_place;
    pack_columns<V>(b, g.b_row, g.b_col, depth, width, copy);
    panels(j0, width, copy, depth, 0);
  }

  // From row `first` of panels of b_depth rows.
  void panels(size_t j0, size_t width, const T* b, size_t b_depth, size_t first) const {
    for (size_t j = 0, cols; j < width; j += cols) {
      cols = columns_at_once(width - j);
      const size_t wide = round_up(smaller(cols, kCols), V::kLanes);
      strips(j0 + j, cols, b + j * b_depth + first * wide, (ptrdiff_t)wide, (ptrdiff_t)(b_depth * kCols));
    }
  }

  // Those of a panel, or of some where steps are left out.
  size_t columns_at_once(size_t left) const {
    size_t together = !listed ? 1 : lists.part_left < kFewSteps ? kListedTogether<V> : 2;
    while (together > 1 && left < together * kCols) together /= 2;
    return smaller(together * kCols, left);
  }

  // All rows of A times a panel, or some that lie `apart`.
  void strips(size_t j, size_t cols, const T* b, ptrdiff_t b_row, ptrdiff_t apart) const {
    if constexpr (!kOneLane) {
      if (listed) return listed_strips(j, cols, b, b_row, apart);
    }
    const auto run = layout == Layout::kRows ? tile_panel<V, V::kTileVecs, Layout::kRows>
                                             : tile_panel<V, V::kTileVecs, Layout::kColumns>;
    for (size_t i = 0; i < g.m; i += strip)
      run(depth, a + (ptrdiff_t)i * a_row, a_step, b, b_row, finish(i, j),
          g.c + (ptrdiff_t)i * g.c_row + (ptrdiff_t)j, g.c_row, smaller(strip, g.m - i), cols);
  }

  void listed_strips(size_t j, size_t cols, const T* b, ptrdiff_t b_row, ptrdiff_t apart) const {
    bool finite = true;
    for (size_t p = 0; !g.b_finite && finite && p * kCols < cols; ++p)
      finite = all_finite<V>(b + (ptrdiff_t)p * apart, b_row, depth, smaller(kCols, cols - p * kCols));
    const Steps all[] = {lists.of_row[g.m], lists.of_row[g.m]};
    listed_columns<V, V::kTileVecs>(
        {finite ? lists.of_row : all, finite, a, g.a_row, b, b_row, apart, g.c + (ptrdiff_t)j, g.c_row, g.m},
        finish(0, j), cols);
  }

  // Sums of the parts of k before are in C; the last part brings what comes after the sum.
  Finish<T> finish(size_t i, size_t j) const {
    Finish<T> f = finish_of(g, i, j);
    if (k0 > 0) f.beta = 1;
    if (k0 + depth < g.k) f.bias = f.residual = nullptr, f.activation = Activation::kNone;
    return f;
  }

  static size_t block_rows(const GemmArgs<T>& g) { return g.k * g.n > kFar ? kFarRows : kBlockRows; }

  // One tile, its operands read in place.
  static bool is_tile(const GemmArgs<T>& g) {
    return !kOneLane && g.a_col == 1 && g.b_col == 1 && !g.b_packed && g.n <= kCols && g.k <= kDepth &&
           (V::kMasks || g.n % V::kLanes == 0) && g.m <= (size_t)rows_of_tile<V>(parts_of(g.n, V::kLanes));
  }

  static void gemm(const GemmArgs<T>& g, bool parallel) {
    if (is_tile(g))
      return tile_panel<V, V::kTileVecs, Layout::kRows>(g.k, g.a, g.a_row, g.b, g.b_row, finish_of(g, 0, 0),
                                                        g.c, g.c_row, g.m, g.n);
    if (g.b_packed || g.m <= block_rows(g)) return cut(g, parallel);
    // Where all columns would take too much memory, some at a time.
    const size_t width = round_up(kPackedAtOnce / (g.k + 1) + 1, kCols);
    T* packed = (T*)scratch(0, packed_b_values<V>(g.k, smaller(width, g.n)) * sizeof(T));
    for (size_t j = 0; j < g.n; j += width) {
      GemmArgs<T> columns = block_of(g, 0, g.m, j, width);
      PackB<V, T>{columns.b, g.b_row, g.b_col, g.k, columns.n, packed}.run(parallel);
      columns.b_packed = packed;
      cut(columns, parallel);
    }
  }

  static void cut(const GemmArgs<T>& g, bool parallel) {
    if (!parallel && g.m <= kBlockRows && g.n <= kBlockCols) return block(g);
    Split<T> s{&g, even_part(g.m, block_rows(g), kRows), even_part(g.n, kBlockCols, kCols), block};
    const size_t workers = parallel ? (size_t)threads() : 1;
    for (;;) {
      const size_t parts = parts_of(g.m, s.rows) * parts_of(g.n, s.cols);
      // A chunk whose rows stay in L2 copies its columns of B, unless they are packed: once for all rows is
      // best, if the last chunk is not much smaller than the others.
      const bool copies = !g.b_packed && s.rows <= kBlockRows;
      const bool even = g.n <= s.cols || (g.n - 1) % s.cols >= s.cols / 4 * 3;
      if (workers == 1 || parts >= (copies && even ? 2 : 4) * workers || s.rows * s.cols * g.k <= kChunkMacs)
        break;
      if ((copies ? s.cols <= kCols : s.rows >= s.cols) && s.rows > kRows)
        s.rows = round_up(s.rows / 2, kRows);
      else if (s.cols > kCols)
        s.cols = round_up(s.cols / 2, kCols);
      else
        break;
    }
    s.run(parallel);
  }
};
