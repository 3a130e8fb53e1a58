// Copies of B in the order in which tiles read it.

// Rows that are asked for before they are copied.
constexpr size_t kPackAhead = 16;

// dst[p * kWidth + j] = src[p * k_step + j * step] for p < k and j < width, 0 for the j beyond.
template <int kWidth, class T>
void pack_panel(const T* src, ptrdiff_t k_step, ptrdiff_t step, size_t k, size_t width, T* dst) {
  if (k == 0) return;  // there may be no memory either
  if (width < kWidth) memset(dst, 0, k * kWidth * sizeof(T));
  size_t done = 0;  // columns of the panel
  if (step == 1) {
    if (width == kWidth)
      for (size_t p = 0; p < k; ++p) {
        // Rows far apart are no stream that the processor would see by itself.
        for (size_t j = 0; j < kWidth; j += 64 / sizeof(T))
          __builtin_prefetch(src + (ptrdiff_t)(p + kPackAhead) * k_step + j);
        memcpy(dst + p * kWidth, src + (ptrdiff_t)p * k_step, kWidth * sizeof(T));
      }
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

// The layout of a packed B: panels of kTileVecs * kLanes columns side by side, the last one only as wide as
// its columns take in whole vectors; a panel's rows lie one after another, from 0 to k.
template <class V>
constexpr size_t packed_b_values(size_t k, size_t n) {
  return k * round_up(n, V::kLanes);
}
// What pack_b makes has a cache line behind it that begins with 1 where all of B is finite, else with 0.
template <class V>
size_t packed_b_bytes(size_t k, size_t n) {
  return packed_b_values<V>(k, n) * sizeof(typename V::T) + 64;
}

template <class V, int W, class T>
void pack_b_panel(const T* b, ptrdiff_t b_row, ptrdiff_t b_col, size_t k, size_t cols, T* panel) {
  if constexpr (W > 1) {
    if (cols <= (W - 1) * V::kLanes) return pack_b_panel<V, W - 1>(b, b_row, b_col, k, cols, panel);
  }
  pack_panel<W*(int)V::kLanes>(b, b_row, b_col, k, cols, panel);
}

// Some panels. Where rows are contiguous they are copied one by one through all panels, so that what is read
// lies together.
template <class V, class T>
void pack_columns(const T* b, ptrdiff_t b_row, ptrdiff_t b_col, size_t k, size_t n, T* packed) {
  constexpr size_t kCols = V::kTileVecs * V::kLanes;
  if (b_col != 1) {
    for (size_t j = 0; j < n; j += kCols)
      pack_b_panel<V, V::kTileVecs>(b + (ptrdiff_t)j * b_col, b_row, b_col, k, smaller(kCols, n - j),
                                    packed + j * k);
    return;
  }
  const size_t whole = n / kCols * kCols, wide = round_up(n - whole, V::kLanes);
  for (size_t p = 0; p < k; ++p) {
    const T* row = b + (ptrdiff_t)p * b_row;
    for (size_t j = 0; j < whole; j += kCols) memcpy(packed + j * k + p * kCols, row + j, kCols * sizeof(T));
    T* edge = packed + whole * k + p * wide;  // zeros follow the columns
    size_t j = whole;
    for (; j + V::kLanes <= n; j += V::kLanes, edge += V::kLanes) store(edge, V::load(row + j));
    if (j < n) store(edge, V::load_n(row + j, n - j));
  }
}

template <class V, class T>
struct PackB {
  const T* b;
  ptrdiff_t b_row, b_col;
  size_t k, n;
  T* packed;
  bool* finite = nullptr;  // of each chunk, where that is asked for

  static constexpr size_t kColsPerChunk = 8 * V::kTileVecs * V::kLanes;
  static void chunk(void* context, size_t index) {
    const PackB& s = *(const PackB*)context;
    const size_t j = index * kColsPerChunk, cols = smaller(kColsPerChunk, s.n - j);
    pack_columns<V>(s.b + (ptrdiff_t)j * s.b_col, s.b_row, s.b_col, s.k, cols, s.packed + j * s.k);
    if (!s.finite) return;
    const size_t wide = round_up(cols, V::kLanes);  // k rows of them, wherever they stand
    s.finite[index] = all_finite<V>(s.packed + j * s.k, (ptrdiff_t)wide, s.k, wide);
  }
  void run(bool parallel) { run_chunks(parallel, parts_of(n, kColsPerChunk), chunk, this); }
  // And says whether all of B is finite. Takes scratch slot 2.
  bool run_looking(bool parallel) {
    const size_t chunks = parts_of(n, kColsPerChunk);
    finite = (bool*)scratch(2, chunks);
    run(parallel);
    bool all = true;
    for (size_t i = 0; i < chunks; ++i) all = all && finite[i];
    return all;
  }
};

template <class V, class T = typename V::T>
void pack_b(const T* b, ptrdiff_t b_row, ptrdiff_t b_col, size_t k, size_t n, T* packed) {
  const bool finite = PackB<V, T>{b, b_row, b_col, k, n, packed}.run_looking(k * n > kSerialMacs);
  packed[packed_b_values<V>(k, n)] = finite ? 1 : 0;
}
