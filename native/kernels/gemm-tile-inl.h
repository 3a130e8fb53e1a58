// The tiles that all of GEMM is made of. A tile of R rows and W vectors of columns keeps its R * W sums in
// registers for the whole of k; each step loads W vectors of B, broadcasts R values of A and does R * W
// multiply-adds.

// A tile this deep takes long enough for its part of C to come nearer meanwhile.
constexpr size_t kFetchDepth = 16;

// What happens to a sum on its way to C: activation(alpha * sum + beta * C + bias) + residual.
template <class T>
struct Finish {
  T alpha, beta;
  const T* bias;  // of the tile's first column, or null
  Activation activation;
  const T* residual;  // of the tile's first value, or null
  ptrdiff_t residual_row;
};

// For the tile whose first value is at [row, column].
template <class T>
Finish<T> finish_of(const GemmArgs<T>& g, size_t row, size_t column) {
  const T* residual = g.residual ? g.residual + (ptrdiff_t)row * g.residual_row + (ptrdiff_t)column : nullptr;
  return {g.alpha, g.beta, g.bias ? g.bias + column : nullptr, g.activation, residual, g.residual_row};
}

// From sums in memory. Not inlined: GELU is long, and every tile would carry it.
template <class V, class T>
__attribute__((noinline)) void finish_rows(const T* sum, size_t sum_row, size_t rows, const Finish<T>& f,
                                           T* c, ptrdiff_t c_row, size_t cols) {
  for (size_t r = 0; r < rows; ++r, sum += sum_row, c += c_row) {
    const T* residual = f.residual ? f.residual + (ptrdiff_t)r * f.residual_row : nullptr;
    for_each_vector<V>(cols, [&](size_t j, auto at) {
      V y = V::set1(f.alpha) * at.load(sum + j);
      if (f.beta != 0) y = mul_add(V::set1(f.beta), at.load(c + j), y);
      if (f.bias) y = y + at.load(f.bias + j);
      if (f.activation == Activation::kRelu) y = Relu()(y);
      if (f.activation == Activation::kGelu) y = Gelu()(y);
      if (residual) y = y + at.load(residual + j);
      at.put(c + j, y);
    });
  }
}

// From registers: one step after another over the whole tile, so that what is not asked for costs one branch.
// GELU is left to finish_rows. `last` is the part of the last vector of a row that belongs to C.
template <class V, int R, int W, class Last>
DT_INLINE void finish_tile(V (&sum)[R][W], Last last, const Finish<typename V::T>& f, typename V::T* c,
                           ptrdiff_t c_row) {
  const auto load = [=](const typename V::T* p, int w) {
    p += w * (ptrdiff_t)V::kLanes;
    return w < W - 1 ? V::load(p) : last.load(p);
  };
#define DT_TILE DT_UNROLL for (int r = 0; r < R; ++r) DT_UNROLL for (int w = 0; w < W; ++w)
  if (f.activation == Activation::kGelu) {
    typename V::T done[R * W * V::kLanes];
    DT_TILE store(done + (r * W + w) * (ptrdiff_t)V::kLanes, sum[r][w]);
    return finish_rows<V>(done, W * V::kLanes, R, f, c, c_row, (W - 1) * V::kLanes + last.count());
  }
  if (f.alpha != 1) DT_TILE sum[r][w] = V::set1(f.alpha) * sum[r][w];
  if (f.beta != 0) DT_TILE sum[r][w] = mul_add(V::set1(f.beta), load(c + r * c_row, w), sum[r][w]);
  if (f.bias) DT_TILE sum[r][w] = sum[r][w] + load(f.bias, w);
  if (f.activation == Activation::kRelu) DT_TILE sum[r][w] = Relu()(sum[r][w]);
  if (f.residual) DT_TILE sum[r][w] = sum[r][w] + load(f.residual + r * f.residual_row, w);
  DT_TILE {
    typename V::T* out = c + r * c_row + w * (ptrdiff_t)V::kLanes;
    w < W - 1 ? store(out, sum[r][w]) : last.put(out, sum[r][w]);
  }
#undef DT_TILE
}

// Two ways to find A: kRows reads A[r, p] at a[r * a_step + p], kColumns at a[p * a_step + r].
enum class Layout { kRows, kColumns };

// A of R rows at one p. Three rows share a pointer, or there would be more of them than registers.
template <class T, int R, Layout layout>
struct Column {
  static constexpr int kPointers = layout == Layout::kRows ? (R + 2) / 3 : 1;
  const T* at[kPointers];
  ptrdiff_t step;

  DT_INLINE Column(const T* a, ptrdiff_t a_step) : step(a_step) {
    DT_UNROLL for (int i = 0; i < kPointers; ++i) {
      at[i] = a + 3 * i * a_step;
      asm("" : "+r"(at[i]));  // or the compiler makes one pointer of them all, and twelve offsets
    }
  }
  DT_INLINE T operator[](int r) const { return layout == Layout::kRows ? at[r / 3][r % 3 * step] : at[0][r]; }
  DT_INLINE void next() {
    DT_UNROLL for (int i = 0; i < kPointers; ++i) at[i] += layout == Layout::kRows ? 1 : step;
  }
};

// B[p, j] is b[p * b_row + j]. `last` is the part of the last of W vectors that belongs to C: of B it is all
// that is read where V has masks, else B has whole vectors.
template <class V, int R, int W, Layout layout, class Last>
DT_INLINE void tile(size_t k, const typename V::T* a, ptrdiff_t a_step, const typename V::T* b,
                    ptrdiff_t b_row, const Finish<typename V::T>& f, typename V::T* c, ptrdiff_t c_row,
                    Last last) {
#define DT_TILE DT_UNROLL for (int r = 0; r < R; ++r) DT_UNROLL for (int w = 0; w < W; ++w)
  constexpr ptrdiff_t kLanes = V::kLanes;
  if (k >= kFetchDepth) DT_TILE __builtin_prefetch(c + r * c_row + w * kLanes, 1);
  V sum[R][W];
  DT_TILE sum[r][w] = V::set1(0);
  Column<typename V::T, R, layout> as(a, a_step);
  for (size_t p = 0; p < k; ++p, as.next(), b += b_row) {
    V bs[W];
    DT_UNROLL for (int w = 0; w < W - 1; ++w) bs[w] = V::load(b + w * kLanes);
    bs[W - 1] = V::kMasks ? last.any(b + (W - 1) * kLanes) : V::load(b + (W - 1) * kLanes);
    DT_UNROLL for (int r = 0; r < R; ++r) {
      const V value = V::set1(as[r]);
      DT_UNROLL for (int w = 0; w < W; ++w) sum[r][w] = mul_add(value, bs[w], sum[r][w]);
    }
  }
  finish_tile<V, R, W>(sum, last, f, c, c_row);
#undef DT_TILE
}

// A tile with fewer vectors in a row has more rows, so that as many sums are under way.
template <class V>
constexpr int rows_of_tile(size_t vecs) {
  if (V::kLanes == 1) return V::kTileRows;
  const int rows = V::kTileRows * V::kTileVecs / (int)vecs;
  return rows < 16 ? rows : 16;
}

// tile with `rows` <= R rows.
template <class V, int R, int W, Layout layout, class Last>
void tile_rows(size_t k, const typename V::T* a, ptrdiff_t a_step, const typename V::T* b, ptrdiff_t b_row,
               const Finish<typename V::T>& f, typename V::T* c, ptrdiff_t c_row, size_t rows, Last last) {
  if constexpr (R > 1) {
    if (rows < R) return tile_rows<V, R - 1, W, layout>(k, a, a_step, b, b_row, f, c, c_row, rows, last);
  }
  // The compilers make vectors of a tile of single lanes only where all steps are constants, as they are in
  // the panels that such targets always use.
  if constexpr (V::kLanes == 1) a_step = V::kTileRows, b_row = W;
  tile<V, R, W, layout>(k, a, a_step, b, b_row, f, c, c_row, last);
}

// tile_rows for at most W * kLanes columns.
template <class V, int W, Layout layout>
void tile_panel(size_t k, const typename V::T* a, ptrdiff_t a_step, const typename V::T* b, ptrdiff_t b_row,
                const Finish<typename V::T>& f, typename V::T* c, ptrdiff_t c_row, size_t rows, size_t cols) {
  if constexpr (W > 1) {
    if (cols <= (W - 1) * V::kLanes)
      return tile_panel<V, W - 1, layout>(k, a, a_step, b, b_row, f, c, c_row, rows, cols);
  }
  constexpr int R = rows_of_tile<V>(W);
  if constexpr (V::kLanes > 1) {
    const size_t rest = cols - (W - 1) * V::kLanes;
    if (rest < V::kLanes)
      return tile_rows<V, R, W, layout>(k, a, a_step, b, b_row, f, c, c_row, rows, Part<V>{rest});
  }
  tile_rows<V, R, W, layout>(k, a, a_step, b, b_row, f, c, c_row, rows, Whole<V>{});
}

// R rows of A times J columns of B, both contiguous along k: R * J dot products.
template <class V, int R, int J>
DT_INLINE void dot_tile(size_t k, const typename V::T* a, ptrdiff_t a_row, const typename V::T* b,
                        ptrdiff_t b_col, const Finish<typename V::T>& f, typename V::T* c, ptrdiff_t c_row) {
  using T = typename V::T;
  V sum[R][J];
  DT_UNROLL for (int r = 0; r < R; ++r) DT_UNROLL for (int j = 0; j < J; ++j) sum[r][j] = V::set1(0);
  for_each_vector<V>(k, [&](size_t p, auto at) {
    V bs[J];
    DT_UNROLL for (int j = 0; j < J; ++j) bs[j] = at.load(b + j * b_col + p);
    DT_UNROLL for (int r = 0; r < R; ++r) {
      const V as = at.load(a + r * a_row + p);
      DT_UNROLL for (int j = 0; j < J; ++j) sum[r][j] = mul_add(as, bs[j], sum[r][j]);
    }
  });
  T done[R * J];
  DT_UNROLL for (int r = 0; r < R; ++r) DT_UNROLL for (int j = 0; j < J; ++j) {
    done[r * J + j] = reduce_add(sum[r][j]);
  }
  finish_rows<V>(done, J, R, f, c, c_row, J);
}
