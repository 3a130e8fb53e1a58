// The tiles that all of GEMM is made of. A tile of R rows and W vectors of columns keeps its R * W sums in
// registers for the whole of k; each step loads W vectors of B, broadcasts R values of A and does R * W
// multiply-adds.

// What happens to a sum on its way to C: activation(alpha * sum + beta * C + bias) + residual.
template <class T>
struct Finish {
  T alpha, beta;
  const T* bias;  // of the tile's first column, or null
  Activation activation;
  const T* residual;  // of the tile's first value, or null
  ptrdiff_t residual_row;
};

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

// A[r, p] is a[r * a_row + p * a_col], B[p, j] is b[p * b_row + j] and has W whole vectors; the first `cols`
// <= W * kLanes columns of the result belong to C.
template <class V, int R, int W>
DT_INLINE void tile(size_t k, const typename V::T* a, ptrdiff_t a_row, ptrdiff_t a_col,
                    const typename V::T* b, ptrdiff_t b_row, const Finish<typename V::T>& f, typename V::T* c,
                    ptrdiff_t c_row, size_t cols) {
#define DT_TILE DT_UNROLL for (int r = 0; r < R; ++r) DT_UNROLL for (int w = 0; w < W; ++w)
  V sum[R][W];
  DT_TILE sum[r][w] = V::set1(0);
  for (size_t p = 0; p < k; ++p, a += a_col, b += b_row) {
    V bs[W];
    DT_UNROLL for (int w = 0; w < W; ++w) bs[w] = V::load(b + w * V::kLanes);
    DT_UNROLL for (int r = 0; r < R; ++r) {
      const V as = V::set1(a[r * a_row]);
      DT_UNROLL for (int w = 0; w < W; ++w) sum[r][w] = mul_add(as, bs[w], sum[r][w]);
    }
  }
  if (cols < W * V::kLanes || f.activation == Activation::kGelu) {
    typename V::T done[R * W * V::kLanes];
    DT_TILE store(done + (r * W + w) * V::kLanes, sum[r][w]);
    return finish_rows<V>(done, W * V::kLanes, R, f, c, c_row, cols);
  }
  // One after another over the whole tile, so that what is not asked for costs one branch.
  constexpr ptrdiff_t kLanes = V::kLanes;
  if (f.alpha != 1) DT_TILE sum[r][w] = V::set1(f.alpha) * sum[r][w];
  if (f.beta != 0)
    DT_TILE sum[r][w] = mul_add(V::set1(f.beta), V::load(c + r * c_row + w * kLanes), sum[r][w]);
  if (f.bias) DT_TILE sum[r][w] = sum[r][w] + V::load(f.bias + w * kLanes);
  if (f.activation == Activation::kRelu) DT_TILE sum[r][w] = Relu()(sum[r][w]);
  if (f.residual) DT_TILE sum[r][w] = sum[r][w] + V::load(f.residual + r * f.residual_row + w * kLanes);
  DT_TILE store(c + r * c_row + w * kLanes, sum[r][w]);
#undef DT_TILE
}

// tile with `rows` <= R rows.
template <class V, int R, int W>
void tile_rows(size_t k, const typename V::T* a, ptrdiff_t a_row, ptrdiff_t a_col, const typename V::T* b,
               ptrdiff_t b_row, const Finish<typename V::T>& f, typename V::T* c, ptrdiff_t c_row,
               size_t rows, size_t cols) {
  if constexpr (R > 1) {
    if (rows < R) return tile_rows<V, R - 1, W>(k, a, a_row, a_col, b, b_row, f, c, c_row, rows, cols);
  }
  tile<V, R, W>(k, a, a_row, a_col, b, b_row, f, c, c_row, cols);
}

// The tile on packed panels, whose steps are constants.
template <class V, int R, int W>
void tile_packed(size_t k, const typename V::T* a, const typename V::T* b, const Finish<typename V::T>& f,
                 typename V::T* c, ptrdiff_t c_row, size_t rows, size_t cols) {
  if constexpr (R > 1) {
    if (rows < R) return tile_packed<V, R - 1, W>(k, a, b, f, c, c_row, rows, cols);
  }
  tile<V, R, W>(k, a, 1, V::kTileRows, b, W * V::kLanes, f, c, c_row, cols);
}

// tile_packed on a panel of round_up(cols, kLanes) columns, of which there are at most W * kLanes.
template <class V, int W>
DT_INLINE void tile_panel(size_t k, const typename V::T* a, const typename V::T* b,
                          const Finish<typename V::T>& f, typename V::T* c, ptrdiff_t c_row, size_t rows,
                          size_t cols) {
  if constexpr (W > 1) {
    if (cols <= (W - 1) * V::kLanes) return tile_panel<V, W - 1>(k, a, b, f, c, c_row, rows, cols);
  }
  tile_packed<V, V::kTileRows, W>(k, a, b, f, c, c_row, rows, cols);
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

// dst[p * kWidth + j] = src[p * k_step + j * step] for p < k and j < width, 0 for the j beyond.
template <int kWidth, class T>
void pack_panel(const T* src, ptrdiff_t k_step, ptrdiff_t step, size_t k, size_t width, T* dst) {
  if (k == 0) return;  // there may be no memory either
  if (width < kWidth) memset(dst, 0, k * kWidth * sizeof(T));
  size_t done = 0;  // columns of the panel
  if (step == 1) {
    if (width == kWidth)
      for (size_t p = 0; p < k; ++p)
        memcpy(dst + p * kWidth, src + (ptrdiff_t)p * k_step, kWidth * sizeof(T));
    else
      for (size_t p = 0; p < k; ++p) memcpy(dst + p * kWidth, src + (ptrdiff_t)p * k_step, width * sizeof(T));
    return;
  }
  const size_t whole = k_step == 1 ? k / 4 * 4 : 0;
  if (whole)
    for (; done + 4 <= width; done += 4) {
      const T* column = src + (ptrdiff_t)done * step;
      for (size_t p = 0; p < whole; p += 4) transpose4(column + p, step, dst + p * kWidth + done, kWidth);
      for (size_t p = whole; p < k; ++p)
        for (size_t j = 0; j < 4; ++j)
          dst[p * kWidth + done + j] = column[(ptrdiff_t)j * step + (ptrdiff_t)p];
    }
  for (; done < width; ++done) {
    const T* column = src + (ptrdiff_t)done * step;
    for (size_t p = 0; p < k; ++p) dst[p * kWidth + done] = column[(ptrdiff_t)p * k_step];
  }
}
