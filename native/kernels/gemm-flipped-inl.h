// C = A B where B has many zeros, as the gradient of a layer's weight has that is made from the layer's
// inputs: the product is made flipped, C' = B' A', since steps of k can be left out for rows only. Blocks of
// C' are made in scratch, from rows that are copied of B's columns, and written to C transposed. Each sum is
// that of the product as it stands.

// to[i, j] = from[j, i] for i < m and j < n
template <class T>
void transpose(const T* from, ptrdiff_t from_row, size_t m, size_t n, T* to, ptrdiff_t to_row) {
  const size_t rows = m / 4 * 4, cols = n / 4 * 4;
  for (size_t i = 0; i < m; ++i, to += to_row) {
    if (i < rows && i % 4 == 0)
      for (size_t j = 0; j < cols; j += 4)
        transpose4(from + (ptrdiff_t)j * from_row + i, from_row, to + j, to_row);
    for (size_t j = i < rows ? cols : 0; j < n; ++j) to[j] = from[(ptrdiff_t)j * from_row + i];
  }
}

template <class V>
struct Flipped {
  using T = typename V::T;
  static constexpr size_t kPanel = Blocks<V>::kCols;
  static constexpr size_t kMostCols = 48, kLeastCols = 16;  // of C to a chunk
  static constexpr size_t kLeastRows = 64, kMostRows = 4096;
  // In multiply-adds of vectors, beside the lists: to copy a vector of B, and to write one of C.
  static constexpr double kCopying = 20, kWriting = 8;

  static bool takes(const GemmArgs<T>& g) {
    if (g.a_row != 1 || g.b_packed || g.b_col != 1 || g.n < kLeastCols || g.m > kMostRows ||
        g.m * g.n * g.k < Blocks<V>::kLeastListed || g.m * g.k > Blocks<V>::kPackedAtOnce)
      return false;
    if (g.bias || g.residual || g.activation != Activation::kNone || g.beta != 0) return false;
    const double most = most_left((kListing + kCopying) / (double)g.m + kWriting / (double)g.k);
    return Lists<V>{g.b, g.b_row, g.k, g.n, most}.promises();
  }

  const GemmArgs<T>* g;
  size_t rows, cols;  // of C, to a chunk
  const T* packed;    // A', as the flipped product's B
  bool finite;

  static void gemm(const GemmArgs<T>& g, bool parallel) {
    T* packed = (T*)scratch(0, packed_b_values<V>(g.k, g.m) * sizeof(T));
    const bool finite = PackB<V, T>{g.a, g.a_col, g.a_row, g.k, g.m, packed}.run_looking(parallel);
    Flipped s{&g, round_up(g.m, kPanel), even_part(g.n, kMostCols, 4), packed, finite};
    const size_t wanted = parallel ? 4 * (size_t)threads() : 1;
    while (s.chunks() < wanted && s.rows * s.cols * g.k > kChunkMacs)
      if (s.cols > kLeastCols)
        s.cols = round_up(s.cols / 2, 4);
      else if (s.rows > kLeastRows && s.rows > kPanel)
        s.rows = round_up(s.rows / 2, kPanel);
      else
        break;
    run_chunks(parallel, s.chunks(), chunk, &s);
  }
  size_t chunks() const { return parts_of(g->m, rows) * parts_of(g->n, cols); }

  static void chunk(void* context, size_t index) { ((const Flipped*)context)->block(index); }
  void block(size_t index) const {
    const size_t down = parts_of(g->m, rows);
    const size_t i = index % down * rows, j = index / down * cols;
    GemmArgs<T> t{};
    t.m = smaller(cols, g->n - j), t.n = smaller(rows, g->m - i), t.k = g->k;
    t.a_row = (ptrdiff_t)g->k + 16, t.a_col = 1, t.c_row = (ptrdiff_t)t.n + 16;  // no powers of two
    t.alpha = g->alpha;
    t.b_packed = packed + i * g->k, t.b_finite = finite;
    T* a = (T*)scratch(2, t.m * (size_t)(t.a_row + t.c_row) * sizeof(T));
    t.a = a, t.c = a + (ptrdiff_t)t.m * t.a_row;
    transpose(g->b + j, g->b_row, t.m, t.k, a, t.a_row);
    Blocks<V>::block(t);
    transpose(t.c, t.c_row, t.n, t.m, g->c + (ptrdiff_t)i * g->c_row + (ptrdiff_t)j, g->c_row);
  }
};
