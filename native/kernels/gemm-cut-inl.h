// How work is cut into chunks: by shape, and by the number of threads where that changes no result.

// Under this many multiply-adds a product stays on the calling thread; above, chunks have at least this many.
constexpr size_t kSerialMacs = 1 << 18, kChunkMacs = 1 << 17;

constexpr size_t round_up(size_t x, size_t unit) { return (x + unit - 1) / unit * unit; }
constexpr size_t parts_of(size_t count, size_t part) { return (count + part - 1) / part; }
constexpr size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

// Large products are cut into about this many chunks, or more.
constexpr size_t kChunks = 16;

// The size of one of several parts: at most `largest` (rounded), a multiple of `unit`, all about the same.
constexpr size_t even_part(size_t count, size_t largest, size_t unit) {
  const size_t parts = parts_of(count, largest);
  return parts ? round_up(parts_of(count, parts), unit) : unit;
}

DT_INLINE void run_chunks(bool parallel, size_t chunks, ChunkFn fn, void* context) {
  if (parallel && chunks > 1) return parallel_for(chunks, fn, context);
  for (size_t i = 0; i < chunks; ++i) fn(context, i);
}

// Rows i.. and columns j.. of g.
template <class T>
GemmArgs<T> block_of(const GemmArgs<T>& g, size_t i, size_t m, size_t j, size_t n) {
  GemmArgs<T> block = g;
  block.m = smaller(m, g.m - i);
  block.n = smaller(n, g.n - j);
  block.a += (ptrdiff_t)i * g.a_row;
  if (g.b_packed)
    block.b_packed += j * g.k;
  else
    block.b += (ptrdiff_t)j * g.b_col;
  block.c += (ptrdiff_t)i * g.c_row + (ptrdiff_t)j;
  if (g.bias) block.bias += j;
  if (g.residual) block.residual += (ptrdiff_t)i * g.residual_row + (ptrdiff_t)j;
  return block;
}

// Runs body on blocks of rows x cols of C.
template <class T>
struct Split {
  const GemmArgs<T>* g;
  size_t rows, cols;
  void (*body)(const GemmArgs<T>&);

  static void chunk(void* context, size_t index) {
    const Split& s = *(const Split*)context;
    const size_t across = parts_of(s.g->n, s.cols);
    s.body(block_of(*s.g, index / across * s.rows, s.rows, index % across * s.cols, s.cols));
  }
  void run(bool parallel) { run_chunks(parallel, parts_of(g->m, rows) * parts_of(g->n, cols), chunk, this); }
};

// Runs body on blocks of the longer of C's two sides.
template <class T>
void split(const GemmArgs<T>& g, bool parallel, size_t row_unit, size_t col_unit,
           void (*body)(const GemmArgs<T>&)) {
  Split<T> s{&g, g.m, g.n, body};
  if (parallel && g.m > g.n) s.rows = round_up(kChunkMacs / (g.n * g.k) + 1, row_unit);
  if (parallel && g.m <= g.n) s.cols = round_up(kChunkMacs / (g.m * g.k) + 1, col_unit);
  s.run(parallel);
}
