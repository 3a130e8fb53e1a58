// C = A B where B has many zeros, as the gradient of a layer's weight has that is made from the layer's
// inputs: the product is made flipped, C' = B' A', since steps of k can be left out for rows only. Blocks of
// C' are made in scratch and written to C transposed. Each sum is that of the product as it stands.
template <class V>
struct Flipped {
  using T = typename V::T;
  static constexpr size_t kCols = 48;  // columns of C to a chunk
  // What pays for the lists, and so many rows as a block of C' in scratch may have columns.
  static constexpr size_t kLeastRows = 64, kMostRows = 4096, kLeastDepth = 16;
  static constexpr size_t kMostTried = 256;  // steps of a column, which lie far apart

  static bool takes(const GemmArgs<T>& g) {
    if (g.a_row != 1 || g.b_packed || g.b_col != 1 || g.m < kLeastRows || g.m > kMostRows || g.n < kCols ||
        g.k < kLeastDepth || g.m * g.k > Blocks<V>::kPackedAtOnce)
      return false;
    if (g.bias || g.residual || g.activation != Activation::kNone || g.beta != 0) return false;
    return Lists<V>{g.b, 1, g.b_row, g.n, smaller(g.k, kMostTried)}.promises();
  }

  GemmArgs<T> flipped;
  T* c;
  ptrdiff_t c_row;

  static void gemm(const GemmArgs<T>& g, bool parallel) {
    Flipped s{transposed(g), g.c, g.c_row};
    T* packed = (T*)scratch(0, packed_b_values<V>(g.k, g.m) * sizeof(T));
    PackB<V, T>{g.a, g.a_col, g.a_row, g.k, g.m, packed}.run(parallel);
    s.flipped.b_packed = packed;
    s.flipped.b_finite = is_finite_packed<V>(packed, g.k, g.m);
    run_chunks(parallel, parts_of(g.n, kCols), chunk, &s);
  }

  static void chunk(void* context, size_t index) {
    const Flipped& s = *(const Flipped*)context;
    GemmArgs<T> rows = block_of(s.flipped, index * kCols, kCols, 0, s.flipped.n);
    const size_t row = rows.n + 16;  // not a power of two
    rows.c = (T*)scratch(2, kCols * row * sizeof(T)), rows.c_row = (ptrdiff_t)row;
    Blocks<V>::block(rows);
    write(rows.c, row, rows.n, rows.m, s.c + index * kCols, s.c_row);
  }

  // c[i, j] = from[j, i]
  static void write(const T* from, size_t from_row, size_t m, size_t n, T* c, ptrdiff_t c_row) {
    const size_t rows = m / 4 * 4, cols = n / 4 * 4;
    for (size_t i = 0; i < m; ++i, c += c_row) {
      if (i < rows && i % 4 == 0)
        for (size_t j = 0; j < cols; j += 4)
          transpose4(from + j * from_row + i, (ptrdiff_t)from_row, c + j, c_row);
      for (size_t j = i < rows ? cols : 0; j < n; ++j) c[j] = from[j * from_row + i];
    }
  }
};
