// The tiles that all of GEMM is made of. A tile of R rows and W vectors of columns keeps its R * W sums in
// registers for the whole of k; each step loads W vectors of B, broadcasts R values of A and does R * W
// multiply-adds.

// What happens to a sum on its way to C: activation(alpha * sum + beta * C + bias).
template <class T>
struct Finish {
  T alpha, beta;
  const T* bias;  // of the tile's first column, or null
  bool relu;
};

template <class V>
DT_INLINE V finish(V sum, const Finish<typename V::T>& f, V c, V bias) {
  V y = V::set1(f.alpha) * sum;
  if (f.beta != 0) y = mul_add(V::set1(f.beta), c, y);
  if (f.bias) y = y + bias;
  return f.relu ? max(V::set1(0), y) : y;
}

// A[r, p] is a[r * a_row + p * a_col], B[p, j] is b[p * b_row + j] and has W whole vectors; rows <= R and
// cols <= W * kLanes say how much of the result belongs to C.
template <class V, int R, int W>
DT_INLINE void tile(size_t k, const typename V::T* a, ptrdiff_t a_row, ptrdiff_t a_col,
                    const typename V::T* b, ptrdiff_t b_row, const Finish<typename V::T>& f, typename V::T* c,
                    ptrdiff_t c_row, size_t rows, size_t cols) {
  V sum[R][W];
  DT_UNROLL for (int r = 0; r < R; ++r) DT_UNROLL for (int w = 0; w < W; ++w) sum[r][w] = V::set1(0);
  for (size_t p = 0; p < k; ++p, a += a_col, b += b_row) {
    V bs[W];
    DT_UNROLL for (int w = 0; w < W; ++w) bs[w] = V::load(b + w * V::kLanes);
    DT_UNROLL for (int r = 0; r < R; ++r) {
      const V as = V::set1(a[r * a_row]);
      DT_UNROLL for (int w = 0; w < W; ++w) sum[r][w] = mul_add(as, bs[w], sum[r][w]);
    }
  }
  // What follows indexes the sums, so they go to memory; `sum` itself can stay in registers.
  V done[R][W];
  DT_UNROLL for (int r = 0; r < R; ++r) DT_UNROLL for (int w = 0; w < W; ++w) done[r][w] = sum[r][w];
  const V none = V::set1(0);
  for (int r = 0; r < R; ++r) {
    if ((size_t)r >= rows) return;
    for (int w = 0; w < W; ++w) {
      const size_t j = w * V::kLanes;
      typename V::T* out = c + r * c_row + j;
      if (j + V::kLanes <= cols) {
        const V old = f.beta != 0 ? V::load(out) : none, bias = f.bias ? V::load(f.bias + j) : none;
        store(out, finish(done[r][w], f, old, bias));
      } else if (j < cols) {
        const size_t left = cols - j;
        const V old = f.beta != 0 ? V::load_n(out, left) : none;
        const V bias = f.bias ? V::load_n(f.bias + j, left) : none;
        store_n(out, finish(done[r][w], f, old, bias), left);
      }
    }
  }
}

// tile with exactly `rows` <= R rows.
template <class V, int R, int W>
void tile_rows(size_t k, const typename V::T* a, ptrdiff_t a_row, ptrdiff_t a_col, const typename V::T* b,
               ptrdiff_t b_row, const Finish<typename V::T>& f, typename V::T* c, ptrdiff_t c_row,
               size_t rows, size_t cols) {
  if constexpr (R > 1) {
    if (rows < R) return tile_rows<V, R - 1, W>(k, a, a_row, a_col, b, b_row, f, c, c_row, rows, cols);
  }
  tile<V, R, W>(k, a, a_row, a_col, b, b_row, f, c, c_row, R, cols);
}

// The tile on packed panels, whose steps are constants.
template <class V, int W>
void tile_packed(size_t k, const typename V::T* a, const typename V::T* b, const Finish<typename V::T>& f,
                 typename V::T* c, ptrdiff_t c_row, size_t rows, size_t cols) {
  constexpr int kRows = V::kTileRows, kCols = V::kTileVecs * V::kLanes;
  tile<V, kRows, W>(k, a, 1, kRows, b, kCols, f, c, c_row, rows, cols);
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
  DT_UNROLL for (int r = 0; r < R; ++r) DT_UNROLL for (int j = 0; j < J; ++j) {
    T* out = c + r * c_row + j;
    const One<T> old{f.beta != 0 ? *out : 0}, bias{f.bias ? f.bias[j] : 0};
    store(out, finish(One<T>{reduce_add(sum[r][j])}, f, old, bias));
  }
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
