// Products of int8 matrices, exact in s32. The vector layer gives, as a struct D,
//   Byte, Elem       A's bytes are multiplied as s8 or u8 (Byte), widened to Elem
//   Word             kDepth of A's elements
//   Words            for each lane a word of A (set1), or kDepth values of one of B's columns (load)
//   dot(acc, a, b)   adds a word's products to each s32 lane; it may wrap, but not saturate
//   kWidens          load takes B as s16 too, which is faster than bytes
//   kUnrolls         the whole tile's loop is unrolled: where counting takes ports from the products
// and where the processor has registers of tiles, what tiles_amx.h has besides.
// vpmaddubsw, which most libraries use on AVX2, saturates at s16; widening to s16 and vpmaddwd does not, and
// costs little.
//
// B is packed as s8, in panels as wide as a tile: for each word of k the kDepth values of every column side
// by side, then the sum of each column. Where a' = a + d is what is multiplied and a_zero' = a_zero + d,
// likewise b,
//   sum (a - a_zero) (b - b_zero) = sum a' b' - a_zero' sum b' - b_zero' (sum a' - k a_zero')
// and all of it may wrap modulo 2^32. A is packed, for tiles of R rows, in blocks of R cache lines, one of
// each row.

// A tile has at most kRows rows. Those of up to kVectorRows are made of vectors; others of registers of
// tiles, which are read and written whole, up to kSpareRows past the last row.
template <class D>
struct TileS8 {
  static constexpr size_t kRows = F::kTileRows, kVectorRows = kRows, kSpareRows = 0;
  struct Use {
    explicit Use(size_t) {}
  };
};
template <class D>
requires requires { typename D::Use; }
struct TileS8<D> {
  static constexpr size_t kRows = D::kRows, kVectorRows = D::kFewRows, kSpareRows = D::kRegisterRows;
  using Use = typename D::Use;
};

// What a row of A brings to corrections and scaling.
struct RowS8 {
  float scale;
  uint32_t zero;  // a_zero'
  uint32_t rest;  // sum a' - k a_zero'; only where B has zero points
};

DT_INLINE int32_t zero_point(const ZeroPoints& zeros, bool is_unsigned, size_t i) {
  if (!zeros.at) return 0;
  const uint8_t byte = ((const uint8_t*)zeros.at)[i * zeros.step];
  return is_unsigned ? byte : (int8_t)byte;
}

constexpr size_t kColsS8 = F::kTileVecs * F::kLanes;

// A tile's sums, corrected, as C wants them: `rows` rows from i on, `cols` columns from j on.
template <size_t kMostRows>
void finish_s8(const GemmS8Args& g, const RowS8* row, const int32_t* sums, size_t i, size_t j, size_t rows,
               size_t cols) {
  const size_t at_c = i * (size_t)g.c_row + j;
  if (g.c_type == Int8Result::kS32) {
    int32_t* c = (int32_t*)g.c + at_c;
    for (size_t r = 0; r < rows; ++r, c += g.c_row, sums += kColsS8)
      if (cols == kColsS8)  // a constant is a few instructions; a call for each row took a third of the time
        memcpy(c, sums, kColsS8 * sizeof(int32_t));
      else
        memcpy(c, sums, cols * sizeof(int32_t));
    return;
  }
  const Activation activation = g.activation;
  const bool one_scale = g.b_scale.step == 0, in_place = g.c_type == Int8Result::kF32;
  const float* b_scale = g.b_scale.at + j * g.b_scale.step;
  const float* bias = g.bias ? g.bias + j : nullptr;
  float between[kMostRows * kColsS8];
  float* y = in_place ? (float*)g.c + at_c : between;
  const size_t y_row = in_place ? (size_t)g.c_row : kColsS8;
  for_each_vector<F>(cols, [=](size_t v, auto at) {
    const F scale = one_scale ? F::set1(*b_scale) : at.load(b_scale + v);
    const F shift = bias ? at.load(bias + v) : F::set1(0);
    for (size_t r = 0; r < rows; ++r) {
      F x = F::set1(row[r].scale) * scale * to_float(I::load(sums + r * kColsS8 + v));
      if (bias) x = x + shift;
      if (activation == Activation::kRelu) x = Relu()(x);
      if (activation == Activation::kGelu) x = vgelu(x);
      at.put(y + r * y_row + v, x);
    }
  });
  if (in_place) return;
  for (size_t r = 0; r < rows; ++r)
    quantize_linear(between + r * kColsS8, g.c_scale, g.c_zero, g.c_type == Int8Result::kU8,
                    (uint8_t*)g.c + at_c + r * g.c_row, cols);
}

template <class D>
struct S8 {
  using Byte = typename D::Byte;
  using Elem = typename D::Elem;
  using Word = typename D::Word;

  using Tile = TileS8<D>;

  static constexpr bool kUnsigned = (Byte)-1 > 0;  // bytes of A
  static constexpr size_t kRows = Tile::kRows, kCols = kColsS8;
  static constexpr bool kTiles = Tile::kVectorRows < kRows;
  static constexpr size_t kLineElems = 64 / sizeof(Elem), kLineWords = 64 / sizeof(Word);

  // The most words that a tile takes in one turn of its loop; k is filled up with zeros.
  static constexpr int kTurn = 4;
  static_assert(16 % (kTurn * D::kDepth) == 0, "lib/ops/int8.ts tells k from the size of a packed weight");

  static constexpr size_t words(size_t k) { return round_up(k, kTurn * D::kDepth) / D::kDepth; }
  static constexpr size_t panel_values(size_t k) { return words(k) * D::kDepth * kCols; }
  static constexpr size_t panel_bytes(size_t k) { return panel_values(k) + kCols * sizeof(int32_t); }
  static constexpr size_t kNearBytes = 1 << 18, kAhead = 1 << 11;
  static constexpr size_t row_elems(size_t k) { return round_up(k, kLineElems); }

  static void pack(const void* b, bool b_unsigned, ptrdiff_t b_row, ptrdiff_t b_col, size_t k, size_t n,
                   int8_t* packed) {
    const uint8_t flip = b_unsigned ? 0x80 : 0;
    for (size_t j0 = 0; j0 < n; j0 += kCols, packed += panel_bytes(k)) {
      uint32_t sums[kCols] = {};
      memset(packed, 0, panel_values(k));
      for (size_t j = j0; j < smaller(j0 + kCols, n); ++j) {
        const uint8_t* column = (const uint8_t*)b + (ptrdiff_t)j * b_col;
        int8_t* to = packed + (j - j0) * D::kDepth;
        for (size_t p = 0; p < k; ++p) {
          const int8_t value = (int8_t)(column[(ptrdiff_t)p * b_row] ^ flip);
          to[p / D::kDepth * D::kDepth * kCols + p % D::kDepth] = value;
          sums[j - j0] += (uint32_t)value;
        }
      }
      memcpy(packed + panel_values(k), sums, sizeof sums);
    }
  }

  // d where A's bytes are those of g
  static int32_t moved(const GemmS8Args& g) {
    const bool is_unsigned = g.a_type == Int8Source::kU8;
    return kUnsigned == is_unsigned ? 0 : kUnsigned ? 128 : -128;
  }
  static uint32_t row_zero(const GemmS8Args& g, size_t i) {
    return (uint32_t)(zero_point(g.a_zero, g.a_type == Int8Source::kU8, i) + moved(g));
  }
  static bool corrects_rows(const GemmS8Args& g) { return g.a_zero.at && g.a_zero.step; }
  static bool corrects_columns(const GemmS8Args& g) { return g.b_zero.at || g.b_unsigned; }

  // Row i of A, each line `apart` elements from the one before.
  static RowS8 pack_row(const GemmS8Args& g, size_t i, Elem* to, size_t apart) {
    RowS8 row{1, row_zero(g, i), 0};
    const uint8_t* from;
    if (g.a_type == Int8Source::kF32) {
      int8_t* q = (int8_t*)scratch(3, g.k);
      row.scale = quantize_row((const float*)g.a + (ptrdiff_t)i * g.a_row, q, g.k);
      from = (const uint8_t*)q;
    } else {
      if (g.a_scale.at) row.scale = g.a_scale.at[i * g.a_scale.step];
      from = (const uint8_t*)g.a + (ptrdiff_t)i * g.a_row;
    }
    const uint8_t flip = moved(g) ? 0x80 : 0;
    if (corrects_columns(g)) {
      uint32_t sum = 0;
      for (size_t p = 0; p < g.k; ++p) sum += (uint32_t)(Byte)(from[p] ^ flip);
      row.rest = sum - (uint32_t)g.k * row.zero;
    }
    size_t p = 0;
    for (; p + kLineElems <= g.k; p += kLineElems, to += apart)
      for (size_t e = 0; e < kLineElems; ++e) to[e] = (Elem)(Byte)(from[p + e] ^ flip);
    if (p < g.k)
      for (size_t e = 0; e < kLineElems; ++e) to[e] = p + e < g.k ? (Elem)(Byte)(from[p + e] ^ flip) : 0;
    return row;
  }

  // Adds the products of word p of A's line and of B to sum.
  template <int R, class Value>
  static DT_INLINE void step(const Elem* a, size_t p, const Value* b, I (&sum)[R][F::kTileVecs]) {
    constexpr int W = F::kTileVecs;
    typename D::Words bs[W];
    DT_UNROLL for (int w = 0; w < W; ++w) bs[w] = D::load(b + w * F::kLanes * D::kDepth);
    DT_UNROLL for (int r = 0; r < R; ++r) {
      Word word;
      memcpy(&word, a + r * kLineElems + p * D::kDepth, sizeof word);
      const typename D::Words as = D::set1(word);
      DT_UNROLL for (int w = 0; w < W; ++w) sum[r][w] = D::dot(sum[r][w], as, bs[w]);
    }
  }

  // sums[r * kCols + j] = start[r * start_row + j] + the products of R rows of A and a panel of B.
  template <int R, class Value>
  static void tile(size_t words, const Elem* a, const Value* b, const int32_t* start, size_t start_row,
                   size_t rows, int32_t* sums) {
    if constexpr (R > 1) {
      if (rows < R) return tile<R - 1>(words, a, b, start, start_row, rows, sums);
    }
    // Where sums are few, there are more of each: else every one would wait for its last addition.
    constexpr int W = F::kTileVecs, U = R * W >= 8 ? 1 : R * W >= 4 ? 2 : kTurn;
    constexpr int kWords = D::kUnrolls ? kTurn : U;
    constexpr size_t kStep = kCols * D::kDepth;
    I sum[U][R][W];
    DT_UNROLL for (int u = 0; u < U; ++u) DT_UNROLL for (int r = 0; r < R; ++r)
        DT_UNROLL for (int w = 0; w < W; ++w) sum[u][r][w] =
            u ? I::set1(0) : I::load(start + r * start_row + w * F::kLanes);
    for (size_t done = 0; done < words; done += kLineWords, a += R * kLineElems) {
      const size_t line = smaller(words - done, kLineWords);
      for (size_t p = 0; p < line; p += kWords, b += kWords * kStep) {
        if constexpr (U > 1)  // B comes from afar
          for (size_t v = 0; v < kWords * kStep; v += 64) __builtin_prefetch((const char*)b + kAhead + v);
        DT_UNROLL for (int u = 0; u < kWords; ++u) step<R>(a, p + u, b + u * kStep, sum[u % U]);
      }
    }
    DT_UNROLL for (int r = 0; r < R; ++r) DT_UNROLL for (int w = 0; w < W; ++w) {
      DT_UNROLL for (int u = 1; u < U; ++u) sum[0][r][w] = sum[0][r][w] + sum[u][r][w];
      store(sums + r * kCols + w * F::kLanes, sum[0][r][w]);
    }
  }

  // So many words of a panel of B as stay in L1 while they meet the panels of A.
  static constexpr size_t kBlockWords = (1 << 15) / kCols / D::kDepth / (D::kWidens ? 2 : 1);

  struct Block {
    const int8_t* b;
    size_t count;
    int16_t wide[D::kWidens ? kBlockWords * D::kDepth * kCols : 1];
    bool widened;
    int8_t tail[kTiles ? kLineWords * D::kDepth * kCols : 1];  // the last line, where it is not whole

    Block(const int8_t* from, size_t words, size_t rows) : b(from), count(words) {
      constexpr size_t kWordBytes = D::kDepth * kCols;
      const size_t left = count % kLineWords * kWordBytes;
      if (kTiles && rows > Tile::kVectorRows && left > 0) {
        memcpy(tail, b + count * kWordBytes - left, left);
        memset(tail + left, 0, sizeof tail - left);
      }
      widened = D::kWidens && rows > 4 * kRows;  // else it costs more than it gains
      if constexpr (D::kWidens)
        for (size_t v = 0; widened && v < count * D::kDepth * kCols; ++v) wide[v] = b[v];
    }
    void multiply(const Elem* a, const int32_t* start, size_t start_row, size_t rows, int32_t* sums) const {
      if constexpr (D::kWidens)
        if (widened) return tile<kRows>(count, a, wide, start, start_row, rows, sums);
      if constexpr (kTiles)
        if (rows > Tile::kVectorRows) {
          const bool high = rows > D::kRegisterRows;
          return (high ? D::template multiply<true> : D::template multiply<false>)(count, a, rows, b, tail,
                                                                                   start, start_row, sums);
        }
      tile<Tile::kVectorRows>(count, a, b, start, start_row, rows, sums);
    }
  };

  // The corrections that differ from row to row.
  static void correct(const GemmS8Args& g, const RowS8& row, const int32_t* column_sums, size_t j,
                      size_t cols, int32_t* sums) {
    if (corrects_rows(g))
      for (size_t v = 0; v < cols; ++v)
        sums[v] = (int32_t)((uint32_t)sums[v] - row.zero * (uint32_t)column_sums[v]);
    if (corrects_columns(g))
      for (size_t v = 0; v < cols; ++v) {
        const int32_t zero = zero_point(g.b_zero, g.b_unsigned, j + v) - (g.b_unsigned ? 128 : 0);
        sums[v] = (int32_t)((uint32_t)sums[v] - (uint32_t)zero * row.rest);
      }
  }

  const GemmS8Args* g;
  size_t rows, cols;  // of a chunk, but for the last
  Elem* a;            // packed rows and what they bring, or null where a chunk packs its own
  RowS8* row_terms;

  // Panels are of equal height where that is possible, and at most kRows. Of registers of tiles the last one
  // may be low.
  static size_t panel_rows(size_t rows) { return kTiles ? smaller(rows, kRows) : even_part(rows, kRows, 1); }

  // Of rows of A, packed, and of what they bring.
  static size_t packed_bytes(size_t rows, size_t k) {
    return rows * (row_elems(k) * sizeof(Elem) + sizeof(RowS8)) +
           Tile::kSpareRows * kLineElems * sizeof(Elem);
  }

  // Rows i .. end in panels.
  static void pack_rows(const GemmS8Args& g, size_t i, size_t end, Elem* a, RowS8* terms) {
    const size_t height = panel_rows(end - i);
    for (; i < end; i += height, a += height * row_elems(g.k)) {
      const size_t panel = smaller(height, end - i);
      for (size_t r = 0; r < panel; ++r)
        *terms++ = pack_row(g, i + r, a + r * kLineElems, panel * kLineElems);
    }
  }

  static void pack_chunk(void* context, size_t index) {
    const S8& s = *(const S8*)context;
    const size_t i = index * s.rows;
    pack_rows(*s.g, i, smaller(i + s.rows, s.g->m), s.a + i * row_elems(s.g->k), s.row_terms + i);
  }

  static void multiply(void* context, size_t index) {
    const S8& s = *(const S8*)context;
    const GemmS8Args& g = *s.g;
    const size_t across = (g.n + s.cols - 1) / s.cols;
    const size_t i0 = index / across * s.rows, j0 = index % across * s.cols;
    const size_t i_end = smaller(i0 + s.rows, g.m), j_end = smaller(j0 + s.cols, g.n);
    const size_t height = panel_rows(i_end - i0);
    [[maybe_unused]] const typename Tile::Use use(height);
    const Elem* a = s.a + i0 * row_elems(g.k);
    const RowS8* terms = s.row_terms + i0;
    if (!s.a) {
      Elem* own = (Elem*)scratch(1, packed_bytes(i_end - i0, g.k));
      RowS8* own_terms = (RowS8*)(own + (i_end - i0) * row_elems(g.k));
      pack_rows(g, i0, i_end, own, own_terms);
      a = own, terms = own_terms;
    }
    const size_t blocks = (words(g.k) + kBlockWords - 1) / kBlockWords;
    int32_t one_tile[kRows * kCols];
    int32_t* sums = blocks > 1
                        ? (int32_t*)scratch(2, (i_end - i0 + Tile::kSpareRows) * kCols * sizeof(int32_t))
                        : one_tile;
    for (size_t j = j0; j < j_end; j += kCols) {
      const int8_t* b = g.b_packed + j / kCols * panel_bytes(g.k);
      const size_t cols = smaller(kCols, g.n - j);
      int32_t column_sums[kCols], start[kCols];
      memcpy(column_sums, b + panel_values(g.k), sizeof column_sums);
      const uint32_t zero = corrects_rows(g) ? 0 : row_zero(g, 0);
      for (size_t v = 0; v < kCols; ++v) start[v] = (int32_t)(0 - zero * (uint32_t)column_sums[v]);
      size_t block = 0;
      do {  // once where k is 0
        const size_t done = block * kBlockWords, count = smaller(words(g.k) - done, kBlockWords);
        Block from(b + done * D::kDepth * kCols, count, i_end - i0);
        for (size_t i = i0; i < i_end; i += height) {
          const size_t panel = smaller(height, i_end - i);
          int32_t* to = sums + (blocks > 1 ? (i - i0) * kCols : 0);
          from.multiply(a + (i - i0) * row_elems(g.k) + done * D::kDepth * panel, block ? to : start,
                        block ? kCols : 0, panel, to);
          if (block + 1 < blocks) continue;
          const RowS8* row = terms + (i - i0);
          if (corrects_rows(g) || corrects_columns(g))
            for (size_t r = 0; r < panel; ++r) correct(g, row[r], column_sums, j, cols, to + r * kCols);
          finish_s8<kRows>(g, row, to, i, j, panel, cols);
        }
      } while (++block < blocks);
    }
  }

  static void gemm(const GemmS8Args& g) {
    const bool parallel = g.m * g.n * g.k > D::kDepth * kSerialMacs;
    // A chunk's rows stay in L2 while they meet all its panels of B.
    const size_t row_bytes = row_elems(g.k) * sizeof(Elem);
    const size_t most = kNearBytes / (row_bytes + 1) / kRows * kRows;
    S8 s{&g, even_part(g.m, most < 8 * kRows ? 8 * kRows : most, kRows), round_up(g.n, kCols), nullptr,
         nullptr};
    const size_t row_chunks = (g.m + s.rows - 1) / s.rows;
    if (parallel && row_chunks < kChunks) {
      s.cols = round_up(g.n * row_chunks / kChunks + 1, kCols);
      s.a = (Elem*)scratch(0, packed_bytes(g.m, g.k));
      s.row_terms = (RowS8*)(s.a + g.m * row_elems(g.k));
      run_chunks(g.m * g.k > kSerialMacs, row_chunks, pack_chunk, &s);
    }
    run_chunks(parallel, row_chunks * ((g.n + s.cols - 1) / s.cols), multiply, &s);
  }
};

template <class D>
size_t packed_s8_bytes(size_t k, size_t n) {
  return round_up(n, S8<D>::kCols) / S8<D>::kCols * S8<D>::panel_bytes(k);
}

template <class D>
void pack_s8(const void* b, bool b_unsigned, ptrdiff_t b_row, ptrdiff_t b_col, size_t k, size_t n,
             int8_t* packed) {
  S8<D>::pack(b, b_unsigned, b_row, b_col, k, n, packed);
}
