// Products of int8 matrices, exact in s32 (for k up to 131071: 2^17 products of at most 2^14).
//
// k is taken two at a time. B is packed into panels as wide as a tile, for each two rows of B the pairs
// (B[2p, j], B[2p+1, j]) of all columns side by side; A's pairs are made as it is read. The vector layer
// gives
//   Pair, make_pair(a0, a1)    one pair of A in the form that set1_pairs broadcasts
//   Pairs, load_pairs(p)       kLanes pairs of B, from 2 kLanes bytes
//   dot2(acc, a, b)            acc + a0 b0 + a1 b1 in each s32 lane
// vpmaddubsw, which most libraries use on AVX2, saturates at s16; widening to s16 and vpmaddwd does not, and
// costs little. On AVX2 the 6 x 2 tile does 25 of the 32 multiply-adds a cycle that the ports allow.

constexpr size_t kS8Rows = F::kTileRows, kS8Cols = F::kTileVecs * F::kLanes;

size_t packed_s8_bytes(size_t k, size_t n) { return round_up(k, 2) * round_up(n, kS8Cols); }

void pack_s8(const int8_t* b, ptrdiff_t b_row, ptrdiff_t b_col, size_t k, size_t n, int8_t* packed) {
  for (size_t j0 = 0; j0 < n; j0 += kS8Cols)
    for (size_t p = 0; p < k; p += 2)
      for (size_t j = j0; j < j0 + kS8Cols; ++j) {
        const int8_t* at = b + (ptrdiff_t)p * b_row + (ptrdiff_t)j * b_col;
        *packed++ = j < n ? at[0] : 0;
        *packed++ = j < n && p + 1 < k ? at[b_row] : 0;
      }
}

// (A's scale * B's scale) * sum + bias, each rounded: the same bits on every target.
DT_INLINE F finish_s8(I sum, F a_scale, F b_scale, const float* bias, F bias_value, bool relu) {
  F y = a_scale * b_scale * to_float(sum);
  if (bias) y = y + bias_value;
  return relu ? max(F::set1(0), y) : y;
}

// R rows of pairs of A (kS8Rows pairs for each step of k) times one panel of B.
template <int R>
void tile_s8(const GemmS8Args& g, const Pair* a, const int8_t* b, size_t i, size_t j, size_t rows) {
  if constexpr (R > 1) {
    if (rows < R) return tile_s8<R - 1>(g, a, b, i, j, rows);
  }
  constexpr int W = F::kTileVecs;
  I sum[R][W];
  DT_UNROLL for (int r = 0; r < R; ++r) DT_UNROLL for (int w = 0; w < W; ++w) sum[r][w] = I::set1(0);
  for (size_t p = 0; p < g.k; p += 2, a += kS8Rows, b += 2 * kS8Cols) {
    Pairs bs[W];
    DT_UNROLL for (int w = 0; w < W; ++w) bs[w] = load_pairs(b + w * 2 * F::kLanes);
    DT_UNROLL for (int r = 0; r < R; ++r) {
      const Pairs as = set1_pairs(a[r]);
      DT_UNROLL for (int w = 0; w < W; ++w) sum[r][w] = dot2(sum[r][w], as, bs[w]);
    }
  }
  // What follows indexes the sums, so they go to memory; `sum` itself can stay in registers.
  I done[R][W];
  DT_UNROLL for (int r = 0; r < R; ++r) DT_UNROLL for (int w = 0; w < W; ++w) done[r][w] = sum[r][w];
  const bool relu = g.activation == Activation::kRelu;
  for (int r = 0; r < R; ++r)
    for (int w = 0; w < W; ++w) {
      const size_t column = j + w * F::kLanes, row = i + r;
      if (column >= g.n) break;
      const size_t left = g.n - column;
      const bool whole = left >= F::kLanes;
      if (g.sums) {
        int32_t* out = g.sums + row * g.n + column;
        whole ? store(out, done[r][w]) : store_n(out, done[r][w], left);
      }
      if (g.c) {
        const auto load = [=](const float* p) { return whole ? F::load(p) : F::load_n(p, left); };
        const F bias = g.bias ? load(g.bias + column) : F::set1(0);
        const F y =
            finish_s8(done[r][w], F::set1(g.a_scale[row]), load(g.b_scale + column), g.bias, bias, relu);
        float* out = g.c + (ptrdiff_t)row * g.c_row + (ptrdiff_t)column;
        whole ? store(out, y) : store_n(out, y, left);
      }
    }
}

struct SplitS8 {
  const GemmS8Args* g;
  size_t rows, cols;  // of a chunk

  static void chunk(void* context, size_t index) {
    const SplitS8& s = *(const SplitS8*)context;
    const GemmS8Args& g = *s.g;
    const size_t across = (g.n + s.cols - 1) / s.cols, steps = (g.k + 1) / 2;
    const size_t i0 = index / across * s.rows, j0 = index % across * s.cols;
    const size_t i_end = smaller(i0 + s.rows, g.m), j_end = smaller(j0 + s.cols, g.n);
    Pair* a = (Pair*)scratch(1, round_up(i_end - i0, kS8Rows) * steps * sizeof(Pair));
    for (size_t i = i0; i < i_end; ++i) {
      const int8_t* row = g.a + (ptrdiff_t)i * g.a_row;
      Pair* to = a + (i - i0) / kS8Rows * kS8Rows * steps + (i - i0) % kS8Rows;
      for (size_t p = 0; p < g.k; p += 2, to += kS8Rows)
        *to = make_pair(row[p], p + 1 < g.k ? row[p + 1] : 0);
    }
    for (size_t j = j0; j < j_end; j += kS8Cols)
      for (size_t i = i0; i < i_end; i += kS8Rows)
        tile_s8<kS8Rows>(g, a + (i - i0) * steps, g.b_packed + j * 2 * steps, i, j,
                         smaller(kS8Rows, i_end - i));
  }
};

void gemm_s8(const GemmS8Args& g) {
  if (g.m == 0 || g.n == 0) return;
  SplitS8 s{&g, even_part(g.m, 48, kS8Rows), round_up(g.n, kS8Cols)};
  const size_t row_chunks = (g.m + s.rows - 1) / s.rows;
  const bool parallel = g.m * g.n * g.k > 2 * kSerialMacs;
  if (row_chunks < kChunks) s.cols = round_up(g.n * row_chunks / kChunks + 1, 128);
  run_chunks(parallel, row_chunks * ((g.n + s.cols - 1) / s.cols), SplitS8::chunk, &s);
}
